package csra

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

// settings are what the objects of a server have in common.
type settings struct {
	name    string // the authority's common name
	flags   func() certadm.InterfaceFlags
	admit   func(Caller) error // may be nil
	observe func(WireCall)     // may be nil
	log     *slog.Logger
}

// faultError asks for an RPC fault instead of an answer.
type faultError uint32

func (f faultError) Error() string { return "rpc fault " + certadm.HRESULT(f).String() }

// faultOpRange is nca_op_rng_error: the interface has no such method.
const faultOpRange faultError = 0x1c010002

// object is one activated object: one client of a Service, with at most one
// backup session.
//
//	idle --BackupPrepare--> prepared --BackupOpenFile--> file open
//	prepared --GetAttachmentInformation, GetBackupLogs, TruncateLogs--> prepared
//	file open --BackupReadFile--> file open --BackupCloseFile--> prepared
//	prepared, file open --BackupEnd--> idle
//	any --released, lost, idle too long--> gone; the Service is closed
//
// Roles, the backup in progress, what may be truncated and whether a session was
// whole are the Service's affair.
type object struct {
	*settings
	who  Caller
	svc  certadm.Service
	gone atomic.Bool

	life context.Context // ends with the object
	end  context.CancelFunc

	turn    chan struct{} // holds one token; whoever has it may touch what follows
	session *session
}

// session is a backup session of an object.
type session struct {
	certadm.Backup
	kind   certadm.BackupType
	listed map[string]string // the names that may be opened, by their lower-case form
	file   *reading          // nil: none is open
}

// reading is the file that a session has open. Its context outlasts the call that
// opened it, but neither the object nor a connection that it was opened or read
// on: how much of it arrived there, nobody knows. It cannot be read or closed
// then, and the session can only be ended.
type reading struct {
	certadm.BackupFile
	life  context.Context
	end   context.CancelFunc
	conns map[context.Context]func() bool // that end it, and how to have them not do so
}

// tie makes a connection one of those whose end is the end of the reading.
func (r *reading) tie(conn context.Context) {
	if _, ok := r.conns[conn]; !ok {
		r.conns[conn] = context.AfterFunc(conn, r.end)
	}
}

// release lets go of the connections and ends the reading.
func (r *reading) release() {
	for _, stop := range r.conns {
		stop()
	}
	r.end()
}

func newObject(s *settings, who Caller, svc certadm.Service) *object {
	o := &object{settings: s, who: who, svc: svc, turn: make(chan struct{}, 1)}
	o.life, o.end = context.WithCancel(context.Background())
	return o
}

// close ends what the client left open: the session is no backup, and nothing is
// truncated.
func (o *object) close(reason string) {
	if o.gone.Swap(true) {
		return
	}
	o.end()
	if err := o.svc.Close(); err != nil {
		o.log.Warn("closing a client's session", slog.String("user", o.who.User), slog.String("reason", reason), slog.Any("error", err))
	}
}

// arrival is one call.
type arrival struct {
	iid           ndr.GUID
	opnum         uint16
	conn          context.Context // ends with the connection that it came on
	remote, local net.Addr        // of that
}

// reply is what a method answers: its parameters, and the HRESULT follows. nil
// stands for empty ones.
type reply func(e *ndr.Encoder)

// serve answers a call: it reads the parameters from in and appends the answer to
// out. An error is for an RPC fault; out is of no use then.
func (o *object) serve(ctx context.Context, a arrival, in *ndr.Decoder, out *ndr.Encoder) error {
	m, ok := methodOf(a.iid, a.opnum)
	if !ok {
		return faultOpRange
	}
	if a.opnum == opBackupReadFile { // fills its answer in place
		return o.serveRead(ctx, a, in, out)
	}
	h := handlers[a.opnum]
	call := &inCall{o: o, a: a, in: in, WireCall: WireCall{Method: m.name, Caller: o.who}}
	var r reply
	var err error
	if h == nil {
		call.note()
		err = certadm.ENotImpl
	} else {
		r, err = h(ctx, call)
		if e := (*ndr.Error)(nil); errors.As(err, &e) {
			return e
		}
	}
	return o.answer(m, r, err, 0, out)
}

// answer appends parameters and HRESULT.
func (o *object) answer(m method, r reply, err error, cb int32, out *ndr.Encoder) error {
	if err != nil || r == nil {
		encodeEmpty(out, m.outs, cb)
	} else {
		r(out)
	}
	out.U32(uint32(o.result(m, err)))
	return nil
}

// result is an error's code, for the client. What has no code is logged: the
// client learns no more than that it failed.
func (o *object) result(m method, err error) certadm.HRESULT {
	code := certadm.CodeOf(err)
	if code == certadm.EFail && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return certadm.ErrorCancelled // by the client, who is gone
	}
	if code == certadm.EFail {
		o.log.Error("call failed", slog.String("method", m.name), slog.String("user", o.who.User), slog.Any("error", err))
	}
	return code
}

// inCall is a call in the hands of its handler.
type inCall struct {
	WireCall
	o  *object
	a  arrival
	in *ndr.Decoder
}

// note reports the call; its parameters were read.
func (c *inCall) note() {
	if c.o.observe != nil {
		c.o.observe(c.WireCall)
	}
}

// decoded ends the reading of the parameters. It checks what every method checks
// (section 3.1.4.1): the stub, where the caller is, and the authority's name, if
// one is given.
func (c *inCall) decoded(authority *string) error {
	if err := c.in.Err(); err != nil {
		return err
	}
	c.note()
	if c.o.admit != nil {
		if err := c.o.admit(c.o.who); err != nil {
			c.o.log.Warn("call refused", slog.String("method", c.Method), slog.String("user", c.o.who.User), slog.Any("error", err))
			return certadm.EAccessDenied
		}
	}
	flags := certadm.InterfaceFlags(0)
	if c.o.flags != nil {
		flags = c.o.flags()
	}
	if refuses(flags, sameMachine(c.a.remote, c.a.local), backupMethod(c.a.opnum)) {
		return certadm.EAccessDenied
	}
	// The functions of Certadm.dll know only the machine, so a client may not know
	// the name.
	if authority != nil && *authority != "" && !certadm.IsAuthorityName(*authority, c.o.name) {
		return certadm.EInvalidArg
	}
	return nil
}

// backupMethod reports whether a method is one of those that the flags for
// backups concern.
func backupMethod(op uint16) bool {
	return op >= opBackupPrepare && op <= opBackupTruncateLogs || op == opBackupGetDynamic || op == opGetLocations
}

// handlers has the methods that are served. What a handler returns instead of a
// reply is an *ndr.Error, which is answered with a fault, or stands for an
// HRESULT.
var handlers = [len(methods)]func(context.Context, *inCall) (reply, error){
	opGetCRL:         getCRL,
	opServerControl:  serverControl,
	opPing:           ping,
	opPing2:          ping,
	opGetServerState: serverState,
	opGetCAProperty:  caProperty,
	opGetMyRoles:     myRoles,

	opBackupPrepare:        prepare,
	opBackupEnd:            inSession(certadm.EUnexpected, endBackup),
	opBackupGetAttachments: inSession(certadm.HrInvalidBackupSequence, attachments),
	opBackupGetLogs:        inSession(certadm.EUnexpected, logs),
	opBackupOpenFile:       openFile,
	opBackupCloseFile:      inSession(certadm.EUnexpected, closeFile),
	opBackupTruncateLogs:   inSession(certadm.EUnexpected, truncate),
	opBackupGetDynamic:     dynamicFiles,
	opGetLocations:         locations,
}

// fold is how names are compared: as Windows does, without regard to case.
func fold(name string) string { return strings.ToLower(name) }

// take waits for the object's turn. A call that is given up before it has it does
// nothing.
func (o *object) take(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave = func() { <-o.turn }
	if o.gone.Load() {
		leave()
		return nil, certadm.EHandle
	}
	return leave, nil
}

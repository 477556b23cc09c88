package csra

import (
	"context"
	"errors"
	"io"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

// The backup methods, sections 3.1.4.1.18 to 3.1.4.1.28.

// typeOf decides between the parameters that may carry the type. The published
// table has it in grbitJet, Certadm.dll's callers give it as flags; so the flags
// decide if they hold one of its values.
func (a prepareArgs) typeOf() (certadm.BackupType, bool) {
	switch t := certadm.BackupType(a.flags); {
	case t == certadm.BackupFull || t == certadm.BackupLogsOnly:
		return t, true
	case a.grbitJet == 0:
		return certadm.BackupFull, true
	case a.grbitJet == 1:
		return certadm.BackupLogsOnly, true
	}
	return 0, false
}

func prepare(ctx context.Context, c *inCall) (reply, error) {
	args := decodePrepare(c.in)
	c.GrbitJet, c.Flags, c.ClientID = args.grbitJet, args.flags, args.clientUnit
	if err := c.decoded(args.authority); err != nil {
		return nil, err
	}
	kind, ok := args.typeOf()
	if !ok {
		return nil, certadm.EInvalidArg
	}
	o := c.o
	leave, err := o.take(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if o.session != nil {
		return nil, certadm.EUnexpected
	}
	b, err := o.svc.BackupPrepare(ctx, kind)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil { // the client cannot learn of it: let others have their turn
		return nil, errors.Join(ctx.Err(), b.End(context.WithoutCancel(ctx)))
	}
	o.session = &session{Backup: b, kind: kind, listed: make(map[string]string)}
	return nil, nil
}

// inSession makes a handler of a method that takes no parameters and needs a
// session; without one the answer is outside.
func inSession(outside certadm.HRESULT, fn func(context.Context, *object) (reply, error)) func(context.Context, *inCall) (reply, error) {
	return func(ctx context.Context, c *inCall) (reply, error) {
		if err := c.decoded(nil); err != nil {
			return nil, err
		}
		leave, err := c.o.take(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
		if c.o.session == nil {
			return nil, outside
		}
		return fn(ctx, c.o)
	}
}

// endBackup ends the session, whatever comes of it.
func endBackup(ctx context.Context, o *object) (reply, error) {
	b := o.session
	o.session = nil
	if b.file != nil {
		defer b.file.release()
	}
	return nil, b.End(ctx)
}

func attachments(ctx context.Context, o *object) (reply, error) {
	if o.session.kind != certadm.BackupFull {
		return nil, certadm.HrInvalidBackupSequence
	}
	return o.list(o.session.DatabaseNames(ctx))
}

func logs(ctx context.Context, o *object) (reply, error) {
	return o.list(o.session.Logs(ctx))
}

// list answers with names that can be opened from now on.
func (o *object) list(l certadm.FileList, err error) (reply, error) {
	if err != nil {
		return nil, err
	}
	r, err := tagged(l)
	if err != nil {
		return nil, err
	}
	for _, e := range l {
		o.session.listed[fold(e.Path)] = e.Path
	}
	return r, nil
}

func tagged(l certadm.FileList) (reply, error) {
	units, err := certadm.EncodeListUnits(l)
	return func(e *ndr.Encoder) { encodeList(e, units) }, err
}

// openFile opens a name that the session has listed. That it must have been
// listed is what keeps the method from reading any file there is.
func openFile(ctx context.Context, c *inCall) (reply, error) {
	path := c.in.UniqueString(certadm.MaxNameUnits)
	if err := c.decoded(nil); err != nil {
		return nil, err
	}
	o := c.o
	leave, err := o.take(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	switch {
	case o.session == nil || o.session.file != nil:
		return nil, certadm.EUnexpected
	case path == nil:
		return nil, certadm.EInvalidArg
	}
	name, ok := o.session.listed[fold(*path)]
	if !ok {
		return nil, certadm.EInvalidArg
	}
	r := &reading{conns: make(map[context.Context]func() bool)}
	r.life, r.end = context.WithCancel(o.life)
	f, err := o.session.OpenFile(r.life, name, 0)
	if err != nil {
		r.end()
		return nil, err
	}
	r.BackupFile = f
	r.tie(c.a.conn)
	o.session.file = r
	size := uint64(max(f.Size(), 0))
	return func(e *ndr.Encoder) { e.U64(size) }, nil
}

func closeFile(_ context.Context, o *object) (reply, error) {
	f := o.session.file
	if f == nil {
		return nil, certadm.EUnexpected
	}
	if f.life.Err() != nil {
		return nil, certadm.EUnexpected
	}
	o.session.file = nil
	defer f.release()
	return nil, f.Close()
}

func truncate(ctx context.Context, o *object) (reply, error) {
	if o.session.file != nil {
		return nil, certadm.EUnexpected
	}
	return nil, o.session.TruncateLogs(ctx)
}

// serveRead is BackupReadFile: the file's bytes go into the answer without a
// detour. The array always has the size that was asked for. A failure is
// answered in the same way unless that would move megabytes: then it is a fault
// with the HRESULT as its status.
func (o *object) serveRead(ctx context.Context, a arrival, in *ndr.Decoder, out *ndr.Encoder) error {
	m := methods[opBackupReadFile]
	cb := in.I32()
	call := &inCall{o: o, a: a, in: in, WireCall: WireCall{Method: m.name, Caller: o.who, Size: cb}}
	err := call.decoded(nil)
	if e := (*ndr.Error)(nil); errors.As(err, &e) {
		return e
	}
	if err == nil && (cb <= 0 || cb > maxReadBytes) {
		err = certadm.EInvalidArg
	}
	start := out.Len()
	if err == nil {
		if err = o.read(ctx, a.conn, cb, out); err == nil {
			out.U32(uint32(certadm.SOK))
			return nil
		}
	}
	if cb < 0 || cb > maxReadWithError {
		return faultError(o.result(m, err))
	}
	out.Truncate(start)
	return o.answer(m, nil, err, cb, out)
}

// read appends the array and cbRead.
func (o *object) read(ctx, conn context.Context, cb int32, out *ndr.Encoder) error {
	leave, err := o.take(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if o.session == nil || o.session.file == nil {
		return certadm.EUnexpected
	}
	f := o.session.file
	f.tie(conn)
	defer context.AfterFunc(ctx, f.end)() // the client may give up one call
	buf := encodeReadBuffer(out, cb)
	n, err := io.ReadFull(f, buf)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(buf)
		return err
	}
	clear(buf[n:])
	out.I32(int32(n))
	return nil
}

// dynamicFiles and locations are not bound to a session (no sequencing rule is
// given for them).
func dynamicFiles(ctx context.Context, c *inCall) (reply, error) {
	names, err := listing(ctx, c, certadm.Lister.DynamicFiles, certadm.Dynamic)
	if err != nil {
		return nil, err
	}
	units, err := certadm.EncodeStringsUnits(names)
	return func(e *ndr.Encoder) { encodeList(e, units) }, err
}

func locations(ctx context.Context, c *inCall) (reply, error) {
	l, err := listing(ctx, c, certadm.Lister.DatabaseLocations, certadm.Locations)
	if err != nil {
		return nil, err
	}
	return tagged(l)
}

// listing asks the session, if there is one, or else the Service.
func listing[T any](ctx context.Context, c *inCall, ask func(certadm.Lister, context.Context) (T, error),
	without func(context.Context, certadm.Service) (T, error)) (none T, err error) {
	if err := c.decoded(nil); err != nil {
		return none, err
	}
	leave, err := c.o.take(ctx)
	if err != nil {
		return none, err
	}
	defer leave()
	if c.o.session != nil {
		return ask(c.o.session.Backup, ctx)
	}
	return without(ctx, c.o.svc)
}

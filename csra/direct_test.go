package csra

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// direct is a proxy that calls an object of this process: the stubs are as they
// travel, and nothing else is.
type direct struct {
	o    *object
	iid  ndr.GUID
	addr net.Addr // of the client; nil is the server's
	lost atomic.Bool
	ctx  context.Context // ends when the connection is lost
	end  context.CancelFunc
}

var (
	orpcThisBytes = append([]byte{5, 0, 7, 0}, make([]byte, 28)...)
	errLost       = errors.New("connection reset by test")
	loopback      = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 135}
)

// arrivalOf is a call on a connection from this machine.
func arrivalOf(conn context.Context, iid ndr.GUID, op uint16) arrival {
	return arrival{iid: iid, opnum: op, conn: conn, remote: loopback, local: loopback}
}

func newDirect(o *object) *direct {
	d := &direct{o: o, iid: iidICertAdminD2}
	d.ctx, d.end = context.WithCancel(context.Background())
	return d
}

func (d *direct) Call(ctx context.Context, opnum uint16, buffer []byte, args func(*ndr.Encoder)) (*ndr.Decoder, error) {
	if d.lost.Load() {
		return nil, errLost
	}
	req := ndr.NewEncoder(nil)
	req.Raw(orpcThisBytes)
	args(req)
	in := ndr.NewDecoder(req.Bytes())
	in.Bytes(len(orpcThisBytes))
	out := ndr.NewEncoder(buffer[:0])
	out.U64(0) // ORPCTHAT
	a := arrivalOf(d.ctx, d.iid, opnum)
	if d.addr != nil {
		a.remote = d.addr
	}
	callCtx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- d.o.serve(callCtx, a, in, out)
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, asFault(err)
		}
	case <-ctx.Done(): // as a connection: what is under way is lost
		d.lose()
		<-done
		return nil, ctx.Err()
	}
	reply := ndr.NewDecoder(out.Bytes())
	reply.Bytes(8)
	return reply, nil
}

func asFault(err error) error {
	var f faultError
	var stub *ndr.Error
	switch {
	case errors.As(err, &f):
		return &dcerpc.Fault{Status: uint32(f)}
	case errors.As(err, &stub):
		return &dcerpc.Fault{Status: dcerpc.StatusBadStubData}
	}
	return err
}

// lose is the loss of the connection; the server ends the object.
func (d *direct) lose() {
	if !d.lost.Swap(true) {
		d.end()
		d.o.close("lost")
	}
}

func (d *direct) Release(context.Context) error { d.lose(); return nil }

func (d *direct) calls() calls { return calls{p: d, d2: d.iid == iidICertAdminD2} }

// directClient is a Client of svc without a network.
func directClient(s *settings, svc certadm.Service) (*Client, *direct) {
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	d := newDirect(newObject(s, Caller{User: "tester"}, svc))
	return newClient(d.calls(), "", "ca1", s.log, d.Release), d
}

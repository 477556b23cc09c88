package dcom

import (
	"context"
	"errors"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// pinger keeps an object alive on its server while nothing is called (MS-DCOM
// section 3.2.6). It owns the connection to the resolver, and makes a new one
// when that was lost.
type pinger struct {
	a        *activation
	oid      uint64
	conn     *resolverConn // nil: none at the moment
	set      uint64        // 0: none yet
	sequence uint16

	cancel context.CancelFunc
	done   chan struct{}
}

func startPinger(a *activation, conn *resolverConn, oid uint64) *pinger {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pinger{a: a, oid: oid, conn: conn, cancel: cancel, done: make(chan struct{})}
	go p.run(ctx)
	return p
}

// stop ends the pings and waits, until ctx ends, until nothing of them is
// left: a mechanism that looks for its credentials may take its time.
func (p *pinger) stop(ctx context.Context) {
	p.cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
	}
}

func (p *pinger) run(ctx context.Context) {
	defer close(p.done)
	defer p.drop()
	tick, stop := p.a.ticker(p.a.PingPeriod)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		err := p.ping(ctx)
		if ctx.Err() != nil {
			return
		}
		if p.a.OnPing != nil {
			p.a.OnPing(err)
		}
	}
}

func (p *pinger) drop() {
	if p.conn != nil {
		p.conn.client.Close()
		p.conn = nil
	}
}

// ping pings once. A connection that was idle for a period may be gone; so one
// that fails is replaced.
func (p *pinger) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.a.PingPeriod)
	defer cancel()
	if p.conn != nil {
		if err := p.send(ctx); err == nil || answered(err) {
			return err
		}
		p.drop()
	}
	p.a.closers = nil // they were for the activation
	conn, err := p.a.authenticate(ctx)
	if err != nil {
		return err
	}
	p.conn = conn
	if err := p.send(ctx); err != nil {
		if !answered(err) {
			p.drop()
		}
		return err
	}
	return nil
}

// answered reports whether err came from a server that is there.
func answered(err error) bool {
	var hr HResult
	var fault *dcerpc.Fault
	return errors.As(err, &hr) || errors.As(err, &fault)
}

// send makes a set with the object, or pings the one that there is.
func (p *pinger) send(ctx context.Context) error {
	if p.set != 0 {
		var e ndr.Encoder
		e.U64(p.set)
		stub, err := p.conn.exporter.Call(ctx, dcerpc.Request{Opnum: opSimplePing, Stub: e.Bytes()})
		if err != nil {
			return err
		}
		if err := status(ndr.NewDecoder(stub)); err != HResult(statusInvalidSet) {
			return err
		}
		p.set = 0 // the server forgot it
	}
	p.sequence++
	var e ndr.Encoder
	pingRequest{sequence: p.sequence, add: []uint64{p.oid}}.encode(&e)
	stub, err := p.conn.exporter.Call(ctx, dcerpc.Request{Opnum: opComplexPing, Stub: e.Bytes()})
	if err != nil {
		return err
	}
	set, err := decodePingReply(stub)
	if err != nil {
		return err
	}
	p.set = set
	return nil
}

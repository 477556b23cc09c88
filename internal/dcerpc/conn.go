package dcerpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// keepBuffers is how long an idle connection keeps the buffers of its last
// call for the next one.
const keepBuffers = 10 * time.Second

// Conn is a connection of a server's client.
type Conn struct {
	server *Server
	id     uint64
	host   netip.Addr
	nc     net.Conn
	ctx    context.Context
	cancel context.CancelFunc

	// authenticated: at least one security context is made. kept: see Keep. The
	// table of connections reads them.
	authenticated, kept atomic.Bool

	// What follows is the goroutine's of the connection.
	since      time.Time // when it was made
	r          reader
	w          writer
	bound      bool
	group      uint32
	maxXmit    int
	maxRecv    int
	headerSign bool
	contexts   map[uint16]*Interface // by presentation context
	securities map[uint32]*security  // by auth_context_id
	pending    request               // whose fragments arrive
	reply      []byte                // the last response's space
}

// Keep has the connection not be closed to make room for new ones. Handlers call
// it for clients that they do something for: to log on is no more than to be
// somebody.
func (c *Conn) Keep() { c.kept.Store(true) }

// LocalAddr returns the server's address of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr returns the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Context ends with the connection.
func (c *Conn) Context() context.Context { return c.ctx }

func (s *Server) newConn(ctx context.Context, nc net.Conn) *Conn {
	c := &Conn{
		server:     s,
		id:         s.lastConn.Add(1),
		host:       hostOf(nc.RemoteAddr()),
		nc:         nc,
		since:      time.Now(),
		r:          reader{src: nc},
		maxXmit:    int(s.limits.MaxFragment),
		maxRecv:    int(s.limits.MaxFragment),
		contexts:   make(map[uint16]*Interface),
		securities: make(map[uint32]*security),
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.w.dst = deadlineWriter{c}
	return c
}

// deadlineWriter gives each write the same time.
type deadlineWriter struct{ c *Conn }

func (w deadlineWriter) Write(b []byte) (int, error) {
	w.c.nc.SetWriteDeadline(time.Now().Add(w.c.server.limits.WriteTimeout))
	if w.c.ctx.Err() != nil { // also if it ended just now: interrupt was too early
		w.c.nc.SetWriteDeadline(time.Now().Add(lastWords))
	}
	return w.c.nc.Write(b)
}

// lastWords is how long the answer to the last call may take to leave when the
// server closes.
const lastWords = time.Second

// interrupt ends what the connection is doing, but for a call: that is told by
// its context, and its answer still sent.
func (c *Conn) interrupt() {
	c.nc.SetReadDeadline(time.Unix(1, 0))
	c.nc.SetWriteDeadline(time.Now().Add(lastWords))
}

// readUntil sets how long what is read next may take.
func (c *Conn) readUntil(t time.Time) {
	c.nc.SetReadDeadline(t)
	if c.ctx.Err() != nil { // also if it ended just now: interrupt was too early
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// close ends the connection, from any goroutine.
func (c *Conn) close() {
	c.cancel()
	c.nc.Close()
}

// errHangUp ends a connection after the client was told why.
var errHangUp = errors.New("refused")

// serve serves the connection until it ends.
func (c *Conn) serve() {
	log := c.server.log.With("remote", c.RemoteAddr(), "connection", c.id)
	stop := context.AfterFunc(c.ctx, c.interrupt)
	defer func() {
		// A defect in a handler ends its connection, not the server.
		if p := recover(); p != nil {
			log.Error("panic", "value", p, "stack", string(debug.Stack()))
		}
		stop()
		c.close()
		c.server.conns.remove(c)
	}()
	for {
		err := c.step()
		if err == nil && c.ctx.Err() == nil {
			continue
		}
		switch {
		case errors.Is(err, errHangUp):
			log.Info("client refused", "error", err)
			c.linger()
		case errors.Is(err, io.EOF) || c.ctx.Err() != nil:
			log.Debug("connection ended")
		default:
			log.Info("connection ended", "error", err)
		}
		return
	}
}

// linger lets the client read its refusal. Closing at once would discard it if
// something of the client's had not been read.
func (c *Conn) linger() {
	tcp, ok := c.nc.(*net.TCPConn)
	if !ok {
		return
	}
	c.r.buf = nil
	tcp.CloseWrite()
	tcp.SetReadDeadline(time.Now().Add(time.Second))
	io.Copy(io.Discard, io.LimitReader(tcp, 1<<20))
}

// step serves one PDU.
func (c *Conn) step() error {
	h, pdu, err := c.read()
	if err != nil {
		if errors.Is(err, errVersion) {
			c.w.dst.Write(appendNak(nil, h.callID, NakProtocolVersion))
			return hangUp("%w", err)
		}
		return err
	}
	switch h.ptype {
	case ptypeBind, ptypeAlter:
		return c.bind(h, pdu)
	case ptypeAuth3:
		return c.auth3(h, pdu)
	case ptypeRequest:
		return c.request(h, pdu)
	case ptypeCancel, ptypeOrphaned:
		// Of a call that is being carried out, watch takes care. A call whose
		// response left already has none to be stopped.
		if c.pending.active && c.pending.callID == h.callID && h.ptype == ptypeOrphaned {
			c.pending.drop()
		}
		return nil
	}
	return c.refuse(h.callID, 0, StatusProtocol, "pdu type %d", h.ptype)
}

// read returns the next PDU. How long it may take depends on what the
// connection is in: a handshake, a request, or between requests.
func (c *Conn) read() (header, []byte, error) {
	l := &c.server.limits
	now := time.Now()
	switch {
	case !c.authenticated.Load():
		c.readUntil(c.since.Add(l.HandshakeTimeout))
		return c.r.next()
	case c.pending.active:
		c.readUntil(c.pending.since.Add(l.ReadTimeout))
		return c.r.next()
	case c.r.start != c.r.end: // the next request has come in part
		c.readUntil(now.Add(l.ReadTimeout))
		return c.r.next()
	}
	c.readUntil(now.Add(min(keepBuffers, l.IdleTimeout)))
	err := c.r.need(1)
	if errors.Is(err, os.ErrDeadlineExceeded) && l.IdleTimeout > keepBuffers {
		c.r.release()
		c.w.release()
		c.reply = nil
		c.readUntil(now.Add(l.IdleTimeout))
		err = c.r.need(1)
	}
	if err != nil {
		return header{}, nil, err
	}
	if h, ok := c.r.peek(0); !ok || c.r.end-c.r.start < h.fragLen {
		c.readUntil(time.Now().Add(l.ReadTimeout))
	}
	return c.r.next()
}

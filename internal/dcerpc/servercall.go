package dcerpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/internal/ndr"
)

// keepRequest is the largest space for requests of several fragments that a
// connection keeps.
const keepRequest = 64 << 10

// request is a call whose fragments arrive, or arrived.
type request struct {
	active bool
	since  time.Time // when the first fragment came
	callID uint32
	callFields
	sec  *security // nil: the request came unprotected
	stub []byte
	buf  []byte // the space for several fragments
}

// add appends a part to the stub, which stays within limit. The space doubles
// as parts arrive, and never exceeds the limit either.
func (q *request) add(part []byte, limit int) {
	if n := len(q.stub) + len(part); n > cap(q.buf) {
		q.buf = append(make([]byte, 0, min(2*n, limit)), q.stub...)
	}
	q.buf = append(q.buf[:len(q.stub)], part...)
	q.stub = q.buf
}

func (q *request) drop() {
	buf := q.buf
	if cap(buf) > keepRequest {
		buf = nil
	}
	*q = request{buf: buf[:0]}
}

func hangUp(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errHangUp, fmt.Errorf(format, args...))
}

// refuse sends a fault and ends the connection.
func (c *Conn) refuse(callID uint32, contextID uint16, status uint32, format string, args ...any) error {
	if _, err := c.w.dst.Write(appendFault(nil, callID, contextID, status, flagDidNotExecute)); err != nil {
		return err
	}
	return hangUp(format, args...)
}

// request takes a fragment of a request, and carries it out after the last.
func (c *Conn) request(h header, pdu []byte) error {
	f, err := parseCall(h, pdu)
	if err != nil {
		return c.refuse(h.callID, 0, StatusProtocol, "%w", err)
	}
	protocol := func(format string, args ...any) error {
		return c.refuse(h.callID, f.contextID, StatusProtocol, format, args...)
	}
	if !c.bound {
		return protocol("request before a bind")
	}
	if len(pdu) > c.maxRecv {
		return protocol("fragment of %d bytes, at most %d were agreed on", len(pdu), c.maxRecv)
	}
	body, v, err := splitVerifier(h, pdu, f.size)
	if err != nil {
		return protocol("%w", err)
	}
	q := &c.pending
	first, last := h.flags&flagFirst != 0, h.flags&flagLast != 0
	switch {
	case first == q.active:
		return protocol("request's first fragment is not where it belongs")
	case !first && (h.callID != q.callID || f != q.callFields):
		return protocol("fragment of another request")
	}
	sec, err := c.securityOf(h, v)
	if err != nil {
		return c.refuse(h.callID, f.contextID, StatusAccessDenied, "%w", err)
	}
	if !first && sec != q.sec {
		return protocol("request of several security contexts")
	}
	if sec != nil && h.authLen != 0 {
		if body, err = sec.unwrap(pdu[:f.size:f.size], body, v); err != nil {
			// Nothing that comes after it can be checked.
			return c.refuse(h.callID, f.contextID, StatusSecPkg, "request: %w", err)
		}
	}
	if len(body) == 0 && !last { // padding is nothing, too
		return protocol("empty fragment within a request")
	}
	if first {
		buf := q.buf
		*q = request{active: true, since: time.Now(), callID: h.callID, callFields: f, sec: sec, buf: buf}
	}
	limit := c.server.limits.RequestBytes
	if !sec.protects() {
		limit = c.server.limits.UnauthenticatedBytes
	}
	if len(body) > limit-len(q.stub) {
		return c.refuse(h.callID, f.contextID, StatusAccessDenied, "request of more than %d bytes", limit)
	}
	if first && last && c.r.space() >= watchSpace {
		q.stub = body // no need to copy; watch reads behind it
	} else {
		q.add(body, limit)
	}
	if !last {
		return nil
	}
	if c.r.space() < watchSpace {
		c.r.compact()
	}
	defer q.drop()
	return c.execute(q)
}

// securityOf returns the security context of a request's fragment; nil for a
// fragment that comes unprotected, as it must where there is none.
func (c *Conn) securityOf(h header, v verifier) (*security, error) {
	if h.authLen == 0 {
		// At LevelConnect the connection vouches for all requests, if it has no
		// more than the one context.
		if len(c.securities) == 1 {
			for _, s := range c.securities {
				if s.failed {
					return nil, fmt.Errorf("request after a refused authentication")
				}
				if s.done && !s.protects() {
					return s, nil
				}
			}
		}
		return nil, nil
	}
	s := c.securities[v.id]
	switch {
	case s == nil || !s.matches(v):
		return nil, fmt.Errorf("request of unknown security context %d", v.id)
	case !s.done:
		return nil, fmt.Errorf("request of security context %d, which did not authenticate", v.id)
	}
	return s, nil
}

// execute carries out a request and sends what comes of it.
func (c *Conn) execute(q *request) error {
	iface := c.contexts[q.contextID]
	if iface == nil {
		return c.fault(q, StatusInvalidContext, flagDidNotExecute)
	}
	call := &Call{
		Conn:      c,
		Syntax:    iface.Syntax,
		Opnum:     q.opnum,
		Object:    q.object,
		HasObject: q.hasObject,
		Level:     LevelNone,
		Stub:      q.stub,
		Reply:     c.reply[:0],
	}
	if q.sec != nil {
		call.AuthType, call.Level, call.Peer = q.sec.typ, q.sec.level, q.sec.peer
	}
	if iface.MinLevel != nil && call.Level < iface.MinLevel(q.opnum) {
		c.server.log.Info("call denied: not protected enough", "remote", c.RemoteAddr(),
			"interface", iface.Syntax, "opnum", q.opnum, "level", call.Level)
		return c.fault(q, StatusAccessDenied, flagDidNotExecute)
	}
	c.reply = nil // the handler's; a panic must not leave it to two
	stub, err := c.handle(iface, call, q.callID)
	if err != nil {
		c.reply = call.Reply[:0]
		return c.fault(q, c.statusOf(call, err), 0)
	}
	limit := c.server.limits.ResponseBytes
	if cap(stub) <= c.server.limits.replySpace() {
		c.reply = stub[:0]
	}
	if len(stub) > limit {
		c.server.log.Error("response is too large", "interface", iface.Syntax, "opnum", q.opnum, "bytes", len(stub))
		return c.fault(q, StatusNoMemory, 0)
	}
	return c.w.send(message{
		ptype:     ptypeResponse,
		callID:    q.callID,
		contextID: q.contextID,
		stub:      stub,
	}, c.maxXmit, q.sec)
}

// handle calls the handler, while it watches for the client to go away.
func (c *Conn) handle(iface *Interface, call *Call, callID uint32) ([]byte, error) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	stop := c.watch(callID, cancel)
	defer stop()
	return iface.Handler(ctx, call)
}

// watchSpace is what must be free in the reader's buffer as a call begins: a
// cancel fits, whatever its verifier.
const watchSpace = 512

// watch reads on while a call is carried out, to learn at once that the client
// is gone, or has lost interest in this call. What it reads stays in the
// buffer, behind the stub that the handler uses. stop must be called before
// anything else is read.
func (c *Conn) watch(callID uint32, cancelCall func()) (stop func()) {
	c.readUntil(time.Time{})
	stopped := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		ahead := 0 // bytes of the PDUs that were looked at
		for {
			for h, ok := c.r.peek(ahead); ok; h, ok = c.r.peek(ahead) {
				if (h.ptype == ptypeCancel || h.ptype == ptypeOrphaned) && h.callID == callID {
					cancelCall()
				}
				ahead += h.fragLen
			}
			// A client that sends its next requests early is alive; when there is
			// no more space for them, it is not watched any more.
			err := c.r.fill()
			if err == nil {
				continue
			}
			select {
			case <-stopped:
			default:
				if err != errFull {
					c.cancel()
				}
			}
			return
		}
	}()
	return func() {
		close(stopped)
		c.nc.SetReadDeadline(time.Unix(1, 0))
		<-done
	}
}

// statusOf is the status of the fault for a handler's error.
func (c *Conn) statusOf(call *Call, err error) uint32 {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault.Status
	}
	var malformed *ndr.Error
	if errors.As(err, &malformed) {
		c.server.log.Info("malformed call", "remote", c.RemoteAddr(), "interface", call.Syntax, "opnum", call.Opnum, "error", err)
		return StatusBadStubData
	}
	if c.ctx.Err() == nil {
		c.server.log.Error("call failed", "remote", c.RemoteAddr(), "interface", call.Syntax, "opnum", call.Opnum, "error", err)
	}
	return StatusFaultUnspecified
}

// fault answers a request with a fault. The connection goes on.
func (c *Conn) fault(q *request, status uint32, flags uint8) error {
	_, err := c.w.dst.Write(appendFault(c.w.buf[:0], q.callID, q.contextID, status, flags))
	return err
}

package dcerpc

import (
	"errors"
	"fmt"
	"net"
)

// bind serves a bind or an alter_context: presentation contexts, and a leg of
// a handshake if there is a verifier.
func (c *Conn) bind(h header, pdu []byte) error {
	first := h.ptype == ptypeBind
	refuse := func(reason uint16, status uint32, err error) error {
		if !first {
			return c.refuse(h.callID, 0, status, "%w", err)
		}
		if _, err := c.w.dst.Write(appendNak(nil, h.callID, reason)); err != nil {
			return err
		}
		return hangUp("%w", err)
	}
	malformed := func(err error) error { return refuse(NakUnspecified, StatusProtocol, err) }

	switch {
	case first && c.bound:
		return c.refuse(h.callID, 0, StatusProtocol, "second bind")
	case !first && !c.bound:
		return malformed(errors.New("alter_context before a bind"))
	case c.pending.active:
		return malformed(errors.New("bind within a request"))
	case !h.whole():
		return malformed(errors.New("bind in fragments"))
	}
	body, v, err := splitVerifier(h, pdu, headerSize)
	if err != nil {
		return malformed(err)
	}
	p, err := parseBind(body[:len(body)-v.pad])
	if err != nil {
		return malformed(err)
	}
	if first {
		if p.maxXmit < minFragment || p.maxRecv < minFragment {
			return malformed(fmt.Errorf("client offers fragments of %d and %d bytes", p.maxXmit, p.maxRecv))
		}
		c.maxXmit = min(c.maxXmit, int(p.maxRecv))
		c.maxRecv = min(c.maxRecv, int(p.maxXmit))
		if c.group = p.group; c.group == 0 {
			// Groups mean nothing here; but 0 would be no answer.
			c.group = uint32(c.server.lastGroup.Add(1)&0x7fffffff) | 1
		}
		c.bound = true
	}

	var sec *security
	var token []byte
	if h.authLen != 0 {
		var reason uint16
		var status uint32
		if sec, token, reason, status, err = c.leg(h, v); err != nil {
			return refuse(reason, status, err)
		}
	}

	ack := ackPDU{
		maxXmit: uint16(c.maxXmit),
		maxRecv: uint16(c.maxRecv),
		group:   c.group,
	}
	for _, pc := range p.contexts {
		ack.results = append(ack.results, c.present(pc))
	}
	ptype, flags := ptypeAlterResp, flagWhole
	if first {
		ptype = ptypeBindAck
		if tcp, ok := c.LocalAddr().(*net.TCPAddr); ok {
			ack.port = tcp.Port
		}
	}
	if h.flags&flagHeaderSign != 0 && (sec == nil || sec.signHeader) {
		flags |= flagHeaderSign
	}
	reply := ack.append(appendHeader(nil, ptype, flags, h.callID))
	if sec == nil {
		putLengths(reply, len(reply), 0)
	} else if reply, err = appendHandshake(reply, sec, token); err != nil {
		return err
	}
	_, err = c.w.dst.Write(reply)
	return err
}

// present answers one presentation context.
func (c *Conn) present(p presContext) presResult {
	if len(p.transfers) == 1 {
		if mask, ok := featureMask(p.transfers[0]); ok {
			return presResult{result: resultNegotiate, reason: mask & (featureMultiplexing | featureKeepOnOrphan)}
		}
	}
	iface := c.server.find(p.abstract)
	if iface == nil {
		return presResult{result: resultReject, reason: reasonAbstract}
	}
	offered := false
	for _, t := range p.transfers {
		offered = offered || t == NDR
	}
	if !offered {
		return presResult{result: resultReject, reason: reasonTransfer}
	}
	// The same context comes again with each leg of a handshake. To give it
	// another meaning is not allowed.
	if old, ok := c.contexts[p.id]; ok && old != iface {
		return presResult{result: resultReject, reason: reasonUnspecified}
	} else if !ok && len(c.contexts) >= c.server.limits.PresentationContexts {
		return presResult{result: resultReject, reason: reasonLimit}
	}
	c.contexts[p.id] = iface
	return presResult{result: resultAccept, transfer: NDR}
}

// auth3 serves the last leg of a handshake with an odd number of them. There is
// no answer: a refusal shows in the first request's.
func (c *Conn) auth3(h header, pdu []byte) error {
	if !c.bound || c.pending.active || !h.whole() || h.authLen == 0 {
		return c.refuse(h.callID, 0, StatusProtocol, "auth3 out of order")
	}
	_, v, err := splitVerifier(h, pdu, headerSize)
	if err != nil {
		return c.refuse(h.callID, 0, StatusProtocol, "%w", err)
	}
	sec := c.securities[v.id]
	if sec == nil || sec.done || sec.failed {
		return c.refuse(h.callID, 0, StatusProtocol, "auth3 of security context %d, which is not being made", v.id)
	}
	if _, _, _, status, err := c.leg(h, v); err != nil && !sec.failed {
		return c.refuse(h.callID, 0, status, "%w", err)
	}
	return nil
}

// leg takes a token of a handshake, and returns the one to answer with. With
// an error it returns how to tell a client: the reason of a bind_nak, or the
// status of a fault.
func (c *Conn) leg(h header, v verifier) (sec *security, token []byte, reason uint16, status uint32, err error) {
	sec = c.securities[v.id]
	if sec == nil {
		if sec, reason, status, err = c.newSecurity(h, v); err != nil {
			return nil, nil, reason, status, err
		}
	}
	if !sec.matches(v) || sec.done || sec.failed {
		return nil, nil, NakChecksum, StatusAccessDenied, fmt.Errorf("authentication of security context %d, which is not being made", v.id)
	}
	var done bool
	if sec.legs++; sec.legs > maxLegs {
		err = fmt.Errorf("handshake of more than %d messages", maxLegs)
	} else {
		token, done, err = sec.ctx.Step(c.ctx, v.token)
	}
	if err == nil && h.ptype == ptypeAuth3 && (!done || len(token) != 0) {
		err = errors.New("handshake does not end with auth3")
	}
	if err == nil && done {
		err = c.welcome(sec)
	}
	if err != nil {
		c.fail(sec, err)
		return nil, nil, NakChecksum, StatusAccessDenied, err
	}
	return sec, token, 0, 0, nil
}

// newSecurity begins a security context.
func (c *Conn) newSecurity(h header, v verifier) (sec *security, reason uint16, status uint32, err error) {
	s := c.server
	if v.level < LevelConnect || v.level > LevelPrivacy {
		return nil, NakAuthType, StatusUnsupportedLevel, fmt.Errorf("authentication at %v", v.level)
	}
	if len(c.securities) >= s.limits.SecurityContexts {
		return nil, NakLocalLimit, StatusTooBusy, fmt.Errorf("more than %d security contexts", s.limits.SecurityContexts)
	}
	if s.cfg.Accept == nil {
		return nil, NakAuthType, StatusAccessDenied, fmt.Errorf("authentication with %v", v.typ)
	}
	sec = &security{id: v.id, typ: v.typ, level: v.level}
	if !s.logons.take(c.host) {
		err := errors.New("too many failed logons")
		c.report(sec, err)
		return nil, NakLocalLimit, StatusTooBusy, err
	}
	if sec.ctx, err = s.cfg.Accept(v.typ, c); err != nil {
		err = fmt.Errorf("authentication with %v: %w", v.typ, err)
		c.report(sec, err)
		return nil, NakAuthType, StatusAccessDenied, err
	}
	// Agreed on once, it holds for the security contexts made later, too.
	if sec.protects() && h.flags&flagHeaderSign != 0 {
		c.headerSign = true
	}
	sec.signHeader = sec.protects() && c.headerSign
	c.securities[v.id] = sec
	return sec, 0, 0, nil
}

// welcome ends a handshake that succeeded.
func (c *Conn) welcome(sec *security) error {
	peer := sec.ctx.Peer()
	if sec.protects() && !sec.signHeader && c.server.cfg.RequireHeaderSigning(peer.Mechanism) {
		sec.peer = peer
		return errors.New("client does not sign headers")
	}
	sec.done = true
	sec.peer = peer
	c.server.logons.giveBack(c.host)
	c.authenticated.Store(true)
	c.report(sec, nil)
	return nil
}

// fail ends a handshake that did not succeed.
func (c *Conn) fail(sec *security, err error) {
	sec.failed = true
	c.report(sec, err)
}

func (c *Conn) report(sec *security, err error) {
	if f := c.server.cfg.OnLogon; f != nil {
		f(LogonEvent{Remote: c.RemoteAddr(), AuthType: sec.typ, Level: sec.level, Peer: sec.peer, Err: err})
	}
}

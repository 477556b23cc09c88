package dcerpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/gss"
)

// Bind binds the connection to an interface. The first call sends a bind, later
// ones alter_context. With sec, the interface's calls are made under a security
// context of their own, made now. Without it they are made under the one made
// last, or unprotected if there is none.
//
// Refusals are [*RejectError] (of the interface; the connection is still of
// use), [*NakError] and [*Fault]; refused credentials are [gss.ErrLogon],
// unless the mechanism is one with an odd number of messages (NTLM without
// SPNEGO): the first call fails then, with a fault that is Unconfirmed. All
// errors but RejectError close the connection.
func (c *Client) Bind(ctx context.Context, s Syntax, sec *Security) (*Binding, error) {
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	i, err := c.bind(ctx, s, sec)
	var reject *RejectError
	return i, end(err, errors.As(err, &reject))
}

func (c *Client) bind(ctx context.Context, s Syntax, sec *Security) (*Binding, error) {
	b := handshaking{client: c, callID: c.nextCallID()}
	b.pdu = bindPDU{
		maxXmit:  uint16(c.maxXmit),
		maxRecv:  uint16(c.maxRecv),
		group:    c.group,
		contexts: []presContext{{id: c.contextID, abstract: s, transfers: []Syntax{NDR}}},
	}
	i := &Binding{client: c, syntax: s, contextID: c.contextID, sec: c.current}
	c.contextID++
	var err error
	if sec == nil {
		_, err = b.exchange(nil, nil)
	} else {
		if i.sec, err = c.newSecurity(sec); err != nil {
			return nil, err
		}
		if !c.bound {
			// Windows offers this when it authenticates, and expects to be
			// offered it by those that may authenticate twice.
			offer := Syntax{UUID: features, Major: 1}
			offer.UUID[8] = featureMultiplexing
			b.pdu.contexts = append(b.pdu.contexts, presContext{id: c.contextID, abstract: s, transfers: []Syntax{offer}})
			c.contextID++
		}
		b.required = sec.RequireHeaderSigning
		err = b.handshake(ctx, i.sec)
	}
	if err != nil {
		return nil, err
	}
	// It is made, whatever the server thinks of the interface: what is bound
	// next must not go unprotected.
	c.current = i.sec
	if b.rejected != nil {
		return nil, b.rejected
	}
	return i, nil
}

func (c *Client) newSecurity(sec *Security) (*security, error) {
	if sec.Level < LevelConnect || sec.Level > LevelPrivacy {
		return nil, fmt.Errorf("%v is no level to authenticate at", sec.Level)
	}
	c.securities++
	return &security{id: c.securities, typ: sec.Type, level: sec.Level, ctx: sec.Context}, nil
}

// handshaking is a Bind under way.
type handshaking struct {
	client   *Client
	callID   uint32
	pdu      bindPDU
	required bool // header signing
	rejected error
}

// handshake authenticates, with as many PDUs as the mechanism wants.
func (b *handshaking) handshake(ctx context.Context, sec *security) error {
	var in []byte
	for range maxLegs {
		token, done, err := sec.ctx.Step(ctx, in)
		if err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
		if done && len(token) == 0 && in != nil {
			return b.finish(sec)
		}
		if done && in != nil && sec.typ == AuthNTLM {
			// An odd number of messages: the last one goes unanswered.
			if err := b.auth3(sec, token); err != nil {
				return err
			}
			sec.unconfirmed = true
			return b.finish(sec)
		}
		reply, err := b.exchange(sec, token)
		if err != nil {
			return err
		}
		switch {
		case done && len(reply) == 0:
			return b.finish(sec)
		case done:
			return protocolError("server goes on authenticating")
		case len(reply) == 0:
			return protocolError("server does not authenticate")
		}
		in = reply
	}
	return protocolError("handshake of more than %d messages", maxLegs)
}

func (b *handshaking) finish(sec *security) error {
	sec.done = true
	sec.peer = sec.ctx.Peer()
	return nil
}

// auth3 sends the handshake's last token, to which there is no answer.
func (b *handshaking) auth3(sec *security, token []byte) error {
	pdu := appendHeader(b.client.w.buf[:0], ptypeAuth3, flagWhole, b.callID)
	pdu = append(pdu, 0, 0, 0, 0)
	pdu, err := appendHandshake(pdu, sec, token)
	if err != nil {
		return err
	}
	if _, err := b.client.conn.Write(pdu); err != nil {
		return fmt.Errorf("send auth3: %w", err)
	}
	return nil
}

// exchange sends a bind or an alter_context, with a token if there is a
// security context to make, and returns the token in the answer.
func (b *handshaking) exchange(sec *security, token []byte) (reply []byte, err error) {
	c := b.client
	ptype, flags := ptypeBind, flagWhole
	if c.bound {
		ptype = ptypeAlter
	}
	if sec.protects() {
		flags |= flagHeaderSign
	}
	pdu := appendHeader(c.w.buf[:0], ptype, flags, b.callID)
	pdu = b.pdu.append(pdu)
	if sec == nil {
		putLengths(pdu, len(pdu), 0)
	} else if pdu, err = appendHandshake(pdu, sec, token); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(pdu); err != nil {
		return nil, fmt.Errorf("send bind: %w", err)
	}
	return b.answer(ptype, sec)
}

// answer reads the answer to a bind or an alter_context.
func (b *handshaking) answer(ptype uint8, sec *security) ([]byte, error) {
	c := b.client
	h, pdu, err := c.nextPDU()
	if err != nil {
		return nil, err
	}
	if h.callID != b.callID {
		return nil, protocolError("answer to call %d instead of %d", h.callID, b.callID)
	}
	switch {
	case h.ptype == ptypeBindNak && ptype == ptypeBind:
		reason, err := parseNak(pdu[headerSize:])
		if err != nil {
			return nil, err
		}
		return nil, &NakError{Reason: reason}
	case h.ptype == ptypeFault:
		return nil, b.refused(h, pdu, sec)
	case h.ptype == ptypeBindAck && ptype == ptypeBind:
	case h.ptype == ptypeAlterResp && ptype == ptypeAlter:
	default:
		return nil, protocolError("pdu type %d in answer to type %d", h.ptype, ptype)
	}
	if !h.whole() {
		return nil, protocolError("answer to a bind in fragments")
	}
	body, v, err := splitVerifier(h, pdu, headerSize)
	if err != nil {
		return nil, err
	}
	ack, err := parseAck(body[:len(body)-v.pad])
	if err != nil {
		return nil, err
	}
	if err := b.accept(ptype, ack); err != nil {
		return nil, err
	}
	if h.authLen == 0 {
		return nil, b.headerSigning(h, sec)
	}
	if sec == nil || !sec.matches(v) {
		return nil, protocolError("answer to a bind of another security context")
	}
	// The token is used after the next PDU was read.
	return append([]byte(nil), v.token...), b.headerSigning(h, sec)
}

// headerSigning notes whether the server agrees to sign headers: its first
// answer to the handshake says so, unless that was agreed on before.
func (b *handshaking) headerSigning(h header, sec *security) error {
	if sec == nil {
		return nil
	}
	sec.legs++
	if !sec.protects() || sec.legs > 1 {
		return nil
	}
	if h.flags&flagHeaderSign != 0 {
		b.client.headerSign = true
	}
	sec.signHeader = b.client.headerSign
	if b.required && !sec.signHeader {
		return protocolError("server does not sign headers")
	}
	return nil
}

// refused is the error for a fault in answer to a bind.
func (b *handshaking) refused(h header, pdu []byte, sec *security) error {
	if len(pdu) < callHeader {
		return protocolError("fault of %d bytes", len(pdu))
	}
	status, err := faultStatus(pdu[callHeader:])
	if err != nil {
		return err
	}
	fault := error(&Fault{Status: status})
	if sec != nil && (status == StatusAccessDenied || status == StatusSecPkg) {
		fault = fmt.Errorf("%w: %w", gss.ErrLogon, fault)
	}
	return fault
}

// accept notes what the server answered to the presentation contexts. Only a
// handshake's first answer says anything new about sizes; what it says about
// contexts must stay as it is.
func (b *handshaking) accept(ptype uint8, ack ackPDU) error {
	c := b.client
	if len(ack.results) != len(b.pdu.contexts) {
		return protocolError("%d results for %d presentation contexts", len(ack.results), len(b.pdu.contexts))
	}
	if ptype == ptypeBind {
		if ack.maxXmit < minFragment || ack.maxRecv < minFragment {
			return protocolError("server offers fragments of %d and %d bytes", ack.maxXmit, ack.maxRecv)
		}
		c.maxXmit = min(c.maxXmit, int(ack.maxRecv))
		c.maxRecv = min(c.maxRecv, int(ack.maxXmit))
		c.group = ack.group
		c.bound = true
		// The offer of features stands once.
		b.pdu.contexts = b.pdu.contexts[:1]
	}
	switch r := ack.results[0]; {
	case r.result != resultAccept:
		b.rejected = &RejectError{Syntax: b.pdu.contexts[0].abstract, Result: r.result, Reason: r.reason}
	case r.transfer != NDR:
		return protocolError("server accepts %v with transfer syntax %v", b.pdu.contexts[0].abstract, r.transfer)
	}
	return nil
}

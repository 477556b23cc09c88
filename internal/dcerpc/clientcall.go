package dcerpc

import (
	"fmt"
	"io"
)

// call sends a request and collects its response.
func (c *Client) call(i *Binding, q Request) ([]byte, error) {
	id := c.nextCallID()
	err := c.w.send(message{
		ptype:     ptypeRequest,
		callID:    id,
		contextID: i.contextID,
		opnum:     q.Opnum,
		object:    q.Object,
		stub:      q.Stub,
	}, c.maxXmit, i.sec)
	if err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	out := q.Buffer[:0]
	for first := true; ; first = false {
		h, part, err := c.receive(i, id)
		if err != nil {
			return nil, err
		}
		if h.ptype == ptypeFault {
			status, err := faultStatus(part)
			if err != nil {
				return nil, err
			}
			return nil, &Fault{Status: status, Unconfirmed: i.sec != nil && i.sec.unconfirmed}
		}
		if first != (h.flags&flagFirst != 0) {
			return nil, protocolError("response's first fragment is not where it belongs")
		}
		last := h.flags&flagLast != 0
		if len(part) == 0 && !last {
			return nil, protocolError("empty fragment within a response")
		}
		if len(part) > c.maxResponse-len(out) {
			return nil, protocolError("response of more than %d bytes", c.maxResponse)
		}
		out = append(out, part...)
		if last {
			if i.sec != nil { // at LevelConnect, an answer is all there is
				i.sec.unconfirmed = false
			}
			return out, nil
		}
	}
}

// receive returns the next fragment of the response to a call, or a fault, and
// its part of the stub, checked and decrypted.
func (c *Client) receive(i *Binding, callID uint32) (h header, part []byte, err error) {
	h, pdu, err := c.nextPDU()
	if err != nil {
		return h, nil, err
	}
	if h.ptype != ptypeResponse && h.ptype != ptypeFault {
		return h, nil, protocolError("pdu type %d in answer to a request", h.ptype)
	}
	if h.callID != callID {
		return h, nil, protocolError("answer to call %d instead of %d", h.callID, callID)
	}
	if len(pdu) > c.maxRecv {
		return h, nil, protocolError("fragment of %d bytes, at most %d were agreed on", len(pdu), c.maxRecv)
	}
	f, err := parseCall(h, pdu)
	if err != nil {
		return h, nil, err
	}
	body, v, err := splitVerifier(h, pdu, f.size)
	if err != nil {
		return h, nil, err
	}
	if h.authLen == 0 {
		// Faults may come unprotected. They are a refusal, whoever sent them.
		if i.sec.protects() && h.ptype != ptypeFault {
			return h, nil, protocolError("response is not protected")
		}
		part = body
	} else {
		if i.sec == nil || !i.sec.matches(v) {
			return h, nil, protocolError("response of another security context")
		}
		if part, err = i.sec.unwrap(pdu[:f.size:f.size], body, v); err != nil {
			return h, nil, fmt.Errorf("%w: response: %w", ErrProtocol, err)
		}
		if i.sec.protects() {
			i.sec.unconfirmed = false
		}
	}
	if h.ptype == ptypeResponse && f.contextID != i.contextID {
		return h, nil, protocolError("response of presentation context %d instead of %d", f.contextID, i.contextID)
	}
	return h, part, nil
}

// nextPDU reads a PDU of the server's.
func (c *Client) nextPDU() (header, []byte, error) {
	for {
		h, pdu, err := c.r.next()
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return h, nil, fmt.Errorf("server closed the connection: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return h, nil, err
		case h.ptype == ptypeShutdown:
			// The server would like the connection to end soon; that is for the
			// caller to decide (C706 section 12.6.4.11). One ask is enough.
			if c.shutdown {
				return h, nil, protocolError("second shutdown")
			}
			c.shutdown = true
			continue
		}
		return h, pdu, nil
	}
}

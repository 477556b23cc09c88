package kerberos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jcmturner/gokrb5/v8/messages"
)

// maxReply bounds a KDC's answer. The largest ones hold two tickets' worth of
// group memberships.
const maxReply = 1 << 18

// kdcTimeout bounds one KDC's try, so that a dead one does not use up the
// caller's time.
const kdcTimeout = 10 * time.Second

// exchange sends a request to the realm's KDCs, one after the other until one
// answers, over TCP (RFC 4120 section 7.2.2).
func (c *Client) exchange(ctx context.Context, op, realm string, request []byte) ([]byte, error) {
	list, err := c.conf.addresses(ctx, realm)
	if err != nil {
		return nil, kdcError(ctx, op, err)
	}
	var errs []error
	for _, address := range list {
		reply, err := c.exchangeWith(ctx, address, request)
		if err == nil {
			return reply, nil
		}
		if ctx.Err() != nil {
			return nil, kdcError(ctx, op, err)
		}
		errs = append(errs, err)
	}
	return nil, kdcError(ctx, op, errors.Join(errs...))
}

func kdcError(ctx context.Context, op string, err error) error {
	if c := ctx.Err(); c != nil {
		return &Error{Op: op, Err: c}
	}
	e := &Error{Op: op, Err: fmt.Errorf("no KDC answered: %w", err), hint: "check that the KDC's TCP port 88 is open from here"}
	var h *hintError
	if errors.As(err, &h) {
		e.Err, e.hint = h, h.hint
	}
	return e
}

func (c *Client) exchangeWith(ctx context.Context, address string, request []byte) (reply []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, kdcTimeout)
	defer cancel()
	dial := c.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(request)), uint32(len(request)))
	if _, err := conn.Write(append(b, request...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > maxReply {
		return nil, fmt.Errorf("%s: answer of %d bytes", address, n)
	}
	reply = make([]byte, n)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return reply, nil
}

// krbError returns the KRB-ERROR that a reply is, or nil.
func krbError(reply []byte) *messages.KRBError {
	if len(reply) == 0 || reply[0] != octetKRBError {
		return nil
	}
	var k messages.KRBError
	if guard("KRB-ERROR", func() error { return k.Unmarshal(reply) }) != nil {
		return nil
	}
	return &k
}

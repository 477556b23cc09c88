package dcerpc

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
)

// tampering dials connections on which the PDUs that are sent, and received,
// can be changed. Each Write and each PDU read passes as whole PDUs.
func tampering(sent, received func(pdu []byte)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &tamperConn{Conn: c, r: reader{src: c}, sent: sent, received: received}, nil
	}
}

type tamperConn struct {
	net.Conn
	sent, received func([]byte)

	mu   sync.Mutex
	r    reader
	rest []byte
}

func (c *tamperConn) Write(b []byte) (int, error) {
	b = append([]byte(nil), b...)
	for pdu := b; c.sent != nil && len(pdu) > 0; {
		n := int(binary.LittleEndian.Uint16(pdu[8:]))
		c.sent(pdu[:n])
		pdu = pdu[n:]
	}
	return c.Conn.Write(b)
}

func (c *tamperConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rest) == 0 {
		_, pdu, err := c.r.next()
		if err != nil {
			return 0, err
		}
		if c.received != nil {
			c.received(pdu)
		}
		c.rest = pdu
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// closedListener must only be closed.
type closedListener struct{ net.Listener }

func (closedListener) Close() error { return nil }

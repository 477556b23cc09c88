package dcerpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// ClientOptions are settings of a Client. The zero value is good.
type ClientOptions struct {
	// Dial makes the connection; nil is a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// MaxFragment is the largest fragment to send and to receive, in bytes; 0
	// is 5840, as Windows has it. The server may choose a smaller one.
	MaxFragment uint16

	// MaxResponse is the largest stub that a response may have, in bytes; 0 is
	// 20 MiB. A longer one is a protocol error.
	MaxResponse int
}

// Client is a connection to a server. Its methods may be called by several
// goroutines; one call is made after the other.
type Client struct {
	conn        net.Conn
	r           reader
	w           writer
	maxResponse int

	closed atomic.Bool   // by Close
	turn   chan struct{} // holds one token: who has it uses what follows

	broken     error // why the connection is of no more use
	bound      bool
	maxXmit    int
	maxRecv    int
	group      uint32
	headerSign bool
	shutdown   bool // the server asked for the end of the connection
	callID     uint32
	contextID  uint16
	securities uint32
	current    *security // of the interfaces bound without one of their own
}

// Dial connects to address, which is host:port. Nothing is sent before the
// first Bind.
func Dial(ctx context.Context, address string, o ClientOptions) (*Client, error) {
	dial := o.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return newClient(conn, o), nil
}

func newClient(conn net.Conn, o ClientOptions) *Client {
	frag := int(o.MaxFragment)
	if frag == 0 {
		frag = defaultFragment
	}
	frag = max(frag, minFragment)
	c := &Client{
		conn:        conn,
		r:           reader{src: conn},
		w:           writer{dst: conn},
		maxResponse: o.MaxResponse,
		turn:        make(chan struct{}, 1),
		maxXmit:     frag,
		maxRecv:     frag,
		callID:      1,
	}
	if c.maxResponse <= 0 {
		c.maxResponse = 20 << 20
	}
	c.turn <- struct{}{}
	return c
}

// Close closes the connection. A call that waits for its answer fails.
func (c *Client) Close() error {
	c.closed.Store(true)
	return c.conn.Close()
}

// LocalAddr returns the connection's address on this side.
func (c *Client) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the connection's address on the server's side.
func (c *Client) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Security says how to authenticate, and how to protect calls.
type Security struct {
	Type    AuthType
	Level   Level
	Context gss.Context // a fresh one; the Client uses it from then on

	// RequireHeaderSigning refuses a server with which signing of headers
	// cannot be agreed on. Without it, operation numbers and objects of calls
	// are not protected, except with mechanisms that always sign headers, as
	// NTLM does.
	RequireHeaderSigning bool
}

// Request is a call to be made.
type Request struct {
	Opnum  uint16
	Object *ndr.GUID // the object it is for, or nil
	Stub   []byte    // the encoded parameters; not changed

	// Buffer receives the response: it is appended to Buffer[:0].
	Buffer []byte
}

// Binding is an interface of the server that a Client is bound to.
type Binding struct {
	client    *Client
	syntax    Syntax
	contextID uint16
	sec       *security // nil: not protected
}

// Syntax returns the interface's name.
func (i *Binding) Syntax() Syntax { return i.syntax }

// Call calls a procedure of the interface and returns the stub of its response,
// appended to q.Buffer[:0]. The server's refusals are [*Fault]s, and leave the
// connection as it is; all other errors close it, as does a context that ends
// during the call. The error wraps the context's then.
func (i *Binding) Call(ctx context.Context, q Request) ([]byte, error) {
	c := i.client
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	stub, err := c.call(i, q)
	var fault *Fault
	return stub, end(err, errors.As(err, &fault))
}

// begin waits for the connection and guards it: until end is called, the end
// of ctx interrupts what is read and written. end closes the connection after
// an error that it does not survive, and returns the error to report.
func (c *Client) begin(ctx context.Context) (end func(err error, survives bool) error, err error) {
	select {
	case <-ctx.Done():
		return nil, interruption(ctx)
	case <-c.turn:
	}
	if ctx.Err() != nil {
		c.turn <- struct{}{}
		return nil, interruption(ctx)
	}
	if c.broken == nil && c.closed.Load() {
		c.broken = ErrClosed
	}
	if c.broken != nil {
		c.turn <- struct{}{}
		return nil, c.broken
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.conn.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	return func(err error, survives bool) error {
		late := !stop()
		if late {
			<-interrupted
		}
		switch {
		case err == nil || survives:
			if late { // the answer was faster
				c.conn.SetDeadline(time.Time{})
			}
		default:
			switch {
			case errors.Is(err, ErrProtocol):
			case late:
				err = interruption(ctx)
			case c.closed.Load():
				err = fmt.Errorf("%w: %w", ErrClosed, err)
			}
			c.conn.Close()
			c.broken = fmt.Errorf("%w after: %w", ErrClosed, err)
		}
		c.turn <- struct{}{}
		return err
	}, nil
}

// interruption is the error for a context that ended.
func interruption(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("rpc interrupted: %w: %w", ctx.Err(), cause)
	}
	return fmt.Errorf("rpc interrupted: %w", ctx.Err())
}

// nextCallID returns the number of the next call; a handshake is one call.
func (c *Client) nextCallID() uint32 {
	c.callID = c.callID%0x7fffffff + 1
	return c.callID
}

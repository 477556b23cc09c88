package dcerpc

import "time"

// Limits bound what clients can take of a server. A zero field has the default
// named with it; negative values are not allowed.
type Limits struct {
	// Connections are at most so many at a time (256). When there are as many,
	// a new connection takes the place of the oldest one that has not
	// authenticated, or else of the oldest one that no handler has asked to
	// [Conn.Keep]; it is refused only if there is none such. So those who merely
	// connect, or log on, keep nobody out.
	Connections int

	// PerHost is the same for one remote address (64); of IPv6, for a /64.
	PerHost int

	// PresentationContexts is the number of interfaces that a connection can be
	// bound to (64), and SecurityContexts the number of authentications that it
	// can begin (32).
	PresentationContexts, SecurityContexts int

	// RequestBytes is the size of the largest request stub (4 MiB), and
	// UnauthenticatedBytes that of one that comes unprotected (64 KiB). Larger
	// ones are answered with StatusAccessDenied, as Windows does.
	RequestBytes, UnauthenticatedBytes int

	// ResponseBytes is the size of the largest response stub (17 MiB). A
	// handler that returns more has the call answered with StatusNoMemory.
	ResponseBytes int

	// MaxFragment is the size of the largest fragment (5840, as Windows has
	// it). Clients may want smaller ones.
	MaxFragment uint16

	// HandshakeTimeout is how long a connection lives unless it authenticates
	// (30 s).
	HandshakeTimeout time.Duration

	// ReadTimeout is how long a request may take to arrive, from its first
	// byte to its last (30 s).
	ReadTimeout time.Duration

	// WriteTimeout is how long the client may take to accept 64 KiB of a
	// response (30 s).
	WriteTimeout time.Duration

	// IdleTimeout is how long an authenticated connection waits for the next
	// request (15 min). Buffers are freed long before.
	IdleTimeout time.Duration

	// Logons bound failing authentications of one remote host (burst of 20,
	// then one a second), AllLogons those of all (burst of 200, then 20 a
	// second). One that succeeds does not count. Beyond, the client is told that
	// the server is busy.
	Logons, AllLogons TokenBucket
}

// TokenBucket allows Burst events at once, and Rate events a second in the long
// run.
type TokenBucket struct {
	Rate  float64
	Burst int
}

func (l Limits) withDefaults() Limits {
	def(&l.Connections, 256)
	def(&l.PerHost, 64)
	def(&l.PresentationContexts, 64)
	def(&l.SecurityContexts, 32)
	def(&l.RequestBytes, 4<<20)
	def(&l.UnauthenticatedBytes, 64<<10)
	def(&l.ResponseBytes, 17<<20)
	def(&l.MaxFragment, defaultFragment)
	def(&l.HandshakeTimeout, 30*time.Second)
	def(&l.ReadTimeout, 30*time.Second)
	def(&l.WriteTimeout, 30*time.Second)
	def(&l.IdleTimeout, 15*time.Minute)
	def(&l.Logons, TokenBucket{Rate: 1, Burst: 20})
	def(&l.AllLogons, TokenBucket{Rate: 20, Burst: 200})
	l.MaxFragment = max(l.MaxFragment, minFragment)
	l.UnauthenticatedBytes = min(l.UnauthenticatedBytes, l.RequestBytes)
	return l
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// PerConnection returns how many bytes of buffers one connection can make the
// server hold: PDUs that arrive, fragments that leave, one request and one
// response. The first and the third grow, and then their old space is there as
// well; a response may have a quarter more space than bytes (as append gives
// it) and is kept for the next one. A connection that has not authenticated can
// have no request larger than UnauthenticatedBytes; responses are as large as
// handlers make them. What the mechanisms, the handlers and the kernel's socket
// buffers need comes on top.
func (l Limits) PerConnection() int {
	l = l.withDefaults()
	return readBufferMax + readBufferMax/2 + max(batch, int(l.MaxFragment)) + 2*l.RequestBytes + l.replySpace()
}

// replySpace is the largest space for responses that a connection keeps.
func (l Limits) replySpace() int { return l.ResponseBytes + l.ResponseBytes/4 }

package dcom

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/dcom/dcomtest"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// The class that tests activate, and its interfaces.
var (
	testCLSID = ndr.MustGUID("5a0c1b1e-0000-4000-8000-000000000001")
	iidBase   = ndr.MustGUID("5a0c1b1e-0000-4000-8000-000000000002")
	iidMore   = ndr.MustGUID("5a0c1b1e-0000-4000-8000-000000000003")
	iidOther  = ndr.MustGUID("5a0c1b1e-0000-4000-8000-000000000004") // of no class
)

// Methods of the test class.
const (
	opAdd   = 3 // adds to the sum, and returns it and the interface it was called by
	opBlock = 4 // returns when the test says so
	opFail  = 5 // fails with the code it is told
	opTorn  = 6 // reads more than there is
)

// testObject is an object of the test class.
type testObject struct {
	conn    *dcerpc.Conn // it was activated on
	sum     uint32
	entered chan struct{} // a token for each opBlock that began
	proceed chan struct{} // closed: opBlock returns
	closed  chan Reason   // every Closed
	running atomic.Int32
	misuse  atomic.Bool // two calls at once, or Closed during one
}

func newTestObject() *testObject {
	return &testObject{entered: make(chan struct{}, 16), proceed: make(chan struct{}), closed: make(chan Reason, 16)}
}

func (o *testObject) Call(ctx context.Context, c *Call, in *ndr.Decoder, out *ndr.Encoder) error {
	if o.running.Add(1) != 1 {
		o.misuse.Store(true)
	}
	defer o.running.Add(-1)
	switch c.Opnum {
	case opAdd:
		o.sum += in.U32()
		out.U32(o.sum)
		out.GUID(c.IID)
	case opBlock:
		o.entered <- struct{}{}
		select {
		case <-o.proceed:
		case <-ctx.Done():
			<-o.proceed // it takes no notice
		}
	case opFail:
		return HResult(in.U32())
	case opTorn:
		in.Bytes(1 << 20)
	default:
		return errors.New("no such method")
	}
	out.U32(0)
	return nil
}

func (o *testObject) Closed(why Reason) {
	if o.running.Load() != 0 {
		o.misuse.Store(true)
	}
	o.closed <- why
}

// open fails the test if the object is gone.
func (o *testObject) open(t *testing.T) {
	t.Helper()
	select {
	case why := <-o.closed:
		t.Fatalf("object is gone: %v", why)
	default:
	}
}

// gone waits for the object's end, which must be for this reason and once.
func (o *testObject) gone(t *testing.T, want Reason) {
	t.Helper()
	select {
	case why := <-o.closed:
		if why != want {
			t.Errorf("object is gone: %v, want %v", why, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("object is not gone")
	}
	if len(o.closed) != 0 {
		t.Error("object was closed twice")
	}
	if o.misuse.Load() {
		t.Error("calls at the same time, or the end of the object during one")
	}
}

// testClock is a dcomtest.Clock that tells of what is set.
type testClock struct {
	*dcomtest.Clock
	mu  sync.Mutex
	set []time.Duration
	new chan struct{}
}

func newTestClock() *testClock {
	return &testClock{Clock: dcomtest.NewClock(), new: make(chan struct{}, 1)}
}

func (c *testClock) AfterFunc(d time.Duration, f func()) func() {
	stop := c.Clock.AfterFunc(d, f)
	c.mu.Lock()
	c.set = append(c.set, d)
	c.mu.Unlock()
	select {
	case c.new <- struct{}{}:
	default:
	}
	return stop
}

// waitSet waits until a timer of this duration was set, and forgets what was.
func (c *testClock) waitSet(t *testing.T, d time.Duration) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		c.mu.Lock()
		found := slices.Contains(c.set, d)
		if found {
			c.set = nil
		}
		c.mu.Unlock()
		if found {
			return
		}
		select {
		case <-c.new:
		case <-deadline:
			t.Fatalf("no timer of %v was set", d)
		}
	}
}

// world is a server on loopback.
type world struct {
	server  *Server
	clock   *testClock
	host    string
	port    int // of the resolver
	calls   int // of the exporter: the port for calls
	objects chan *testObject
	stop    func() // the listeners, with their connections
}

// arrange says what a world is like.
type arrange struct {
	config   ServerConfig // of class Classes[0], or of the test class
	twoPorts bool         // a server of its own for the exporter
	wrap     func(dcerpc.Interface) dcerpc.Interface
}

// newWorld serves the test class to alice and bob.
func newWorld(t *testing.T, a arrange) *world {
	t.Helper()
	w := &world{clock: newTestClock(), host: "127.0.0.1", objects: make(chan *testObject, 64)}
	cfg := a.config
	cfg.Clock = w.clock
	if cfg.Classes == nil {
		cfg.Classes = []Class{{CLSID: testCLSID, IIDs: []ndr.GUID{iidBase, iidMore}}}
	}
	for i := range cfg.Classes {
		if cfg.Classes[i].New == nil {
			cfg.Classes[i].New = func(_ context.Context, a Activation) (Servant, error) {
				o := newTestObject()
				o.conn = a.Conn
				w.objects <- o
				return o, nil
			}
		}
	}
	w.server = NewServer(cfg)
	var stops []func()
	listen := func(faces []dcerpc.Interface) int {
		if a.wrap != nil {
			for i := range faces {
				faces[i] = a.wrap(faces[i])
			}
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		rpc := dcerpc.NewServer(dcerpc.ServerConfig{Interfaces: faces, Accept: acceptTest})
		done := make(chan struct{})
		go func() {
			defer close(done)
			rpc.Serve(context.Background(), l)
		}()
		stops = append(stops, func() {
			rpc.Close()
			<-done
		})
		return l.Addr().(*net.TCPAddr).Port
	}
	if a.twoPorts {
		w.port = listen(w.server.ResolverInterfaces())
		w.calls = listen(w.server.ExporterInterfaces())
		w.server.SetExporter(&net.TCPAddr{Port: w.calls})
	} else {
		w.port = listen(append(w.server.ResolverInterfaces(), w.server.ExporterInterfaces()...))
		w.calls = w.port
	}
	w.stop = sync.OnceFunc(func() {
		for _, f := range stops {
			f()
		}
	})
	t.Cleanup(func() {
		w.stop()
		w.server.Close()
	})
	return w
}

// object returns the object that was activated next.
func (w *world) object(t *testing.T) *testObject {
	t.Helper()
	select {
	case o := <-w.objects:
		return o
	case <-time.After(30 * time.Second):
		t.Fatal("no object was activated")
		return nil
	}
}

// acceptTest knows alice and bob; their passwords are their names.
func acceptTest(typ dcerpc.AuthType, _ *dcerpc.Conn) (gss.Context, error) {
	if typ != dcerpc.AuthNTLM {
		return nil, fmt.Errorf("%v is not accepted", typ)
	}
	return ntlm.NewAcceptor(ntlm.AcceptorConfig{
		Computer: "CA1", Domain: "CA1",
		Lookup: func(user, _ string) ([16]byte, bool) {
			return ntlm.NTHash(user), user == "alice" || user == "bob"
		},
	}), nil
}

// answering has a server change its answers to activations.
func answering(change func(*activationReply)) func(dcerpc.Interface) dcerpc.Interface {
	return replacing(IIDRemoteSCMActivator, func(stub []byte) []byte {
		d := ndr.NewDecoder(stub)
		skipThat(d)
		r, err := decodeCreateReply(d)
		if err != nil {
			return stub
		}
		change(&r)
		var e ndr.Encoder
		encodeThat(&e)
		encodeCreateReply(&e, r.pack(), OK)
		return e.Bytes()
	})
}

// replacing has a server change the answers of an interface.
func replacing(iid ndr.GUID, change func(stub []byte) []byte) func(dcerpc.Interface) dcerpc.Interface {
	return func(i dcerpc.Interface) dcerpc.Interface {
		if i.Syntax.UUID != iid {
			return i
		}
		h := i.Handler
		i.Handler = func(ctx context.Context, c *dcerpc.Call) ([]byte, error) {
			stub, err := h(ctx, c)
			if err != nil {
				return nil, err
			}
			return change(stub), nil
		}
		return i
	}
}

// hearing tells the versions of the requests that come to the activator and to
// objects.
func hearing(i dcerpc.Interface, versions chan<- Version) dcerpc.Interface {
	if i.Syntax.UUID == IIDObjectExporter {
		return i
	}
	h := i.Handler
	i.Handler = func(ctx context.Context, c *dcerpc.Call) ([]byte, error) {
		versions <- decodeThis(ndr.NewDecoder(c.Stub)).version
		return h(ctx, c)
	}
	return i
}

// aliveHandler has somebody else answer ServerAlive2, who may decline.
func aliveHandler(answer func(dcerpc.Level) ([]byte, error, bool)) func(dcerpc.Interface) dcerpc.Interface {
	return func(i dcerpc.Interface) dcerpc.Interface {
		if i.Syntax.UUID != IIDObjectExporter {
			return i
		}
		h := i.Handler
		i.Handler = func(ctx context.Context, c *dcerpc.Call) ([]byte, error) {
			if c.Opnum == opServerAlive2 {
				if stub, err, ok := answer(c.Level); ok {
					return stub, err
				}
			}
			return h(ctx, c)
		}
		return i
	}
}

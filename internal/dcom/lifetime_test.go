package dcom

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// TestOneCallAtATime: calls of several connections on one object wait for each
// other; those that wait as the object is released find it gone, and it is
// closed after all of them.
func TestOneCallAtATime(t *testing.T) {
	w := newWorld(t, arrange{})
	alice := newPeer(t, w.host, w.port, as("alice"))
	reply, err := alice.create(testCLSID, iidBase)
	if err != nil {
		t.Fatal(err)
	}
	servant, ipid := w.object(t), reply.results[0].ref.std.IPID
	calls := func() int {
		w.server.table.mu.Lock()
		defer w.server.table.mu.Unlock()
		return w.server.table.ifaces[ipid].object.calls
	}
	start := func(opnum uint16) (*peer, chan error) {
		p, done, n := newPeer(t, w.host, w.port, as("alice")), make(chan error, 1), calls()
		p.bind(iidBase)
		go func() {
			_, err := p.orpc(iidBase, opnum, ipid, func(e *ndr.Encoder) { e.U32(1) })
			done <- err
		}()
		for calls() == n {
			runtime.Gosched()
		}
		return p, done
	}
	_, blocked := start(opBlock)
	<-servant.entered
	_, waiting := start(opAdd)
	leaving, left := start(opAdd)
	leaving.client.Close() // it does not wait for its turn
	if err := <-left; err == nil {
		t.Error("a call on a closed connection succeeded")
	}
	for calls() != 2 {
		runtime.Gosched()
	}
	refs := []interfaceRef{{ipid: ipid, publicRefs: 5}}
	d, err := alice.orpc(IIDRemUnknown, opRemRelease, reply.remUnknown, func(e *ndr.Encoder) { encodeRefs(e, refs) })
	if err != nil || status(d) != nil {
		t.Fatal(err)
	}
	if n := w.server.Objects(); n != 0 {
		t.Errorf("%d objects", n)
	}
	servant.open(t)
	if _, err := alice.orpc(iidBase, opAdd, ipid, nil); faultOf(err) != uint32(Disconnected) {
		t.Errorf("call after the release: %v", err)
	}
	close(servant.proceed)
	if err := <-blocked; err != nil {
		t.Errorf("the call that was in progress: %v", err)
	}
	if err := <-waiting; faultOf(err) != uint32(Disconnected) {
		t.Errorf("the call that waited: %v", err)
	}
	servant.gone(t, ReasonReleased)
	if servant.sum != 0 {
		t.Error("a call was made on a released object")
	}
}

// TestCloseDuringActivation: an object that is made while the server is closed
// is closed, too, and the client is told.
func TestCloseDuringActivation(t *testing.T) {
	var w *world
	servant := newTestObject()
	w = newWorld(t, arrange{config: ServerConfig{Classes: []Class{{
		CLSID: testCLSID, IIDs: []ndr.GUID{iidBase},
		New: func(context.Context, Activation) (Servant, error) {
			w.server.Close()
			return servant, nil
		},
	}}}})
	if _, err := Activate(t.Context(), w.options()); !errors.Is(err, Disconnected) {
		t.Errorf("activation: %v", err)
	}
	servant.gone(t, ReasonServerClosed)
	if n := w.clock.Timers(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

// slowObject takes its time to close.
type slowObject struct {
	*testObject
	closing, proceed chan struct{}
}

func (o slowObject) Closed(why Reason) {
	close(o.closing)
	<-o.proceed
	o.testObject.Closed(why)
}

// TestCloseWaits: after Close, no object is being closed any more, not even one
// that had expired.
func TestCloseWaits(t *testing.T) {
	servant := slowObject{newTestObject(), make(chan struct{}), make(chan struct{})}
	w := newWorld(t, arrange{config: ServerConfig{Classes: []Class{{
		CLSID: testCLSID, IIDs: []ndr.GUID{iidBase},
		New: func(context.Context, Activation) (Servant, error) { return servant, nil },
	}}}})
	activate(t, w.options())
	go w.clock.Advance(time.Hour)
	<-servant.closing
	if n := w.server.Objects(); n != 0 { // and no lock is held meanwhile
		t.Errorf("%d objects", n)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		w.server.Close()
	}()
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case <-closed:
		t.Error("Close returned while an object was being closed")
	default:
	}
	close(servant.proceed)
	<-closed
	servant.gone(t, ReasonIdle)
}

// TestSystemClock: without a clock of a test's, objects expire as well, and the
// client pings by itself.
func TestSystemClock(t *testing.T) {
	tb := newTable(Limits{Unpinged: time.Millisecond}.withDefaults(), systemClock{})
	servant := newTestObject()
	if err := tb.reserve("alice"); err != nil {
		t.Fatal(err)
	}
	who := caller{"alice", new(dcerpc.Conn), t.Context()}
	if _, err := tb.add(who, &Class{IIDs: []ndr.GUID{iidBase}}, servant, []ndr.GUID{iidBase}); err != nil {
		t.Fatal(err)
	}
	servant.gone(t, ReasonIdle)

	w := newWorld(t, arrange{})
	o := w.options()
	o.ticker, o.PingPeriod = nil, 10*time.Millisecond
	pinged := make(chan error, 1000)
	o.OnPing = func(err error) { pinged <- err }
	activate(t, o)
	<-pinged // with so short a period, some of them may be late
	<-pinged
}

// TestBindRefused: an activation that fails after the object was made leaves no
// connection, and the server frees the object after the grace.
func TestBindRefused(t *testing.T) {
	missing := errors.New("no second ticket")
	for name, wrap := range map[string]func(dcerpc.Interface) dcerpc.Interface{
		"authentication": nil,
		"interface": func(i dcerpc.Interface) dcerpc.Interface {
			if i.Syntax.UUID == iidMore {
				i.Syntax.UUID = iidOther
			}
			return i
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, arrange{wrap: wrap})
			var d dialer
			who := as("alice")
			o := w.options()
			o.RPC.Dial = d.dial
			o.Authenticate = func(service, host string) (*dcerpc.Security, error) {
				if len(who.asked) == 1 && wrap == nil {
					return nil, missing
				}
				return who.authenticate(service, host)
			}
			_, err := Activate(t.Context(), o)
			var at *StageError
			var reject *dcerpc.RejectError
			if !errors.As(err, &at) || at.Stage != StageBind || errors.Is(err, missing) == errors.As(err, &reject) {
				t.Errorf("activation: %v", err)
			}
			if n := d.open(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			servant := w.object(t)
			w.clock.waitSet(t, time.Minute)
			w.clock.Advance(time.Minute)
			servant.gone(t, ReasonDisconnected)
		})
	}
}

// TestExporterGone: the port that the activation named does not answer.
func TestExporterGone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	w := newWorld(t, arrange{wrap: answering(func(r *activationReply) {
		r.exporter.Strings = []StringBinding{{TowerTCP, fmt.Sprintf("127.0.0.1[%d]", l.Addr().(*net.TCPAddr).Port)}}
	})})
	refused(t, w, StageExporter, "connect to 127.0.0.1")
}

// TestResolveInterrupted: looking the name up is a stage of its own.
func TestResolveInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := ActivateOptions{Host: "ca1.invalid", CLSID: testCLSID, IIDs: []ndr.GUID{iidBase}, Authenticate: as("alice").authenticate}
	var at *StageError
	if _, err := Activate(ctx, o); !errors.As(err, &at) || at.Stage != StageResolve {
		t.Errorf("activation: %v", err)
	}
}

func TestReasonText(t *testing.T) {
	seen := map[string]bool{}
	for r := ReasonReleased; r <= ReasonServerClosed; r++ {
		seen[r.String()] = true
	}
	if len(seen) != 5 || seen["reason 3"] || Reason(9).String() != "reason 9" {
		t.Errorf("reasons %v, %v", seen, Reason(9))
	}
}

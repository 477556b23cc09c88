package dcom

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// TestActivate goes through a session: activation, calls on two interfaces, and
// the release, which frees the object at once.
func TestActivate(t *testing.T) {
	for _, twoPorts := range []bool{false, true} {
		t.Run(fmt.Sprintf("two ports %v", twoPorts), func(t *testing.T) {
			w := newWorld(t, arrange{twoPorts: twoPorts})
			var d dialer
			var stages []Stage
			who := as("alice")
			o := w.options()
			o.RPC.Dial = d.dial
			o.Authenticate = who.authenticate
			o.Stage = func(s Stage, err error) {
				if err != nil {
					t.Errorf("%s: %v", s, err)
				}
				stages = append(stages, s)
			}
			obj := activate(t, o)
			want := []Stage{StageResolve, StageConnect, StageServerAlive, StageAuthenticate, StageActivate, StageExporter, StageBind}
			if !slices.Equal(stages, want) {
				t.Errorf("stages %v, want %v", stages, want)
			}
			if last := d.addresses[len(d.addresses)-1]; last != net.JoinHostPort(w.host, fmt.Sprint(w.calls)) {
				t.Errorf("calls go to %s, want port %d", last, w.calls)
			}
			if want := []string{"RPCSS/127.0.0.1", "RPCSS/127.0.0.1"}; !slices.Equal(who.asked, want) {
				t.Errorf("authenticated for %v, want %v", who.asked, want)
			}

			servant := w.object(t)
			more, base := obj.Interface(iidMore), obj.Interface(iidBase)
			if more.IID() != iidMore || base.IID() != iidBase || obj.Interface(iidOther) != nil {
				t.Fatalf("interfaces %v, %v, %v", more, base, obj.Interface(iidOther))
			}
			if sum, iid := add(t, more, 2); sum != 2 || iid != iidMore {
				t.Errorf("first call: %d by %v", sum, iid)
			}
			if sum, iid := add(t, base, 3); sum != 5 || iid != iidBase {
				t.Errorf("call on the second interface: %d by %v, want 5: the same object", sum, iid)
			}
			if n := w.server.Objects(); n != 1 {
				t.Errorf("server has %d objects", n)
			}
			servant.open(t)

			if err := obj.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			servant.gone(t, ReasonReleased)
			if n := w.server.Objects(); n != 0 {
				t.Errorf("server has %d objects after the release", n)
			}
			if n := d.open(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			if err := obj.Release(t.Context()); err != nil {
				t.Errorf("second release: %v", err)
			}
			if len(servant.closed) != 0 {
				t.Error("second release did something")
			}
			if _, err := more.Call(t.Context(), opAdd, nil, nil); !errors.Is(err, dcerpc.ErrClosed) && !errors.Is(err, net.ErrClosed) {
				t.Errorf("call after the release: %v", err)
			}
		})
	}
}

// TestActivateFallsBack: of a class without the interface that is wanted most,
// the next one is had.
func TestActivateFallsBack(t *testing.T) {
	w := newWorld(t, arrange{config: ServerConfig{Classes: []Class{{CLSID: testCLSID, IIDs: []ndr.GUID{iidBase}}}}})
	obj := activate(t, w.options())
	if obj.Interface(iidMore) != nil {
		t.Error("an interface that the class does not have")
	}
	if sum, iid := add(t, obj.Interface(iidBase), 7); sum != 7 || iid != iidBase {
		t.Errorf("call: %d by %v", sum, iid)
	}
}

// TestActivateUnknown: every object has IUnknown, which has no methods of its
// own to be called.
func TestActivateUnknown(t *testing.T) {
	w := newWorld(t, arrange{})
	o := w.options()
	o.IIDs = []ndr.GUID{IIDUnknown}
	obj := activate(t, o)
	for _, op := range []uint16{0, 1, 2, 3} {
		if _, err := obj.Interface(IIDUnknown).Call(t.Context(), op, nil, nil); faultOf(err) != dcerpc.StatusOpRange {
			t.Errorf("method %d of IUnknown: %v", op, err)
		}
	}
}

func TestActivateRefused(t *testing.T) {
	classes := []Class{
		{CLSID: testCLSID, IIDs: []ndr.GUID{iidBase}},
		{CLSID: iidMore, IIDs: []ndr.GUID{iidBase}, New: func(context.Context, Activation) (Servant, error) {
			return nil, fmt.Errorf("not for you: %w", EAccessDenied)
		}},
		{CLSID: iidOther, IIDs: []ndr.GUID{iidBase}, New: func(context.Context, Activation) (Servant, error) {
			return nil, errors.New("a secret of the server's")
		}},
		{CLSID: adminCLSID, IIDs: []ndr.GUID{iidBase}, New: func(context.Context, Activation) (Servant, error) {
			return nil, HResult(1) // no failure, and no object
		}},
	}
	w := newWorld(t, arrange{config: ServerConfig{Classes: classes}})
	type change func(*ActivateOptions)
	wrong := as("alice")
	wrong.password = "guess"
	closedPort := func() int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}()
	for _, tt := range []struct {
		name   string
		change change
		stage  Stage
		want   error
	}{
		{"unknown class", func(o *ActivateOptions) { o.CLSID = iidBase }, StageActivate, ClassNotReg},
		{"interface of no class", func(o *ActivateOptions) { o.IIDs = []ndr.GUID{iidOther} }, StageActivate, ENoInterface},
		{"class refuses", func(o *ActivateOptions) { o.CLSID = iidMore }, StageActivate, EAccessDenied},
		{"class fails", func(o *ActivateOptions) { o.CLSID = iidOther }, StageActivate, EFail},
		{"class fails with a success", func(o *ActivateOptions) { o.CLSID = adminCLSID }, StageActivate, EFail},
		{"no mechanism", func(o *ActivateOptions) {
			o.Authenticate = func(string, string) (*dcerpc.Security, error) { return nil, gss.ErrLogon }
		}, StageAuthenticate, gss.ErrLogon},
		{"wrong password", func(o *ActivateOptions) { o.Authenticate = wrong.authenticate }, StageAuthenticate,
			&dcerpc.Fault{Status: dcerpc.StatusAccessDenied, Unconfirmed: true}},
		{"nobody listens", func(o *ActivateOptions) { o.Port = closedPort }, StageConnect, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d dialer
			o := w.options()
			o.RPC.Dial = d.dial
			tt.change(&o)
			_, err := Activate(t.Context(), o)
			var stage *StageError
			if !errors.As(err, &stage) || stage.Stage != tt.stage {
				t.Fatalf("error %v, want one of stage %q", err, tt.stage)
			}
			var fault *dcerpc.Fault
			if errors.As(tt.want, &fault) {
				var got *dcerpc.Fault
				if !errors.As(err, &got) || *got != *fault {
					t.Errorf("error %v, want %v", err, tt.want)
				}
			} else if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if n := d.open(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			if n := w.server.Objects(); n != 0 {
				t.Errorf("%d objects are left", n)
			}
		})
	}
	// What was refused took no place of alice's for good.
	for range 9 {
		o := w.options()
		o.CLSID = iidMore
		if _, err := Activate(t.Context(), o); !errors.Is(err, EAccessDenied) {
			t.Fatalf("error %v, want %v", err, EAccessDenied)
		}
	}
	activate(t, w.options())
}

// TestActivateInterrupted: a context that ends during the activation ends it,
// and leaves nothing behind.
func TestActivateInterrupted(t *testing.T) {
	begun, proceed := make(chan struct{}), make(chan struct{})
	w := newWorld(t, arrange{config: ServerConfig{Classes: []Class{{
		CLSID: testCLSID, IIDs: []ndr.GUID{iidBase},
		New: func(ctx context.Context, _ Activation) (Servant, error) {
			close(begun)
			<-ctx.Done()
			close(proceed)
			return nil, ctx.Err()
		},
	}}}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	var d dialer
	o := w.options()
	o.RPC.Dial = d.dial
	_, err := Activate(ctx, o)
	var stage *StageError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &stage) || stage.Stage != StageActivate {
		t.Errorf("error %v", err)
	}
	if n := d.open(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	<-proceed // the server learned of it
}

// TestQuota: there are as many objects as the limits say, of one principal and
// of all.
func TestQuota(t *testing.T) {
	w := newWorld(t, arrange{config: ServerConfig{Limits: Limits{Objects: 3, ObjectsPerPrincipal: 2}}})
	alice, bob := w.options(), w.options()
	bob.Authenticate = as("bob").authenticate
	first := activate(t, alice)
	activate(t, alice)
	if _, err := Activate(t.Context(), alice); !errors.Is(err, NotEnoughQuota) {
		t.Errorf("alice's third: %v", err)
	}
	activate(t, bob)
	if _, err := Activate(t.Context(), bob); !errors.Is(err, NotEnoughQuota) {
		t.Errorf("the fourth of all: %v", err)
	}
	if err := first.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	activate(t, bob)
}

// TestCallErrors: what a method returns is what the caller sees, and no more.
func TestCallErrors(t *testing.T) {
	w := newWorld(t, arrange{})
	p := activate(t, w.options()).Interface(iidBase)
	fail := func(code HResult) func(*ndr.Encoder) { return func(e *ndr.Encoder) { e.U32(uint32(code)) } }
	for _, tt := range []struct {
		name  string
		opnum uint16
		args  func(*ndr.Encoder)
		want  uint32
	}{
		{"an hresult", opFail, fail(EInvalidArg), uint32(EInvalidArg)},
		{"another error", 99, nil, dcerpc.StatusFaultUnspecified},
		{"malformed parameters", opTorn, nil, dcerpc.StatusBadStubData},
		{"missing parameters", opAdd, nil, dcerpc.StatusBadStubData},
		{"a method of IUnknown", 0, nil, dcerpc.StatusOpRange},
	} {
		if _, err := p.Call(t.Context(), tt.opnum, nil, tt.args); faultOf(err) != tt.want {
			t.Errorf("%s: %v, want status %#x", tt.name, err, tt.want)
		}
	}
	add(t, p, 1) // the object is still of use
}

// TestReleaseDuringCall: a release waits for a call no longer than it is told
// to. The call fails then, and the object is closed as the servant returns.
func TestReleaseDuringCall(t *testing.T) {
	w := newWorld(t, arrange{})
	obj := activate(t, w.options())
	servant := w.object(t)
	failed := make(chan error, 1)
	go func() {
		_, err := obj.Interface(iidBase).Call(context.Background(), opBlock, nil, nil)
		failed <- err
	}()
	<-servant.entered

	// Somebody else waits for the same interface.
	waiting, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := obj.Interface(iidBase).Call(waiting, opAdd, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("call that did not get its turn: %v", err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := obj.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("release: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the call did not fail")
	}
	w.clock.Advance(24 * time.Hour)
	servant.open(t) // a call is in progress
	close(servant.proceed)
	w.clock.waitSet(t, w.server.table.limits.Grace)
	w.clock.Advance(time.Minute)
	servant.gone(t, ReasonDisconnected)
}

// TestReleaseOfDeadConnection returns an error, and everything is closed.
func TestReleaseOfDeadConnection(t *testing.T) {
	w := newWorld(t, arrange{})
	var d dialer
	o := w.options()
	o.RPC.Dial = d.dial
	obj := activate(t, o)
	d.cut(0)
	err := obj.Release(t.Context())
	if err == nil {
		t.Error("release without a connection succeeded")
	}
	if again := obj.Release(t.Context()); again != err {
		t.Errorf("second release: %v, want %v", again, err)
	}
}

// TestServerClose ends all objects; one that is called ends with its call.
func TestServerClose(t *testing.T) {
	w := newWorld(t, arrange{})
	activate(t, w.options())
	idle := w.object(t)
	obj := activate(t, w.options())
	busy := w.object(t)
	go obj.Interface(iidBase).Call(context.Background(), opBlock, nil, nil)
	<-busy.entered
	w.server.Close()
	idle.gone(t, ReasonServerClosed)
	busy.open(t)
	close(busy.proceed)
	busy.gone(t, ReasonServerClosed)
	if n := w.server.Objects(); n != 0 {
		t.Errorf("%d objects", n)
	}
	if _, err := Activate(t.Context(), w.options()); !errors.Is(err, Disconnected) {
		t.Errorf("activation after Close: %v", err)
	}
	w.server.Close()
}

package dcom

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// pings drives the pings of one object.
type pings struct {
	t      *testing.T
	tick   chan time.Time
	result chan error
}

func newPings(t *testing.T, o *ActivateOptions) *pings {
	p := &pings{t: t, tick: make(chan time.Time), result: make(chan error)}
	o.OnPing = func(err error) { p.result <- err }
	o.ticker = func(time.Duration) (<-chan time.Time, func()) { return p.tick, func() {} }
	return p
}

// ping has the client ping, and returns what it makes of the answer.
func (p *pings) ping() error {
	p.t.Helper()
	for done := time.After(30 * time.Second); ; {
		select {
		case p.tick <- time.Time{}:
			select {
			case err := <-p.result:
				return err
			case <-done:
				p.t.Fatal("ping has no end")
			}
		case <-done:
			p.t.Fatal("nobody pings")
		}
	}
}

func (p *pings) good() {
	p.t.Helper()
	if err := p.ping(); err != nil {
		p.t.Fatalf("ping: %v", err)
	}
}

// TestPingPeriod: without being told otherwise, the client pings as often as
// servers count on.
func TestPingPeriod(t *testing.T) {
	w := newWorld(t, arrange{})
	for _, tt := range []struct{ set, want time.Duration }{{0, 120 * time.Second}, {time.Second, time.Second}} {
		got := make(chan time.Duration, 1)
		o := w.options()
		o.PingPeriod = tt.set
		o.ticker = func(d time.Duration) (<-chan time.Time, func()) {
			got <- d
			return nil, func() {}
		}
		activate(t, o)
		if d := <-got; d != tt.want {
			t.Errorf("period %v pings every %v, want %v", tt.set, d, tt.want)
		}
	}
}

// TestPingsKeepAlive: a client that pings keeps an object that it does not call
// for hours, and one that stops loses it after three periods.
func TestPingsKeepAlive(t *testing.T) {
	w := newWorld(t, arrange{})
	o := w.options()
	p := newPings(t, &o)
	obj := activate(t, o)
	servant := w.object(t)
	for range 6 * 30 { // six hours
		w.clock.Advance(2 * time.Minute)
		p.good()
		servant.open(t)
	}
	if n := len(w.server.table.sets); n != 1 {
		t.Errorf("%d ping sets", n)
	}
	add(t, obj.Interface(iidBase), 1)
	// Two pings may be lost.
	w.clock.Advance(6*time.Minute - 1)
	servant.open(t)
	w.clock.Advance(1)
	servant.gone(t, ReasonPingExpired)
	if _, err := obj.Interface(iidBase).Call(t.Context(), opAdd, nil, nil); faultOf(err) != uint32(Disconnected) {
		t.Errorf("call on an object that expired: %v", err)
	}
	// The server forgot the set with the object.
	if err := p.ping(); !errors.Is(err, HResult(statusInvalidOID)) {
		t.Errorf("ping of an object that expired: %v", err)
	}
	// There is nothing to be released any more, which is no error.
	if err := obj.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPingerReconnects: a connection to the resolver that was lost between two
// pings is made anew, with new authentication; the set is still there.
func TestPingerReconnects(t *testing.T) {
	w := newWorld(t, arrange{twoPorts: true})
	var d dialer
	who := as("alice")
	o := w.options()
	o.RPC.Dial = d.dial
	o.Authenticate = who.authenticate
	p := newPings(t, &o)
	obj := activate(t, o)
	servant := w.object(t)
	p.good()
	for range 3 {
		w.clock.Advance(2 * time.Minute)
		d.cut(w.port)
		p.good()
	}
	if n := len(d.addresses); n != 6 {
		t.Errorf("%d connections, want those of the activation and three more: %v", n, d.addresses)
	}
	if n := len(who.asked); n != 5 {
		t.Errorf("authenticated %d times: %v", n, who.asked)
	}
	if n := len(w.server.table.sets); n != 1 {
		t.Errorf("%d ping sets", n)
	}
	servant.open(t)
	if err := obj.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	servant.gone(t, ReasonReleased)
	if n := d.open(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestPingerServerGone: a ping without a server fails, and the next one that
// finds a server is good again.
func TestPingerServerGone(t *testing.T) {
	w := newWorld(t, arrange{})
	var d dialer
	refuse := make(chan bool, 1)
	refuse <- false
	o := w.options()
	who := as("alice")
	o.RPC.Dial = d.dial
	lost := errors.New("no ticket")
	o.Authenticate = func(service, host string) (*dcerpc.Security, error) {
		no := <-refuse
		refuse <- no
		if no {
			return nil, lost
		}
		return who.authenticate(service, host)
	}
	p := newPings(t, &o)
	activate(t, o)
	p.good()
	set := func(v bool) { <-refuse; refuse <- v }
	set(true)
	d.cut(0)
	for range 2 {
		if err := p.ping(); !errors.Is(err, lost) {
			t.Errorf("ping: %v", err)
		}
	}
	set(false)
	p.good()
}

// TestPingSetForgotten: a server that forgot the set, though not the object, is
// told of the object again.
func TestPingSetForgotten(t *testing.T) {
	w := newWorld(t, arrange{})
	o := w.options()
	p := newPings(t, &o)
	obj := activate(t, o)
	servant := w.object(t)
	p.good()
	w.clock.Advance(5 * time.Minute)
	add(t, obj.Interface(iidBase), 1)
	w.clock.Advance(2 * time.Minute) // the set is gone, the object was called since
	if n := len(w.server.table.sets); n != 0 {
		t.Fatalf("%d ping sets", n)
	}
	p.good()
	if n := len(w.server.table.sets); n != 1 {
		t.Errorf("%d ping sets", n)
	}
	for range 10 {
		w.clock.Advance(5 * time.Minute)
		p.good()
	}
	servant.open(t)
}

// TestPingNotWanted: the client does not ping what the server says need not be
// pinged, and keeps no connection for it.
func TestPingNotWanted(t *testing.T) {
	w := newWorld(t, arrange{wrap: answering(func(r *activationReply) {
		for i := range r.results {
			r.results[i].ref.std.Flags |= sorfNoPing
		}
	})})
	var d dialer
	o := w.options()
	o.RPC.Dial = d.dial
	o.ticker = func(time.Duration) (<-chan time.Time, func()) {
		t.Error("it pings")
		return nil, func() {}
	}
	obj := activate(t, o)
	if n := d.open(); n != 1 {
		t.Errorf("%d connections are open", n)
	}
	add(t, obj.Interface(iidBase), 1)
	if err := obj.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestReleaseWhilePinging: a ping that hangs does not hold up a release, not
// even one that looks for its credentials.
func TestReleaseWhilePinging(t *testing.T) {
	w := newWorld(t, arrange{})
	var d dialer
	who := as("alice")
	asking, answer := make(chan struct{}, 1), make(chan struct{})
	slow := false
	o := w.options()
	o.RPC.Dial = d.dial
	o.Authenticate = func(service, host string) (*dcerpc.Security, error) {
		if slow {
			asking <- struct{}{}
			<-answer
		}
		return who.authenticate(service, host)
	}
	p := newPings(t, &o)
	obj := activate(t, o)
	slow = true
	d.cut(0)
	p.tick <- time.Time{}
	<-asking
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := obj.Release(ctx); err == nil {
		t.Error("release without a connection succeeded")
	}
	close(answer)
	<-obj.pinger.done
	if n := d.open(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestClientVanishes: the object of a client that is gone without a word, and
// that did not ping, is closed after the grace; one of a client that pings with
// its last breath lives as long as its set.
func TestClientVanishes(t *testing.T) {
	w := newWorld(t, arrange{config: ServerConfig{Limits: Limits{Grace: 50 * time.Second}}})
	var d dialer
	o := w.options()
	o.RPC.Dial = d.dial
	activate(t, o)
	servant := w.object(t)
	d.cut(0)
	w.clock.waitSet(t, 50*time.Second)
	w.clock.Advance(50*time.Second - 1)
	servant.open(t)
	w.clock.Advance(1)
	servant.gone(t, ReasonDisconnected)

	p := newPings(t, &o)
	activate(t, o)
	servant = w.object(t)
	p.good()
	d.cut(0)
	w.clock.Advance(6*time.Minute - 1)
	servant.open(t)
	w.clock.Advance(1)
	servant.gone(t, ReasonPingExpired)
}

// TestIdle: an object that is neither called nor pinged expires also when the
// connection stays.
func TestIdle(t *testing.T) {
	w := newWorld(t, arrange{})
	obj := activate(t, w.options())
	servant := w.object(t)
	for range 5 {
		w.clock.Advance(14*time.Minute - 1)
		add(t, obj.Interface(iidMore), 1)
	}
	w.clock.Advance(14*time.Minute - 1)
	servant.open(t)
	w.clock.Advance(1)
	servant.gone(t, ReasonIdle)
}

// TestCallOutlivesTimers: an object is not freed while it is called, however
// long that takes; its time runs anew from the end of the call.
func TestCallOutlivesTimers(t *testing.T) {
	w := newWorld(t, arrange{})
	obj := activate(t, w.options())
	servant := w.object(t)
	done := make(chan error, 1)
	go func() {
		_, err := obj.Interface(iidBase).Call(context.Background(), opBlock, nil, nil)
		done <- err
	}()
	<-servant.entered
	w.clock.Advance(24 * time.Hour)
	servant.open(t)
	close(servant.proceed)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(14*time.Minute - 1)
	servant.open(t)
	w.clock.Advance(1)
	servant.gone(t, ReasonIdle)
}

// TestConnectionsOfTwoServers: the ports of resolver and exporter may have
// servers of their own, whose connections have the same numbers. An object
// lives as long as either connection.
func TestConnectionsOfTwoServers(t *testing.T) {
	w := newWorld(t, arrange{twoPorts: true})
	resolver := newPeer(t, w.host, w.port, as("alice"))
	reply, err := resolver.create(testCLSID, iidBase)
	if err != nil {
		t.Fatal(err)
	}
	servant := w.object(t)
	exporter := newPeer(t, w.host, w.calls, as("alice"))
	call := func() error {
		_, err := exporter.orpc(iidBase, opAdd, reply.results[0].ref.std.IPID, func(e *ndr.Encoder) { e.U32(1) })
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	resolver.client.Close()
	<-servant.conn.Context().Done()
	w.server.table.disconnect(servant.conn) // unless it was already
	w.clock.Advance(10 * time.Minute)
	servant.open(t)
	if err := call(); err != nil {
		t.Fatal(err)
	}
}

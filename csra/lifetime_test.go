package csra

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcom/dcomtest"
)

// A session in which nothing is called for hours lives on the client's pings.
func TestPingsKeepSession(t *testing.T) {
	clock := dcomtest.NewClock()
	v := &odd{clock: clock, f: newFake()}
	s := v.serve(t)
	c, _ := s.mustDial(t, func(o *Options) { o.RawMechanism = true; o.PingPeriod = 2 * time.Millisecond })
	b := mustPrepare(t, c)
	for range 36 { // three hours
		for range 2 { // the second one began after the clock had moved
			<-v.pings
		}
		clock.Advance(5 * time.Minute)
	}
	file := mustOpen(t, b, t.Context())
	if got, err := io.ReadAll(file); err != nil || len(got) != len(v.f.files[fakeDB]) {
		t.Errorf("after hours: %d bytes, %v", len(got), err)
	}
	if err := errors.Join(file.Close(), b.TruncateLogs(t.Context()), b.End(t.Context())); err != nil {
		t.Error(err)
	}
}

// A client that is silent, or whose pings stop, loses its session: that is no
// backup, nothing is truncated, and others can have theirs.
func TestSilentClient(t *testing.T) {
	for name, v := range map[string]struct {
		period time.Duration // of the client's pings
		wait   time.Duration // until the session is gone
	}{
		"no pings at all": {time.Hour, 14 * time.Minute},
		"pings stop":      {time.Millisecond, 6 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			clock := dcomtest.NewClock()
			o := &odd{clock: clock, f: newFake()}
			s := o.serve(t)
			closed := make(chan struct{})
			o.f.on(func(call string) {
				if call == "close" {
					close(closed)
				}
			})
			var cut atomic.Bool
			nowhere := closedPort(t)
			l := &lifeline{through: func(p int) int {
				if cut.Load() {
					return nowhere
				}
				return p
			}}
			c := s.mustDialBy(t, l, func(o *Options) { o.RawMechanism, o.PingPeriod = true, v.period })
			b := mustPrepare(t, c)
			if v.period < time.Hour {
				<-o.pings
				<-o.pings
				cut.Store(true)
				l.all()[1].Close() // the connection that pings
			}
			clock.Advance(v.wait - time.Second)
			if got := o.f.calls(); strings.Contains(got, "close") {
				t.Fatalf("too early, the service saw: %s", got)
			}
			if v.period < time.Hour { // the last ping may have come after the first look
				clock.Advance(v.wait)
			} else {
				clock.Advance(time.Second)
			}
			<-closed
			o.f.on(nil)
			if got := o.f.calls(); strings.Contains(got, "end") || strings.Contains(got, "truncate") {
				t.Errorf("the service saw: %s", got)
			}
			if err := b.TruncateLogs(t.Context()); err == nil {
				t.Error("the session goes on")
			}
			other, _ := s.mustDial(t, func(o *Options) { o.RawMechanism = true })
			whole(t, other)
		})
	}
}

// Close gives the server's object back at once, and with it the session.
func TestCloseReleases(t *testing.T) {
	s, f := serveFake(t, nil) // where a lost client is missed for a minute
	c, l := s.mustDial(t, nil)
	mustPrepare(t, c)
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	<-s.gone(l)
	if got := f.calls(); got != "prepare names names logs close" {
		t.Errorf("the service saw: %s", got)
	}
	if n := s.dcom.Objects(); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	_, err := c.IsServerOnline(t.Context())
	wantCode(t, err, certadm.HrInvalidHandle, "IsServerOnline")
	if err := c.Close(); err != nil {
		t.Errorf("Close, again: %v", err)
	}
}

// A connection that is lost is the end of the session: on the client at once,
// with advice; and on the server, where it is no backup.
func TestConnectionLost(t *testing.T) {
	s, f := serveFake(t, soon)
	c, l := s.mustDial(t, nil)
	b := mustPrepare(t, c)
	l.cut()
	err := b.TruncateLogs(t.Context())
	wantCode(t, err, certadm.RPCServerUnavailable, "TruncateLogs")
	var e *certadm.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "connect anew") {
		t.Errorf("the hint is %q", e.Hint)
	}
	<-s.gone(l)
	if got := f.calls(); got != "prepare names names logs close" {
		t.Errorf("the service saw: %s", got)
	}
	other, _ := s.mustDial(t, nil)
	whole(t, other)
}

// The server's end is the end of all sessions.
func TestServerStops(t *testing.T) {
	s, f := serveFake(t, nil)
	c, _ := s.mustDial(t, nil)
	b := mustPrepare(t, c)
	s.stop()
	if got := f.calls(); got != "prepare names names logs close" {
		t.Errorf("the service saw: %s", got)
	}
	wantCode(t, b.TruncateLogs(t.Context()), certadm.RPCServerUnavailable, "TruncateLogs")
}

// The authority's InterfaceFlags are asked for at each call, and tell this
// machine from others by the connection.
func TestFlagsOverTheWire(t *testing.T) {
	var flags atomic.Uint32
	s, _ := serveFake(t, func(o *ServerOptions) {
		o.Flags = func() certadm.InterfaceFlags { return certadm.InterfaceFlags(flags.Load()) }
	})
	here, _ := s.mustDial(t, nil)
	away := s.mustDialBy(t, &lifeline{from: net.IPv4(127, 0, 0, 2)}, nil)
	for f, want := range map[certadm.InterfaceFlags][2]certadm.HRESULT{
		0:                              {certadm.SOK, certadm.SOK},
		certadm.IfNoRemoteAdminBackup:  {certadm.SOK, certadm.EAccessDenied},
		certadm.IfNoLocalAdminBackup:   {certadm.EAccessDenied, certadm.SOK},
		certadm.IfNoRemoteAdmin | 0x40: {certadm.SOK, certadm.EAccessDenied},
	} {
		flags.Store(uint32(f))
		for i, c := range []*Client{here, away} {
			err := backUp(t.Context(), c)
			wantCode(t, err, want[i], fmt.Sprintf("flags %v, client %d", f, i))
			var e *certadm.Error
			if errors.As(err, &e) && !strings.Contains(e.Hint, "IF_NOREMOTEICERTADMINBACKUP") {
				t.Errorf("the hint is %q", e.Hint)
			}
		}
	}
}

// A thousand connections that say nothing keep nobody out.
func TestHalfOpen(t *testing.T) {
	s, _ := serveFake(t, nil)
	flood := &lifeline{from: net.IPv4(127, 0, 0, 2)}
	defer flood.cut()
	for i := range 1000 {
		to := []int{s.resolver, s.exporter}[i%2]
		if _, err := flood.dial(t.Context(), "tcp", fmt.Sprintf("ca1:%d", to)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		c, _ := s.mustDial(t, nil)
		whole(t, c)
	}
	whole(t, s.mustDialBy(t, &lifeline{from: net.IPv4(127, 0, 0, 2)}, nil)) // even from there
}

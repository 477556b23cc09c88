package dcom

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// TestServerPointsElsewhere: whatever addresses and names a server tells, the
// client connects to, and authenticates to, the host that it was told to.
func TestServerPointsElsewhere(t *testing.T) {
	elsewhere := func(port int) Bindings {
		var b Bindings
		for _, host := range []string{"198.51.100.7", "evil.example.com", "::1", "127.0.0.2", ""} {
			b.Strings = append(b.Strings, StringBinding{TowerTCP, fmt.Sprintf("%s[%d]", host, port)})
		}
		b.Security = []SecurityBinding{
			{9, "RPCSS/evil.example.com"}, {10, "host/198.51.100.7"}, {16, "cifs/127.0.0.1"}, {16, "RPCSS/127.0.0.2"},
		}
		return b
	}
	var port int
	alive := replacing(IIDObjectExporter, func(stub []byte) []byte {
		if r, err := decodeAlive(stub); err == nil {
			r.bindings = elsewhere(1)
			return encoded(r.encode)
		}
		return stub
	})
	created := answering(func(r *activationReply) {
		r.exporter = elsewhere(port)
		for i := range r.results {
			r.results[i].ref.bindings = elsewhere(1)
		}
	})
	w := newWorld(t, arrange{twoPorts: true, wrap: func(i dcerpc.Interface) dcerpc.Interface { return created(alive(i)) }})
	port = w.calls
	var d dialer
	who := as("alice")
	o := w.options()
	o.RPC.Dial = d.dial
	o.Authenticate = who.authenticate
	p := newPings(t, &o)
	obj := activate(t, o)
	add(t, obj.Interface(iidBase), 1)
	p.good()
	d.cut(w.port)
	p.good()
	if err := obj.Release(t.Context()); err != nil {
		t.Error(err)
	}
	resolver, exporter := fmt.Sprintf("127.0.0.1:%d", w.port), fmt.Sprintf("127.0.0.1:%d", w.calls)
	if want := []string{resolver, resolver, exporter, resolver}; !slices.Equal(d.addresses, want) {
		t.Errorf("connected to %v, want %v", d.addresses, want)
	}
	if want := []string{"RPCSS/127.0.0.1", "RPCSS/127.0.0.1", "RPCSS/127.0.0.1"}; !slices.Equal(who.asked, want) {
		t.Errorf("authenticated to %v, want %v", who.asked, want)
	}
}

// TestServerNamesPrincipal: a principal name of the dialled host is used for
// calls, and for nothing else.
func TestServerNamesPrincipal(t *testing.T) {
	w := newWorld(t, arrange{config: ServerConfig{Security: []SecurityBinding{{10, ""}, {16, "HOST/127.0.0.1"}}}})
	who := as("alice")
	o := w.options()
	o.Authenticate = who.authenticate
	activate(t, o)
	if want := []string{"RPCSS/127.0.0.1", "host/127.0.0.1"}; !slices.Equal(who.asked, want) {
		t.Errorf("authenticated to %v, want %v", who.asked, want)
	}
}

// TestOneAddress: of a host with several addresses, all connections go to the
// one that was reached first.
func TestOneAddress(t *testing.T) {
	addresses, err := net.LookupHost("localhost")
	if err != nil || !slices.Contains(addresses, "127.0.0.1") {
		t.Skip("localhost is not 127.0.0.1 here")
	}
	w := newWorld(t, arrange{twoPorts: true})
	who := as("alice")
	o := w.options()
	o.Host = "localhost"
	o.Authenticate = who.authenticate
	obj := activate(t, o)
	if host := obj.exporter.RemoteAddr().(*net.TCPAddr).IP.String(); host != "127.0.0.1" || obj.pinger.a.address != host {
		t.Errorf("calls go to %s, pings to %s", host, obj.pinger.a.address)
	}
	// It authenticates to the name, not to the address.
	if want := []string{"RPCSS/localhost", "RPCSS/localhost"}; !slices.Equal(who.asked, want) {
		t.Errorf("authenticated to %v, want %v", who.asked, want)
	}
}

// TestLyingActivation: answers that are not to what was asked end the
// activation, and every connection.
func TestLyingActivation(t *testing.T) {
	bindings := func(addresses ...string) func(*activationReply) {
		return func(r *activationReply) {
			r.exporter = Bindings{}
			for _, a := range addresses {
				r.exporter.Strings = append(r.exporter.Strings, StringBinding{TowerTCP, a})
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*activationReply)
		stage  Stage
		want   string // in the error
	}{
		{"fewer interfaces", func(r *activationReply) { r.results = r.results[:1] }, StageActivate, "1 interfaces instead of 2"},
		{"more interfaces", func(r *activationReply) { r.results = append(r.results, r.results[0]) }, StageActivate, "3 interfaces instead of 2"},
		{"another interface", func(r *activationReply) { r.results[1].iid = iidOther }, StageActivate, "answers for interface"},
		{"another order", func(r *activationReply) { slices.Reverse(r.results) }, StageActivate, "answers for interface"},
		{"reference to another interface", func(r *activationReply) { r.results[0].ref.iid = iidOther }, StageActivate, "another kind"},
		{"custom reference", func(r *activationReply) {
			r.results[0].ref = objRef{kind: refCustom, iid: iidMore, clsid: testCLSID, data: []byte("unmarshal me")}
		}, StageActivate, "another kind"},
		{"another exporter", func(r *activationReply) { r.results[0].ref.std.OXID++ }, StageActivate, "another object"},
		{"two objects", func(r *activationReply) { r.results[1].ref.std.OID++ }, StageActivate, "another object"},
		{"nothing", func(r *activationReply) {
			for i := range r.results {
				r.results[i] = ifaceResult{iid: r.results[i].iid, hr: EOutOfMemory}
			}
		}, StageActivate, EOutOfMemory.Error()},
		{"success that is none", func(r *activationReply) {
			for i := range r.results {
				r.results[i] = ifaceResult{iid: r.results[i].iid, hr: 1}
			}
		}, StageActivate, "hresult 0x00000001"},
		{"version 6.0", func(r *activationReply) { r.version = Version{6, 0} }, StageActivate, "server speaks dcom 6.0"},
		{"no address", bindings(), StageExporter, "no TCP port"},
		{"no port", bindings("127.0.0.1"), StageExporter, "no TCP port"},
		{"port 0", bindings("127.0.0.1[0]"), StageExporter, "no TCP port"},
		{"port 65536", bindings("127.0.0.1[65536]"), StageExporter, "no TCP port"},
		{"port of text", bindings("127.0.0.1[msrpc]", "127.0.0.1[ 1]", "127.0.0.1[1e3]"), StageExporter, "no TCP port"},
		{"pipe", func(r *activationReply) {
			r.exporter.Strings = []StringBinding{{15, `127.0.0.1[\pipe\x]`}, {8, "127.0.0.1[1]"}}
		}, StageExporter, "no TCP port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, arrange{wrap: answering(tt.change)})
			refused(t, w, tt.stage, tt.want)
		})
	}
}

// refused activates, which must fail and leave no connection.
func refused(t *testing.T, w *world, stage Stage, want string) {
	t.Helper()
	var d dialer
	o := w.options()
	o.RPC.Dial = d.dial
	obj, err := Activate(t.Context(), o)
	var at *StageError
	if !errors.As(err, &at) || at.Stage != stage || !strings.Contains(err.Error(), want) {
		t.Errorf("activation: %v, %v, want %q in stage %q", obj, err, want, stage)
	}
	if n := d.open(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestTornActivation: answers cut anywhere, and with one wrong byte, lead to an
// error or to what was asked for, and never to anything else.
func TestTornActivation(t *testing.T) {
	a := &activation{version: Current, ActivateOptions: ActivateOptions{IIDs: []ndr.GUID{adminIID}}}
	good := vector(t, createReplyHex)
	read := func(b []byte) error {
		d := ndr.NewDecoder(b)
		skipThat(d)
		r, err := decodeCreateReply(d)
		if err == nil {
			err = a.check(&r)
		}
		if err == nil && (len(r.results) != 1 || r.results[0].iid != adminIID) {
			t.Errorf("answer %x is read as %+v", b, r)
		}
		return err
	}
	if err := read(good); err != nil {
		t.Fatal(err)
	}
	for n := range len(good) - 4 {
		if read(good[:n]) == nil {
			t.Errorf("cut after %d bytes, it is accepted", n)
		}
	}
	for i := range good {
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			b := slices.Clone(good)
			b[i] = v
			read(b)
		}
	}
	// The same over the wire: the client ends the activation.
	for _, n := range []int{0, 3, 8, 12, 100, len(good) - 1} {
		w := newWorld(t, arrange{wrap: replacing(IIDRemoteSCMActivator, func(stub []byte) []byte { return append(stub[:0], good[:n]...) })})
		refused(t, w, StageActivate, "malformed ndr")
	}
}

// TestServerVersions: the client speaks the lower version; with another major
// version it does not speak.
func TestServerVersions(t *testing.T) {
	for _, minor := range []uint16{1, 2, 4, 6, 7, 9} {
		t.Run(fmt.Sprintf("5.%d", minor), func(t *testing.T) {
			spoken := make(chan Version, 16)
			w := newWorld(t, arrange{wrap: func(i dcerpc.Interface) dcerpc.Interface {
				i = hearing(i, spoken)
				i = replacing(IIDObjectExporter, aliveWith(Version{5, minor}))(i)
				return answering(func(r *activationReply) { r.version = Version{5, minor} })(i)
			}})
			obj := activate(t, w.options())
			add(t, obj.Interface(iidMore), 1)
			if err := obj.Release(t.Context()); err != nil {
				t.Error(err)
			}
			want := Version{5, min(minor, 7)}
			for _, what := range []string{"activation", "call", "release"} {
				if v := <-spoken; v != want {
					t.Errorf("%s of version %v, want %v", what, v, want)
				}
			}
		})
	}
	for _, v := range []Version{{6, 0}, {4, 7}, {0, 0}} {
		w := newWorld(t, arrange{wrap: replacing(IIDObjectExporter, aliveWith(v))})
		refused(t, w, StageServerAlive, "server speaks dcom "+v.String())
	}
	// What the activator says counts too, should it be lower still.
	spoken := make(chan Version, 16)
	w := newWorld(t, arrange{wrap: func(i dcerpc.Interface) dcerpc.Interface {
		return answering(func(r *activationReply) { r.version = Version{5, 4} })(hearing(i, spoken))
	}})
	add(t, activate(t, w.options()).Interface(iidMore), 1)
	if first, then := <-spoken, <-spoken; first != Current || then != (Version{5, 4}) {
		t.Errorf("activation of version %v, call of version %v", first, then)
	}
}

// aliveWith changes ServerAlive2's answer, and leaves other methods' as they
// are.
func aliveWith(v Version) func([]byte) []byte {
	return func(stub []byte) []byte {
		r, err := decodeAlive(stub)
		if err != nil {
			return stub
		}
		r.version = v
		return encoded(r.encode)
	}
}

// TestServerAliveRefused: a server that does not talk to strangers may be of
// use nevertheless; one that talks nonsense is not.
func TestServerAliveRefused(t *testing.T) {
	only2 := func(change func() ([]byte, error)) func(dcerpc.Interface) dcerpc.Interface {
		return aliveHandler(func(level dcerpc.Level) ([]byte, error, bool) {
			if level > dcerpc.LevelNone {
				return nil, nil, false
			}
			stub, err := change()
			return stub, err, true
		})
	}
	w := newWorld(t, arrange{wrap: only2(func() ([]byte, error) { return nil, &dcerpc.Fault{Status: dcerpc.StatusAccessDenied} })})
	var told error
	o := w.options()
	o.Stage = func(s Stage, err error) {
		if s == StageServerAlive {
			told = err
		}
	}
	add(t, activate(t, o).Interface(iidMore), 1)
	if faultOf(told) != dcerpc.StatusAccessDenied {
		t.Errorf("stage ServerAlive2 was told %v", told)
	}
	// Refused as early as at the bind, before anything is authenticated.
	nak := vector(t, "05000d0310000000"+"18000000"+"02000000"+"0000"+"01"+"0500"+"000000")
	d := dialer{}
	o.RPC.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.dial(ctx, network, address)
		if len(d.addresses) > 1 || err != nil {
			return conn, err
		}
		conn.Close()
		client, server := net.Pipe()
		go func() {
			server.Read(make([]byte, 1<<10))
			server.Write(nak)
		}()
		return client, nil
	}
	add(t, activate(t, o).Interface(iidMore), 1)
	var refusal *dcerpc.NakError
	if !errors.As(told, &refusal) {
		t.Errorf("stage ServerAlive2 was told %v", told)
	}
	for name, stub := range map[string][]byte{
		"nothing": {}, "cut short": vector(t, "05000700"+"00000200"+"18000000"+bindingsHex[:20]),
		"bindings of a huge count": vector(t, "05000700"+"00000200"+"ffffffff"+bindingsHex+"00000000"+"00000000"),
		"lying offset":             vector(t, "05000700"+"00000200"+"18000000"+"1800ffff"+unitsHex+"00000000"+"00000000"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, arrange{wrap: only2(func() ([]byte, error) { return slices.Clone(stub), nil })})
			refused(t, w, StageServerAlive, "malformed ndr")
		})
	}
	w = newWorld(t, arrange{wrap: only2(func() ([]byte, error) {
		return encoded(func(e *ndr.Encoder) {
			encodeVersion(e, Current)
			e.Null()
			e.U32(0)
			e.U32(uint32(EAccessDenied))
		}), nil
	})})
	refused(t, w, StageServerAlive, EAccessDenied.Error())
	// No resolver at all: the interface is missing.
	w = newWorld(t, arrange{wrap: func(i dcerpc.Interface) dcerpc.Interface {
		if i.Syntax.UUID == IIDObjectExporter {
			i.Syntax.UUID = iidOther
		}
		return i
	}})
	var reject *dcerpc.RejectError
	if _, err := Activate(t.Context(), w.options()); !errors.As(err, &reject) {
		t.Errorf("activation at a server without resolver: %v", err)
	}
}

// TestLyingPingReplies: a resolver that lies harms nobody but itself.
func TestLyingPingReplies(t *testing.T) {
	answer := make(chan []byte, 1)
	w := newWorld(t, arrange{wrap: replacing(IIDObjectExporter, func(stub []byte) []byte {
		select {
		case b := <-answer:
			return append(stub[:0], b...)
		default:
			return stub
		}
	})})
	o := w.options()
	p := newPings(t, &o)
	obj := activate(t, o)
	servant := w.object(t)
	// After junk, the client tries once more on a new connection.
	answer <- []byte{1, 2, 3}
	p.good()
	answer <- encoded(func(e *ndr.Encoder) { e.U32(uint32(NotEnoughQuota)) })
	if err := p.ping(); !errors.Is(err, NotEnoughQuota) {
		t.Errorf("ping refused: %v", err)
	}
	w.clock.Advance(time.Minute)
	p.good()
	servant.open(t)
	add(t, obj.Interface(iidBase), 1)
}

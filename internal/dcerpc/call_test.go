package dcerpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// securities are the ways to log on and to protect calls that every test of
// calls runs with; nil is none.
func securities() map[string]func() *Security {
	all := map[string]func() *Security{"none": func() *Security { return nil }}
	for _, typ := range []AuthType{AuthNTLM, AuthSPNEGO, AuthKerberos} {
		for _, level := range []Level{LevelConnect, LevelPacket, LevelIntegrity, LevelPrivacy} {
			all[fmt.Sprintf("%v %v", typ, level)] = func() *Security { return fakeSecurity(typ, level) }
		}
	}
	return all
}

// Stubs of all sizes go both ways, in one fragment and in many, and the space
// for responses is used again.
func TestCalls(t *testing.T) {
	s := startServer(t, Limits{})
	for name, sec := range securities() {
		t.Run(name, func(t *testing.T) {
			b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, sec())
			buffer := make([]byte, 0, 300_000)
			for _, n := range []int{0, 1, 15, 16, 5700, 5776, 5777, 5840, 12_000, 60_000} {
				stub := pattern(nil, n)
				got, err := b.Call(t.Context(), Request{Opnum: opEcho, Stub: stub, Buffer: buffer})
				if err != nil || !bytes.Equal(got, stub) {
					t.Fatalf("%d bytes: %d came back, %v", n, len(got), err)
				}
				if n > 0 && &got[0] != &buffer[:1][0] {
					t.Errorf("%d bytes: the response is not in the buffer that was given", n)
				}
			}
			want := pattern(nil, 300_000)
			got, err := b.Call(t.Context(), Request{Opnum: opBig, Stub: binary.LittleEndian.AppendUint32(nil, 300_000)})
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("large response: %d bytes, %v", len(got), err)
			}
		})
	}
}

// The handler is told who calls, how well that is protected, and for which
// object.
func TestWhoCalls(t *testing.T) {
	s := startServer(t, Limits{})
	object := ndr.MustGUID("01020304-0506-0708-090a-0b0c0d0e0f10")
	none := strings.Repeat("0", 8) + "-0000-0000-0000-" + strings.Repeat("0", 12)
	for name, want := range map[string]string{
		"none":               "none|none|",
		"ntlm connect":       "ntlm|connect|anna",
		"kerberos packet":    "kerberos|packet|anna",
		"spnego integrity":   "spnego|integrity|anna",
		"kerberos privacy":   "kerberos|privacy|anna",
		"ntlm privacy":       "ntlm|privacy|anna",
		"spnego connect":     "spnego|connect|anna",
		"kerberos connect":   "kerberos|connect|anna",
		"kerberos integrity": "kerberos|integrity|anna",
	} {
		b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, securities()[name]())
		for _, v := range []struct {
			object *ndr.GUID
			want   string
		}{{nil, "false|" + none}, {&object, "true|" + object.String()}} {
			got, err := b.Call(t.Context(), Request{Opnum: opWho, Object: v.object})
			if want := fmt.Sprintf("%v|%s|%s", echoSyntax, want, v.want); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v, want %q", name, got, err, want)
			}
		}
	}
	// Objects are named in every fragment.
	b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
	stub := pattern(nil, 40_000)
	if got, err := b.Call(t.Context(), Request{Opnum: opEcho, Object: &object, Stub: stub}); err != nil || !bytes.Equal(got, stub) {
		t.Errorf("many fragments for an object: %d bytes, %v", len(got), err)
	}
}

// Each interface says how well its operations have to be protected.
func TestMinLevel(t *testing.T) {
	s := startServer(t, Limits{})
	for _, v := range []struct {
		level Level
		allow map[uint16]bool
	}{
		{LevelNone, map[uint16]bool{}},
		{LevelConnect, map[uint16]bool{opConnect: true}},
		{LevelPacket, map[uint16]bool{opConnect: true}},
		{LevelIntegrity, map[uint16]bool{opConnect: true, opWho: true}},
		{LevelPrivacy, map[uint16]bool{opConnect: true, opWho: true, opEcho: true}},
	} {
		var sec *Security
		if v.level > LevelNone {
			sec = fakeSecurity(AuthKerberos, v.level)
		}
		b := bind(t, s.connect(t, ClientOptions{}), secureSyntax, sec)
		for _, op := range []uint16{opEcho, opWho, opConnect} {
			_, err := b.Call(t.Context(), Request{Opnum: op})
			var fault *Fault
			if v.allow[op] != (err == nil) || err != nil && (!errors.As(err, &fault) || fault.Status != StatusAccessDenied || fault.Unconfirmed) {
				t.Errorf("%v, operation %d: %v", v.level, op, err)
			}
		}
	}
}

// Handlers' errors become faults, which tell no more than they should. The
// connection goes on.
func TestFaults(t *testing.T) {
	s := startServer(t, Limits{ResponseBytes: 10_000})
	for name, sec := range securities() {
		b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, sec())
		mustEcho(t, b, []byte("before"))
		for _, v := range []struct {
			name   string
			opnum  uint16
			stub   uint32
			status uint32
		}{
			{"the handler's own", opFault, 0x8007000e, 0x8007000e},
			{"none that could pass for success", opFault, 0, StatusFaultUnspecified},
			{"no exception", opFault, 0xc0000005, StatusFaultUnspecified},
			{"an error", opError, 0, StatusFaultUnspecified},
			{"a malformed stub", opMalformed, 0, StatusBadStubData},
			{"an unknown operation", 99, 0, StatusOpRange},
			{"a response that is too large", opBig, 10_001, StatusNoMemory},
		} {
			got, err := b.Call(t.Context(), Request{Opnum: v.opnum, Stub: binary.LittleEndian.AppendUint32(nil, v.stub)})
			var fault *Fault
			if got != nil || !errors.As(err, &fault) || fault.Status != v.status || fault.Unconfirmed || strings.Contains(err.Error(), "swordfish") {
				t.Errorf("%s, %s: %v", name, v.name, err)
			}
			mustEcho(t, b, []byte("after"))
		}
	}
	if !s.log.contains("swordfish") {
		t.Error("the error is not logged either")
	}
}

// A handler that panics ends its own connection.
func TestPanickingHandler(t *testing.T) {
	s := startServer(t, Limits{})
	s.log.expect = 1
	echo := s.honest(t)
	b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
	if _, err := b.Call(t.Context(), Request{Opnum: opPanic}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("call: %v", err)
	}
	if _, err := b.Call(t.Context(), Request{Opnum: opEcho}); !errors.Is(err, ErrClosed) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("call afterwards: %v", err)
	}
	echo()
}

// The space of a response is the next one's, also after faults.
func TestReplyIsReused(t *testing.T) {
	var spaces []int
	s := startServer(t, Limits{ResponseBytes: 2000}, func(c *ServerConfig) {
		handler := c.Interfaces[0].Handler
		c.Interfaces[0].Handler = func(ctx context.Context, call *Call) ([]byte, error) {
			if len(call.Reply) != 0 {
				t.Errorf("space of length %d", len(call.Reply))
			}
			spaces = append(spaces, cap(call.Reply))
			return handler(ctx, call)
		}
	})
	b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, nil)
	big := func(n uint32) {
		b.Call(t.Context(), Request{Opnum: opBig, Stub: binary.LittleEndian.AppendUint32(nil, n)})
	}
	big(900)
	big(10)
	b.Call(t.Context(), Request{Opnum: opError})
	big(5000) // refused, and not kept
	mustEcho(t, b, nil)
	if len(spaces) != 5 || spaces[0] != 0 || spaces[1] < 900 || spaces[2] != spaces[1] || spaces[3] != spaces[1] || spaces[4] > 2500 {
		t.Errorf("spaces: %v", spaces)
	}
}

// Many goroutines may use a client: their calls are made one after the other.
func TestClientIsShared(t *testing.T) {
	s := startServer(t, Limits{})
	c := s.connect(t, ClientOptions{})
	first := bind(t, c, echoSyntax, fakeSecurity(AuthSPNEGO, LevelPrivacy))
	second := bind(t, c, otherSyntax, nil)
	var wait sync.WaitGroup
	for n := range 8 {
		wait.Go(func() {
			for round := range 20 {
				b := []*Binding{first, second}[round%2]
				stub := pattern([]byte{byte(n)}, 1000*n)
				if got, err := b.Call(t.Context(), Request{Opnum: opEcho, Stub: stub}); err != nil || !bytes.Equal(got, stub) {
					t.Errorf("%d bytes of %d, %v", len(got), len(stub), err)
				}
			}
		})
	}
	wait.Wait()
}

// Several security contexts on one connection, each for an interface of its
// own, as Impacket makes them: the old ones stay good.
func TestSeveralSecurityContexts(t *testing.T) {
	s := startServer(t, Limits{})
	c := s.connect(t, ClientOptions{})
	var bindings []*Binding
	for n, level := range []Level{LevelPrivacy, LevelIntegrity, LevelPrivacy, LevelConnect, LevelPrivacy} {
		syntax := []Syntax{echoSyntax, otherSyntax, secureSyntax}[n%3]
		typ := []AuthType{AuthNTLM, AuthKerberos, AuthSPNEGO}[n%3]
		bindings = append(bindings, bind(t, c, syntax, fakeSecurity(typ, level)))
		for i, b := range bindings {
			want := []string{"ntlm|privacy", "kerberos|integrity", "spnego|privacy", "ntlm|connect", "kerberos|privacy"}[i]
			got, err := b.Call(t.Context(), Request{Opnum: opWho})
			if i == 3 { // there are others now, so who sends what has no signature is not known
				want = "none|none"
			}
			if err != nil || !strings.Contains(string(got), "|"+want+"|") {
				t.Errorf("%d contexts, call under number %d: %q, %v", n+1, i, got, err)
			}
		}
	}
	if e := s.events(); len(e) != 5 || e[4].Err != nil || e[4].Peer.User != "anna" || e[4].AuthType != AuthKerberos || e[4].Level != LevelPrivacy {
		t.Errorf("logons: %+v", e)
	}
}

// The real NTLM, at all levels, alone.
func TestNTLM(t *testing.T) {
	hash := ntlm.NTHash("Password")
	s := startServer(t, Limits{}, func(c *ServerConfig) {
		c.Accept = func(typ AuthType, _ *Conn) (gss.Context, error) {
			return ntlm.NewAcceptor(ntlm.AcceptorConfig{Computer: "CA1", Domain: "CA1",
				Lookup: func(user, _ string) ([16]byte, bool) { return hash, user == "anna" }}), nil
		}
	})
	logon := func(password string, level Level) *Security {
		i := ntlm.NewInitiator(ntlm.Credentials{User: "anna", Hash: ntlm.NTHash(password)}, "host/ca1")
		return &Security{Type: AuthNTLM, Level: level, Context: i, RequireHeaderSigning: level > LevelConnect}
	}
	for _, level := range []Level{LevelConnect, LevelIntegrity, LevelPrivacy} {
		c := s.connect(t, ClientOptions{})
		b := bind(t, c, echoSyntax, logon("Password", level))
		for _, n := range []int{0, 100, 50_000} {
			mustEcho(t, b, pattern(nil, n))
		}
		got, err := b.Call(t.Context(), Request{Opnum: opWho})
		if want := fmt.Sprintf("%v|ntlm|%v|anna|", echoSyntax, level); err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%v: %q, %v", level, got, err)
		}
		mustEcho(t, bind(t, c, otherSyntax, nil), pattern(nil, 7000))
		if level > LevelConnect {
			mustEcho(t, bind(t, c, otherSyntax, logon("Password", level)), pattern(nil, 7000))
			mustEcho(t, b, pattern(nil, 7000))
		}

		// A wrong password shows in the first call's answer.
		b = bind(t, s.connect(t, ClientOptions{}), echoSyntax, logon("password", level))
		_, err = b.Call(t.Context(), Request{Opnum: opEcho})
		var fault *Fault
		if !errors.As(err, &fault) || fault.Status != StatusAccessDenied || !fault.Unconfirmed {
			t.Errorf("%v, wrong password: %v", level, err)
		}
	}
	var good, bad int
	for _, e := range s.events() {
		if e.Err == nil {
			good++
		} else if errors.Is(e.Err, gss.ErrLogon) && e.Peer.User == "" {
			bad++
		}
	}
	if good != 5 || bad != 3 {
		t.Errorf("%d good logons and %d refused ones are reported", good, bad)
	}
}

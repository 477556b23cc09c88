package dcerpc

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/internal/gss"
)

// The server answers each presentation context, in their order.
func TestPresentationContexts(t *testing.T) {
	feature := Syntax{UUID: features, Major: 1}
	feature.UUID[8] = 0xff
	v := func(s Syntax, major, minor uint16) Syntax { s.Major, s.Minor = major, minor; return s }
	accept := presResult{resultAccept, 0, NDR}
	reject := func(reason uint16) presResult { return presResult{result: resultReject, reason: reason} }
	for _, c := range []struct {
		name   string
		offers []presContext
		want   []presResult
	}{
		{"ndr", []presContext{pres(0, echoSyntax)}, []presResult{accept}},
		{"as windows offers", []presContext{pres(0, echoSyntax), pres(1, echoSyntax, ndr64), pres(2, echoSyntax, feature)},
			[]presResult{accept, reject(reasonTransfer), {result: resultNegotiate, reason: 3}}},
		{"features of an interface that is not there", []presContext{pres(0, noSyntax, feature)}, []presResult{{result: resultNegotiate, reason: 3}}},
		{"ndr among others", []presContext{pres(9, echoSyntax, ndr64, NDR)}, []presResult{accept}},
		{"no transfer syntax", []presContext{{id: 0, abstract: echoSyntax}}, []presResult{reject(reasonTransfer)}},
		{"another version of ndr", []presContext{pres(0, echoSyntax, v(NDR, 1, 0))}, []presResult{reject(reasonTransfer)}},
		{"unknown interface", []presContext{pres(0, noSyntax), pres(1, otherSyntax)}, []presResult{reject(reasonAbstract), accept}},
		{"older minor version", []presContext{pres(0, v(echoSyntax, 1, 1))}, []presResult{accept}},
		{"newer minor version", []presContext{pres(0, v(echoSyntax, 1, 3))}, []presResult{reject(reasonAbstract)}},
		{"another major version", []presContext{pres(0, v(echoSyntax, 2, 0))}, []presResult{reject(reasonAbstract)}},
		{"ids in any order", []presContext{pres(65535, echoSyntax), pres(3, otherSyntax)}, []presResult{accept, accept}},
		{"the same again", []presContext{pres(3, echoSyntax), pres(3, echoSyntax)}, []presResult{accept, accept}},
		{"an id with two meanings", []presContext{pres(3, echoSyntax), pres(3, otherSyntax)}, []presResult{accept, reject(reasonUnspecified)}},
		{"more than the limit", []presContext{pres(0, echoSyntax), pres(1, echoSyntax), pres(2, echoSyntax), pres(3, echoSyntax), pres(4, echoSyntax), pres(1, echoSyntax)},
			[]presResult{accept, accept, accept, accept, reject(reasonLimit), accept}},
		{"none", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t, Limits{PresentationContexts: 4})
			p := s.raw(t)
			ack := p.bind(c.offers...)
			if diff := cmp.Diff(c.want, ack.results, cmp.AllowUnexported(presResult{})); diff != "" {
				t.Error(diff)
			}
			if ack.group == 0 || ack.maxXmit != defaultFragment || ack.maxRecv != defaultFragment {
				t.Errorf("%+v", ack)
			}
			// Later ones are added to those, under the same rules.
			p.send(bindTo(ptypeAlter, 2, pres(77, secureSyntax)))
			again := p.ack(ptypeAlterResp)
			full := c.name == "more than the limit"
			if len(again.results) != 1 || (again.results[0] == accept) == full || again.group != ack.group {
				t.Errorf("alter_context: %+v", again)
			}
		})
	}
}

// Both sides agree on the smaller fragments, down to what everybody must be
// able to receive.
func TestFragmentSizes(t *testing.T) {
	for _, v := range []struct{ client, server, want uint16 }{
		{0, 0, 5840}, {4280, 0, 4280}, {0, 4280, 4280}, {1, 0, 1432}, {0, 1, 1432}, {65535, 65535, 65535}, {65535, 0, 5840},
	} {
		s := startServer(t, Limits{MaxFragment: v.server})
		c := s.connect(t, ClientOptions{MaxFragment: v.client})
		b := bind(t, c, echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
		if c.maxXmit != int(v.want) || c.maxRecv != int(v.want) {
			t.Errorf("%+v: sends %d, receives %d", v, c.maxXmit, c.maxRecv)
		}
		mustEcho(t, b, pattern(nil, 200_000))
	}
}

// Refusals of an interface leave the connection, and the security that was made
// with them, to others.
func TestRejectedInterface(t *testing.T) {
	s := startServer(t, Limits{})
	c := s.connect(t, ClientOptions{})
	var reject *RejectError
	_, err := c.Bind(t.Context(), noSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
	if !errors.As(err, &reject) || reject.Syntax != noSyntax || reject.Result != resultReject || reject.Reason != reasonAbstract {
		t.Fatalf("first bind: %v", err)
	}
	// What is bound next is as well protected as was asked for.
	b := bind(t, c, secureSyntax, nil)
	mustEcho(t, b, []byte("under the context of the rejected bind"))
	if _, err = c.Bind(t.Context(), Syntax{UUID: echoSyntax.UUID, Major: 9}, nil); !errors.As(err, &reject) {
		t.Errorf("second bind: %v", err)
	}
	mustEcho(t, b, []byte("again"))
}

// Refused credentials are gss.ErrLogon, by whichever message they are refused;
// with NTLM alone the first call tells.
func TestRefusedLogon(t *testing.T) {
	s := startServer(t, Limits{})
	echo := s.honest(t)
	for _, typ := range []AuthType{AuthKerberos, AuthSPNEGO} {
		for _, again := range []bool{false, true} {
			c := s.connect(t, ClientOptions{})
			if again {
				bind(t, c, echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
			}
			sec := fakeSecurity(typ, LevelPrivacy)
			sec.Context.(*fakeContext).password = "guess"
			if _, err := c.Bind(t.Context(), otherSyntax, sec); !errors.Is(err, gss.ErrLogon) {
				t.Errorf("%v, again %v: %v", typ, again, err)
			}
			if _, err := c.Bind(t.Context(), otherSyntax, nil); !errors.Is(err, ErrClosed) || !errors.Is(err, gss.ErrLogon) {
				t.Errorf("%v, again %v, afterwards: %v", typ, again, err)
			}
		}
	}
	sec := fakeSecurity(AuthNTLM, LevelPrivacy)
	sec.Context.(*fakeContext).password = "guess"
	b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, sec)
	_, err := b.Call(t.Context(), Request{Opnum: opEcho})
	var fault *Fault
	if !errors.As(err, &fault) || fault.Status != StatusAccessDenied || !fault.Unconfirmed {
		t.Errorf("ntlm: %v", err)
	}
	// A mechanism that the server does not have.
	var nak *NakError
	_, err = s.connect(t, ClientOptions{}).Bind(t.Context(), echoSyntax, &Security{Type: 68, Level: LevelPrivacy, Context: newFake(2)})
	if !errors.As(err, &nak) || nak.Reason != NakAuthType || errors.Is(err, gss.ErrLogon) {
		t.Errorf("unknown mechanism: %v", err)
	}
	refused, unknown := 0, 0
	for _, e := range s.events() {
		switch {
		case e.Err == nil:
		case e.AuthType == 68:
			unknown++
		case errors.Is(e.Err, gss.ErrLogon):
			refused++
		}
	}
	if refused != 5 || unknown != 1 {
		t.Errorf("%d refused and %d unknown logons are reported", refused, unknown)
	}
	echo()
}

// A server without authentication, and levels that are none.
func TestNoAuthentication(t *testing.T) {
	s := startServer(t, Limits{}, func(c *ServerConfig) { c.Accept = nil })
	var nak *NakError
	_, err := s.connect(t, ClientOptions{}).Bind(t.Context(), echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
	if !errors.As(err, &nak) || nak.Reason != NakAuthType {
		t.Error(err)
	}
	for _, level := range []Level{0, LevelNone, 7} {
		c := s.connect(t, ClientOptions{})
		if _, err := c.Bind(t.Context(), echoSyntax, &Security{Type: AuthNTLM, Level: level, Context: newFake(3)}); err == nil {
			t.Errorf("level %d: no error", level)
		}
	}
	mustEcho(t, bind(t, s.connect(t, ClientOptions{}), echoSyntax, nil), nil)
}

// Header signing: both sides can require it, and neither takes a peer's word
// later.
func TestHeaderSigning(t *testing.T) {
	// unsigned makes a connection whose client, or server, does not offer it.
	strip := func(ptype uint8) func(b []byte) {
		return func(b []byte) {
			if b[2] == ptype {
				b[3] &^= flagHeaderSign
			}
		}
	}
	for _, v := range []struct {
		name           string
		server, client bool // require it
		sent, received func([]byte)
		mechanism      string
		refused        bool
		signed         bool
	}{
		{name: "both offer it", server: true, client: true, signed: true},
		{name: "client does not offer it, server requires it", server: true, sent: strip(ptypeBind), refused: true},
		{name: "server does not agree, client requires it", client: true, received: strip(ptypeBindAck), refused: true},
		{name: "nobody requires it", sent: strip(ptypeBind), signed: false},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := startServer(t, Limits{}, func(c *ServerConfig) {
				c.RequireHeaderSigning = func(mechanism string) bool { return v.server && mechanism == "fake" }
			})
			c := s.connect(t, ClientOptions{Dial: tampering(v.sent, v.received)})
			sec := fakeSecurity(AuthKerberos, LevelPrivacy)
			sec.RequireHeaderSigning = v.client
			b, err := c.Bind(t.Context(), echoSyntax, sec)
			if v.refused {
				if class := errorClass(err); class != "nak" && class != "protocol" {
					t.Fatalf("not refused: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.sec.signHeader != v.signed {
				t.Errorf("signs headers: %v", b.sec.signHeader)
			}
			mustEcho(t, b, pattern(nil, 10_000))
		})
	}
	// By default all but NTLM must.
	s := newTestServer(t, Limits{})
	if f := s.cfg.RequireHeaderSigning; f("ntlm") || !f("kerberos") {
		t.Error("the default is another")
	}
}

// A changed operation number is noticed where headers are signed.
func TestSignedHeaderIsChecked(t *testing.T) {
	s := startServer(t, Limits{})
	c := s.connect(t, ClientOptions{Dial: tampering(func(b []byte) {
		if b[2] == ptypeRequest {
			b[22] = byte(opWho)
		}
	}, nil)})
	b := bind(t, c, echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
	_, err := b.Call(t.Context(), Request{Opnum: opEcho})
	var fault *Fault
	if !errors.As(err, &fault) || fault.Status != StatusSecPkg {
		t.Error(err)
	}
}

// Close makes the call in progress fail at once, and all later ones.
func TestCloseDuringCall(t *testing.T) {
	s := startServer(t, Limits{})
	c := s.connect(t, ClientOptions{})
	b := bind(t, c, echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
	result := make(chan error, 1)
	go func() {
		_, err := b.Call(t.Context(), Request{Opnum: opBlock})
		result <- err
	}()
	<-s.blocked
	c.Close()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("call in progress: %v", err)
	}
	if err := <-s.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("handler: %v", err)
	}
	if _, err := b.Call(t.Context(), Request{}); !errors.Is(err, ErrClosed) {
		t.Errorf("later call: %v", err)
	}
	if _, err := c.Bind(t.Context(), otherSyntax, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("later bind: %v", err)
	}
	// Without a call in between, too.
	c = s.connect(t, ClientOptions{})
	c.Close()
	if _, err := c.Bind(t.Context(), otherSyntax, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("first bind: %v", err)
	}
}

// A context that ends interrupts the call here and there, and says why; calls
// that only waited for their turn leave the connection alone.
func TestContextEndsCall(t *testing.T) {
	s := startServer(t, Limits{})
	c := s.connect(t, ClientOptions{})
	b := bind(t, c, echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))

	gone, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	if _, err := b.Call(gone, Request{}); !errors.Is(err, context.Canceled) || !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("before: %v", err)
	}
	mustEcho(t, b, []byte("nothing happened"))

	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := b.Call(ctx, Request{Opnum: opBlock})
		result <- err
	}()
	<-s.blocked
	if _, err := b.Call(gone, Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
	why := errors.New("the backup was stopped")
	cancel(why)
	if err := <-result; !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
		t.Errorf("during: %v", err)
	}
	if err := <-s.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("handler: %v", err)
	}
	if _, err := b.Call(t.Context(), Request{}); !errors.Is(err, ErrClosed) || !errors.Is(err, why) {
		t.Errorf("after: %v", err)
	}
}

// A server that ends stops its handlers, and clients learn of it.
func TestServerClosesDuringCall(t *testing.T) {
	s := startServer(t, Limits{})
	b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
	result := make(chan error, 1)
	go func() {
		_, err := b.Call(t.Context(), Request{Opnum: opBlock})
		result <- err
	}()
	call := <-s.blocked
	go s.Close()
	if err := <-s.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("handler: %v", err)
	}
	// The handler's error may still reach the client, or not.
	if class := errorClass(<-result); class != "closed" && class != "fault" {
		t.Errorf("client: %v", class)
	}
	<-call.Conn.Context().Done()
	s.Close()
	if err := s.Serve(t.Context(), closedListener{}); err != nil {
		t.Errorf("serve after close: %v", err)
	}
}

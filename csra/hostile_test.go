package csra

import (
	"context"
	"errors"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/dcom"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// odd is a server whose DCOM is as it should be, while its class, interfaces and
// answers are the test's affair.
type odd struct {
	class ndr.GUID // zero is Certificate Services'
	iids  []ndr.GUID

	// answer, if set, appends the answer to a call, in place of the object, and
	// reports true; or it changes nothing and reports false.
	answer func(op uint16, in *ndr.Decoder, out *ndr.Encoder) (bool, error)
	f      *fake
	svc    certadm.Service // nil is f
	clock  dcom.Clock      // nil is the system's
	pings  chan struct{}   // hears of each ping, if somebody listens
}

// oddServant is its object.
type oddServant struct {
	servant
	answer func(uint16, *ndr.Decoder, *ndr.Encoder) (bool, error)
}

func (s oddServant) Call(ctx context.Context, c *dcom.Call, in *ndr.Decoder, out *ndr.Encoder) error {
	if s.answer != nil {
		if done, err := s.answer(c.Opnum, in, out); done || err != nil {
			return err
		}
	}
	return s.servant.Call(ctx, c, in, out)
}

// serve serves until the test ends, with alice's account.
func (v *odd) serve(t testing.TB) *served {
	t.Helper()
	if v.class == (ndr.GUID{}) {
		v.class = clsidCertAdmin
	}
	if v.iids == nil {
		v.iids = []ndr.GUID{iidICertAdminD, iidICertAdminD2}
	}
	if v.f == nil {
		v.f = newFake()
	}
	var svc certadm.Service = v.f
	if v.svc != nil {
		svc = v.svc
	}
	d := dcom.NewServer(dcom.ServerConfig{Clock: v.clock, Classes: []dcom.Class{{CLSID: v.class, IIDs: v.iids,
		New: func(context.Context, dcom.Activation) (dcom.Servant, error) {
			o := newObject(&settings{name: "Fake CA", log: discard}, Caller{User: "alice"}, svc)
			return oddServant{servant{o}, v.answer}, nil
		}}}})
	conf := ntlm.AcceptorConfig{Computer: "CA1", Domain: "CA1", Lookup: testSecrets.server().Lookup}
	v.pings = make(chan struct{})
	faces := append(d.ResolverInterfaces(), d.ExporterInterfaces()...)
	for i, face := range faces {
		faces[i].Handler = func(ctx context.Context, c *dcerpc.Call) ([]byte, error) {
			stub, err := face.Handler(ctx, c)
			if c.Syntax.UUID == dcom.IIDObjectExporter && (c.Opnum == 1 || c.Opnum == 2) { // SimplePing, ComplexPing
				select {
				case v.pings <- struct{}{}:
				default:
				}
			}
			return stub, err
		}
	}
	rpc := dcerpc.NewServer(dcerpc.ServerConfig{
		Interfaces: faces,
		Accept: func(typ dcerpc.AuthType, _ *dcerpc.Conn) (gss.Context, error) {
			if typ != dcerpc.AuthNTLM {
				return nil, errors.New("only NTLM")
			}
			return ntlm.NewAcceptor(conf), nil
		},
		Limits: dcerpc.Limits{ResponseBytes: 64 << 20},
	})
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		rpc.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		d.Close()
	})
	return &served{resolver: port(l.Addr()), exporter: port(l.Addr())}
}

// dial connects to it.
func (v *odd) dial(t testing.TB) *Client {
	t.Helper()
	c, _ := v.serve(t).mustDial(t, func(o *Options) { o.RawMechanism = true })
	return c
}

// Servers before Windows 2003 have ICertAdminD alone: backups work, and what only
// the newer interface has is reported as missing.
func TestOnlyICertAdminD(t *testing.T) {
	v := &odd{iids: []ndr.GUID{iidICertAdminD}}
	c := v.dial(t)
	if c.calls.d2 {
		t.Error("the client believes in ICertAdminD2")
	}
	whole(t, c)
	_, err := c.MyRoles(t.Context())
	wantCode(t, err, certadm.ENotImpl, "GetMyRoles")
	_, err = c.CAProperty(t.Context(), certadm.PropCAName, 0, certadm.PropertyString)
	wantCode(t, err, certadm.ENotImpl, "GetCAProperty")
	id, err := c.Identity(t.Context())
	if err != nil || id.Engine != "ese" {
		t.Errorf("Identity: %+v, %v", id, err)
	}
}

// A server with both interfaces is asked by the newer one.
func TestICertAdminD2(t *testing.T) {
	c := (&odd{}).dial(t)
	if !c.calls.d2 {
		t.Error("ICertAdminD2 was offered and not taken")
	}
	whole(t, c)
}

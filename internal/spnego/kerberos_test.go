package spnego

import (
	"context"
	"encoding/asn1"
	"errors"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/kerberos"
	"github.com/certkeep/certkeep/internal/kerberos/kdctest"
)

const service = "host/ca.example.test"

// kerberosSides is a client with a password and a server with a keytab, in a
// realm of their own.
func kerberosSides(t *testing.T) (initiate, accept func() (gss.Context, error)) {
	k := kdctest.Start(t)
	k.AddPrincipal("backup", "correct horse")
	k.AddPrincipal(service, "")
	keytab, err := kerberos.LoadKeytab(k.Keytab(service))
	if err != nil {
		t.Fatal(err)
	}
	c, err := kerberos.NewClient(kerberos.ClientConfig{Principal: "backup", Password: []byte("correct horse"), Krb5Conf: k.Config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	config := kerberos.AcceptorConfig{Keytab: keytab, Replay: kerberos.NewReplayCache(0)}
	return func() (gss.Context, error) { return c.Initiator(service), nil },
		func() (gss.Context, error) { return kerberos.NewAcceptor(config), nil }
}

// framed puts the frame of RFC 2743 section 3.1 around a mechanism's first
// token, as there are clients that do.
type framed struct {
	gss.Context
	signer
	begun bool
}

type signer = gss.MIC // a field of another name than its method

func (f *framed) Step(ctx context.Context, in []byte) ([]byte, bool, error) {
	out, done, err := f.Context.Step(ctx, in)
	if err != nil || f.begun {
		return out, done, err
	}
	f.begun = true
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.Tag(0).Constructed()|0x40, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(KRB5)
		b.AddUint16(0x0100)
		b.AddBytes(out)
	})
	out, err = b.Bytes()
	return out, done, err
}

func TestKerberos(t *testing.T) {
	initiate, accept := kerberosSides(t)
	inFrame := func() (gss.Context, error) {
		c, err := initiate()
		return &framed{Context: c, signer: c.(gss.MIC)}, err
	}
	for _, v := range []struct {
		name   string
		mechs  []Mech
		server asn1.ObjectIdentifier // as the server's configuration has it
		answer asn1.ObjectIdentifier // what the server must call it
		signed bool
	}{
		{"raw", []Mech{{KRB5, initiate}}, KRB5, KRB5, false},
		{"framed", []Mech{{KRB5, inFrame}}, KRB5, KRB5, false},
		{"by Microsoft's number", []Mech{{MSKRB5, initiate}, {KRB5, initiate}, ntlmInitiator()}, KRB5, MSKRB5, false},
		{"framed, by Microsoft's number", []Mech{{MSKRB5, inFrame}}, KRB5, MSKRB5, false},
		{"by Microsoft's number at the server", []Mech{{KRB5, initiate}}, MSKRB5, KRB5, false},
		{"second after one that is not known", append(fakes("initiator", 3, oidNEGOEX), Mech{MSKRB5, initiate}), KRB5, MSKRB5, true},
		{"framed, second", append(fakes("initiator", 3, oidNEGOEX), Mech{KRB5, inFrame}), KRB5, KRB5, true},
	} {
		t.Run(v.name, func(t *testing.T) {
			i, a := NewInitiator(v.mechs...), NewAcceptor(ntlmAcceptor(), Mech{v.server, accept})
			var first, last *respToken
			err := run(t, i, a, func(n int, token []byte) []byte {
				if n%2 == 0 {
					if last = resp(t, token); first == nil {
						first = last
					}
				}
				return token
			})
			if err != nil {
				t.Fatal(err)
			}
			if !first.mech.Equal(v.answer) {
				t.Errorf("answered as %v", first.mech)
			}
			if (last.mic != nil) != v.signed || last.state != acceptCompleted {
				t.Errorf("the last token is %+v", last)
			}
			if got := a.Peer(); got.Mechanism != "kerberos" || got.User != "backup" {
				t.Errorf("peer %+v", got)
			}
			exchange(t, i, a)
		})
	}

	// A client that could do both, and somebody between who takes Kerberos away.
	i := NewInitiator(Mech{KRB5, initiate}, ntlmInitiator())
	a := NewAcceptor(Mech{KRB5, accept}, ntlmAcceptor())
	err := run(t, i, a, func(n int, token []byte) []byte {
		if n == 1 {
			return marshal(t, &initToken{list: list(t, NTLM)})
		}
		return token
	})
	if !errors.Is(err, ErrDowngrade) || i.done || a.done {
		t.Errorf("kerberos taken away: %v", err)
	}
}

package ntlm

import (
	"context"
	"crypto/des"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/gss"
)

// TestUnknownUserCostsTheSame: a logon of somebody who does not exist goes the
// whole way of one with a wrong password, the check of the MIC included. Equal
// allocations stand for equal work: every HMAC and cipher on the way makes some.
func TestUnknownUserCostsTheSame(t *testing.T) {
	config := testConfig()
	var hash [16]byte
	var known bool
	asked := 0
	config.Lookup = func(string, string) ([16]byte, bool) { asked++; return hash, known }

	attempt := func(c gss.Context) (cost float64, a *Acceptor) {
		a = NewAcceptor(config)
		negotiate, _, err := c.Step(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		challenge, _, err := a.Step(t.Context(), negotiate)
		if err != nil {
			t.Fatal(err)
		}
		answer, _, err := c.Step(t.Context(), challenge)
		if err != nil {
			t.Fatal(err)
		}
		fresh := *a
		cost = math.Inf(1)
		for range 50 {
			cost = min(cost, testing.AllocsPerRun(1, func() {
				*a = fresh
				asked = 0
				if _, _, err := a.Step(t.Context(), answer); !errors.Is(err, gss.ErrLogon) {
					t.Errorf("%v", err)
				}
				if asked != 1 {
					t.Errorf("the table was asked %d times", asked)
				}
			}))
		}
		return cost, a
	}
	for name, client := range map[string]func() gss.Context{
		"with mic":    func() gss.Context { return NewInitiator(testCredentials(), "RPCSS/ca1") },
		"without mic": func() gss.Context { return &oldClient{cred: testCredentials()} },
	} {
		hash, known = NTHash("another"), true
		wrong, _ := attempt(client())
		hash, known = NTHash("another"), false
		unknown, _ := attempt(client())
		if wrong != unknown {
			t.Errorf("%s: a wrong password costs %v allocations, an unknown user %v", name, wrong, unknown)
		}
	}

	// Even with the right hash, which nobody's table has for users that it does
	// not have, an unknown user is refused last: when the MIC was found good.
	hash, known = testCredentials().Hash, false
	if _, a := attempt(NewInitiator(testCredentials(), "")); !a.sawMIC || a.Peer() != (gss.Peer{}) {
		t.Errorf("mic checked: %v, peer %v", a.sawMIC, a.Peer())
	}
}

// versionOne is a client that answers the challenge as NTLM version 1 does, and
// rightly so: three times DES of the challenge under the NT hash (MS-NLMP
// section 3.3.1). flags are what it settles for.
type versionOne struct {
	oldClient
	flags uint32
}

func (c *versionOne) Step(ctx context.Context, in []byte) ([]byte, bool, error) {
	out, done, err := c.oldClient.Step(ctx, in)
	if err != nil || !done {
		return out, done, err
	}
	ch, err := parseChallenge(in)
	if err != nil {
		return nil, false, err
	}
	a, err := parseAuthenticate(out)
	if err != nil {
		return nil, false, err
	}
	var key [21]byte
	copy(key[:], c.cred.Hash[:])
	a.nt = nil
	for part := range 3 {
		block, err := des.NewCipher(spread([7]byte(key[7*part:])))
		if err != nil {
			return nil, false, err
		}
		var sum [8]byte
		block.Encrypt(sum[:], ch.challenge[:])
		a.nt = append(a.nt, sum[:]...)
	}
	a.lm, a.flags = a.nt, c.flags
	return a.marshal(), true, nil
}

// spread makes a DES key of 56 bits.
func spread(k [7]byte) []byte {
	var bits uint64
	for _, b := range k {
		bits = bits<<8 | uint64(b)
	}
	out := make([]byte, 8)
	for i := range out {
		out[i] = byte(bits>>(49-7*i)) << 1
	}
	return out
}

// TestVersionOne: whoever knows the password and proves it by NTLM version 1 is
// refused, with and without what was negotiated.
func TestVersionOne(t *testing.T) {
	// The known answer of MS-NLMP section 4.2.2.1, with the example's hash.
	c := &versionOne{oldClient{cred: Credentials{User: "User", Domain: "Domain", Hash: NTHash("Password")}, challenged: true}, required}
	out, _, err := c.Step(t.Context(), unhex(vecChallenge))
	if err != nil {
		t.Fatal(err)
	}
	a, err := parseAuthenticate(out)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "ntlm version 1 response", a.nt, "67c43011f30298a2ad35ece64f16331c44bdbed927841f94")

	for _, flags := range []uint32{required | flagTargetInfo, required &^ flagESS} {
		acceptor := NewAcceptor(testConfig())
		err := handshake(t, &versionOne{oldClient{cred: testCredentials()}, flags}, acceptor, nil)
		if err == nil || acceptor.Peer() != (gss.Peer{}) {
			t.Errorf("flags %#x: accepted", flags)
		}
		if flags&flagESS != 0 && (!errors.Is(err, gss.ErrLogon) || !strings.Contains(err.Error(), "version 1")) {
			t.Errorf("flags %#x: %v", flags, err)
		}
	}
}

// TestAnonymousAndGuest: logons that have no secret are refused, also where the
// table would let them in.
func TestAnonymousAndGuest(t *testing.T) {
	config := testConfig()
	config.Lookup = func(user, _ string) ([16]byte, bool) { return [16]byte{}, user == "" || user == "backup" }
	for name, change := range map[string]func(*authenticate){
		// As Windows sends it (MS-NLMP section 3.2.5.1.2).
		"anonymous": func(p *authenticate) {
			p.user, p.domain, p.nt, p.lm = nil, nil, nil, []byte{0}
			p.flags |= flagAnonymous
		},
		"anonymous without a flag": func(p *authenticate) { p.user, p.domain, p.nt, p.lm = nil, nil, nil, []byte{0} },
		"no name":                  func(p *authenticate) { p.user = nil },
		"a name, and the flag":     func(p *authenticate) { p.flags |= flagAnonymous },
		"a name, and no response":  func(p *authenticate) { p.nt, p.lm = nil, nil },
		"guest":                    func(p *authenticate) { p.user = toUTF16("Guest") },
	} {
		a := NewAcceptor(config)
		c := testCredentials()
		c.Hash = [16]byte{}
		err := handshake(t, &oldClient{cred: c}, a, func(n int, m []byte) []byte {
			if n == 3 {
				p, err := parseAuthenticate(m)
				if err != nil {
					t.Fatal(err)
				}
				change(p)
				m = p.marshal()
			}
			return m
		})
		if !errors.Is(err, gss.ErrLogon) || a.Peer() != (gss.Peer{}) {
			t.Errorf("%s: %v, peer %v", name, err, a.Peer())
		}
	}
}

// TestServerTime: the initiator knows what time it was to the server, if that
// said so in its challenge.
func TestServerTime(t *testing.T) {
	i := NewInitiator(testCredentials(), "")
	if _, _, ok := i.ServerTime(); ok {
		t.Error("the time is known before the challenge")
	}
	here := testConfig().Now().Add(time.Hour)
	i.now = func() time.Time { return here }
	if err := handshake(t, i, NewAcceptor(testConfig()), nil); err != nil {
		t.Fatal(err)
	}
	if server, local, ok := i.ServerTime(); !ok || !server.Equal(testConfig().Now()) || !local.Equal(here) {
		t.Errorf("%v here, %v there, %v", local, server, ok)
	}
	// The published challenge has no timestamp.
	i = NewInitiator(testCredentials(), "")
	for _, in := range [][]byte{nil, unhex(vecChallenge)} {
		if _, _, err := i.Step(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	if server, _, ok := i.ServerTime(); ok {
		t.Errorf("%v there", server)
	}
}

// TestFromFileTime: also what no clock shows is a time, or none.
func TestFromFileTime(t *testing.T) {
	for _, want := range []time.Time{time.Unix(0, 0).UTC(), time.Date(2025, 1, 2, 3, 4, 5, 123456700, time.UTC), time.Date(1601, 1, 1, 0, 0, 0, 100, time.UTC)} {
		if got := fromFileTime(fileTime(want)); !got.Equal(want) {
			t.Errorf("%v became %v", want, got)
		}
	}
	for _, none := range [][8]byte{{}, {255, 255, 255, 255, 255, 255, 255, 255}, {0, 0, 0, 0, 0, 0, 0, 0x80}} {
		if got := fromFileTime(none); !got.IsZero() {
			t.Errorf("%x is %v", none, got)
		}
	}
}

package spnego

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/internal/gss"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// Tokens as other programs send them.
const (
	// A client's first one, with NEGOEX and NTLM, and the hints of NegTokenInit2
	// (a server's, or a client's that is as talkative).
	seedInit2 = `6046 06062b0601050502 a03c303a a01a3018 060a2b06010401823702021e 060a2b06010401823702020a
		a31c301a a0181b16 6e6f745f646566696e65645f696e5f52464334313738`
	// One with NTLM alone and the beginning of its first message.
	seedInit = `6028 06062b0601050502 a01e301c a00e300c 060a2b06010401823702020a a20a0408 4e544c4d53535000`
	// Answers: incomplete with NTLM and an empty token; complete with a MIC.
	seedResp     = `a11b3019 a0030a0101 a10c060a2b06010401823702020a a2040402abcd`
	seedComplete = `a11b3019 a0030a0100 a3120410 0100000022a3984fefbb9c3200000000`
)

// TestTokens reads tokens of other programs.
func TestTokens(t *testing.T) {
	m := init1(t, unhex(seedInit2))
	if len(m.mechs) != 2 || !m.mechs[0].Equal(oidNEGOEX) || !m.mechs[1].Equal(NTLM) || m.token != nil || m.mic != nil {
		t.Errorf("%+v", m)
	}
	if !bytes.Equal(m.list, unhex("3018060a2b06010401823702021e060a2b06010401823702020a")) {
		t.Errorf("what is signed is %x", m.list)
	}
	m = init1(t, unhex(seedInit))
	if string(m.token) != "NTLMSSP\x00" || !bytes.Equal(marshal(t, m), unhex(seedInit)) {
		t.Errorf("%+v", m)
	}
	// The list that the vectors of mechListMIC are over.
	if !bytes.Equal(m.list, unhex("300c060a2b06010401823702020a")) || !bytes.Equal(list(t, NTLM), m.list) {
		t.Errorf("what is signed is %x", m.list)
	}
	r := resp(t, unhex(seedResp))
	if r.state != acceptIncomplete || !r.mech.Equal(NTLM) || !bytes.Equal(r.token, []byte{0xab, 0xcd}) || r.mic != nil ||
		!bytes.Equal(marshal(t, r), unhex(seedResp)) {
		t.Errorf("%+v", r)
	}
	r = resp(t, unhex(seedComplete))
	if r.state != acceptCompleted || r.mech != nil || r.token != nil || len(r.mic) != 16 || !bytes.Equal(marshal(t, r), unhex(seedComplete)) {
		t.Errorf("%+v", r)
	}
}

// TestMalformedTokens: one mistake each.
func TestMalformedTokens(t *testing.T) {
	for name, token := range map[string]string{
		"empty":                     "",
		"another frame":             strings.Replace(seedInit, "6028", "6128", 1),
		"another mechanism's frame": strings.Replace(seedInit, "2b0601050502", "2b0601050503", 1),
		"no list":                   `6010 06062b0601050502 a006 3004 a202 0400`,
		"empty list":                `6010 06062b0601050502 a006 3004 a002 3000`,
		"something behind":          seedInit + "00",
		"long form of a length":     strings.Replace(seedInit, "6028", "608128", 1),
		"indefinite length":         strings.Replace(seedInit, "6028", "6080", 1),
		"a length that lies":        strings.Replace(seedInit, "a20a0408", "a20a0409", 1),
		"a token that is no string": strings.Replace(seedInit, "a20a0408", "a20a0308", 1),
	} {
		if _, err := parseInit(unhex(token)); err == nil {
			t.Errorf("first token, %s: accepted", name)
		}
	}
	for name, token := range map[string]string{
		"empty":              "",
		"a first token":      seedInit,
		"an unknown state":   strings.Replace(seedResp, "0a0101", "0a0104", 1),
		"a negative state":   strings.Replace(seedResp, "0a0101", "0a01ff", 1),
		"a state of no type": strings.Replace(seedResp, "0a0101", "020101", 1),
		"something behind":   seedResp + "00",
		"out of order":       `a111300f a2040402abcd a0030a0101 a1020600`,
		"twice":              `a10e300c a0030a0101 a0030a0101 0500`,
	} {
		if _, err := parseResp(unhex(token)); err == nil {
			t.Errorf("answer, %s: accepted", name)
		}
	}
	many := make([]asn1.ObjectIdentifier, maxMechs+1)
	for n := range many {
		many[n] = oidA
	}
	if _, err := parseInit(marshal(t, &initToken{list: list(t, many[1:]...)})); err != nil {
		t.Errorf("%d mechanisms: %v", maxMechs, err)
	}
	if _, err := parseInit(marshal(t, &initToken{list: list(t, many...)})); err == nil {
		t.Errorf("%d mechanisms: accepted", len(many))
	}
	long := &respToken{state: noState, token: make([]byte, maxToken)}
	if _, err := parseResp(marshal(t, long)); err == nil {
		t.Error("a token longer than a PDU can carry: accepted")
	}
	if _, err := parseInit(marshal(t, &initToken{list: list(t, oidA), token: long.token})); err == nil {
		t.Error("a token longer than a PDU can carry: accepted")
	}
}

func addSeeds(f *testing.F) {
	for _, s := range []string{seedInit, seedInit2, seedResp, seedComplete, ""} {
		f.Add(unhex(s))
	}
	run(f, NewInitiator(ntlmInitiator()), NewAcceptor(ntlmAcceptor()), func(_ int, token []byte) []byte { //nolint:errcheck // for the tokens
		f.Add(bytes.Clone(token))
		return token
	})
	f.Add(marshal(f, &initToken{list: list(f, oidNEGOEX, MSKRB5, KRB5, NTLM), token: []byte("x"), mic: []byte{}}))
	f.Add(marshal(f, &respToken{state: reject}))
	f.Add(marshal(f, &respToken{state: requestMIC, mech: NTLM}))
}

// FuzzParseInit: what is read can be written, and is the same when read again.
func FuzzParseInit(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseInit(b)
		if err != nil {
			return
		}
		if len(m.mechs) == 0 || len(m.mechs) > maxMechs || !bytes.Contains(b, m.list) {
			t.Fatalf("%+v of %x", m, b)
		}
		if again := init1(t, marshal(t, m)); !cmp.Equal(m, again, cmp.AllowUnexported(initToken{})) {
			t.Fatalf("%+v became %+v", m, again)
		}
	})
}

// FuzzParseResp: likewise.
func FuzzParseResp(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseResp(b)
		if err != nil {
			return
		}
		if again := resp(t, marshal(t, m)); !cmp.Equal(m, again, cmp.AllowUnexported(respToken{})) {
			t.Fatalf("%+v became %+v", m, again)
		}
	})
}

// FuzzAcceptor: nobody who does not know the secret gets in with two tokens of
// any kind.
func FuzzAcceptor(f *testing.F) {
	f.Add(unhex(seedInit), unhex(seedComplete))
	f.Add(unhex(seedInit2), unhex(seedResp))
	var tokens [][]byte
	run(f, NewInitiator(ntlmInitiator()), NewAcceptor(ntlmAcceptor()), func(_ int, token []byte) []byte { //nolint:errcheck // for the tokens
		tokens = append(tokens, bytes.Clone(token))
		return token
	})
	f.Add(tokens[0], tokens[2])
	f.Add(tokens[0], tokens[0])
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a := NewAcceptor(ntlmAcceptor())
		for _, in := range [][]byte{one, two} {
			_, done, err := a.Step(t.Context(), in)
			if done || a.Peer() != (gss.Peer{}) || a.Wrap(nil, gss.Message{}, true) == nil {
				t.Fatalf("accepted, %v", err)
			}
			if err != nil {
				if _, _, again := a.Step(t.Context(), unhex(seedInit)); !errors.Is(again, errOver) {
					t.Fatalf("another try: %v", again)
				}
				return
			}
		}
	})
}

// FuzzInitiator: a server that does not know the secret cannot bring a client
// to talk to it.
func FuzzInitiator(f *testing.F) {
	var tokens [][]byte
	run(f, NewInitiator(ntlmInitiator()), NewAcceptor(ntlmAcceptor()), func(_ int, token []byte) []byte { //nolint:errcheck // for the tokens
		tokens = append(tokens, bytes.Clone(token))
		return token
	})
	f.Add(tokens[1], tokens[3])
	f.Add(tokens[1], []byte{})
	f.Add(unhex(seedResp), unhex(seedComplete))
	f.Add(marshal(f, &respToken{state: requestMIC, mech: NTLM}), marshal(f, &respToken{state: reject}))
	f.Add(unhex(seedComplete), []byte(nil))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		i := NewInitiator(ntlmInitiator())
		if _, _, err := i.Step(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for _, in := range [][]byte{one, two} {
			_, done, err := i.Step(t.Context(), in)
			if done || i.Peer() != (gss.Peer{}) || i.Wrap(nil, gss.Message{}, true) == nil {
				t.Fatalf("content, %v", err)
			}
			if err != nil {
				if _, _, again := i.Step(t.Context(), tokens[1]); !errors.Is(again, errOver) {
					t.Fatalf("another try: %v", again)
				}
				return
			}
		}
	})
}

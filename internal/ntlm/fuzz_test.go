package ntlm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/internal/gss"
)

// Messages as other programs send them, for seeds: Windows' first message, and
// the first and third of one that sends neither version nor MIC.
const (
	seedNegotiateWindows = `4e544c4d53535000 01000000 b78208e2 0000000000000000 0000000000000000 0a00614a0000000f`
	seedNegotiateShort   = `4e544c4d53535000 01000000 358208e0 0000000000000000 0000000000000000`
)

// transcript is the three messages of a logon with this password.
func transcript(t testing.TB, i gss.Context) (m [4][]byte) {
	t.Helper()
	handshake(t, i, NewAcceptor(testConfig()), func(n int, b []byte) []byte { //nolint:errcheck // it may be a wrong password
		m[n] = bytes.Clone(b)
		return b
	})
	return m
}

// seeds adds a message as it is, cut short, and with lengths that lie.
func seeds(f *testing.F, messages ...[]byte) {
	for _, m := range messages {
		f.Add(m)
		f.Add(bytes.Clone(m[:len(m)/2]))
		f.Add(bytes.Clone(m[:max(len(m)-2, 0)]))
		for _, at := range []int{2, fieldTargetName, fieldNT, fieldTargetInfo} {
			if at+2 <= len(m) {
				lie := bytes.Clone(m)
				binary.LittleEndian.PutUint16(lie[at:], uint16(len(m)))
				f.Add(lie)
			}
		}
	}
}

// FuzzNegotiate: an acceptor answers a first message, or refuses it; it never
// thinks that somebody has logged on.
func FuzzNegotiate(f *testing.F) {
	seeds(f, unhex(seedNegotiateWindows), unhex(seedNegotiateShort), transcript(f, NewInitiator(testCredentials(), ""))[1],
		unhex(vecChallenge), nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		a := NewAcceptor(testConfig())
		out, done, err := a.Step(t.Context(), b)
		if done || a.Peer() != (gss.Peer{}) {
			t.Fatal("logged on with the first message")
		}
		if (err == nil) != (out != nil) {
			t.Fatalf("answers %x, error %v", out, err)
		}
		if err != nil {
			return
		}
		c, err := parseChallenge(out)
		if err != nil {
			t.Fatalf("the answer is malformed: %v", err)
		}
		if c.flags&required != required || binary.LittleEndian.Uint32(b[flagsNegotiate:])&required != required {
			t.Fatalf("settles for flags %#x", c.flags)
		}
	})
}

// FuzzChallenge: an initiator answers a well-formed challenge with a
// well-formed message, and refuses the rest.
func FuzzChallenge(f *testing.F) {
	seeds(f, unhex(vecChallenge), transcript(f, NewInitiator(testCredentials(), ""))[2], unhex(seedNegotiateWindows), nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseChallenge(b); err == nil {
			again, err := parseChallenge(c.marshal())
			if err != nil {
				t.Fatalf("marshalled, it is malformed: %v", err)
			}
			if !cmp.Equal(c, again, cmp.AllowUnexported(challenge{})) {
				t.Fatalf("%+v became %+v", c, again)
			}
		}
		i := NewInitiator(testCredentials(), "RPCSS/ca1")
		if _, _, err := i.Step(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		out, done, err := i.Step(t.Context(), b)
		if err != nil {
			if done || out != nil || i.Wrap(make([]byte, tokenSize), gss.Message{}, true) == nil {
				t.Fatal("goes on after an error")
			}
			return
		}
		a, err := parseAuthenticate(out)
		if err != nil || !done {
			t.Fatalf("done %v, and the answer is malformed: %v", done, err)
		}
		if a.flags&required != required || !a.hasMIC {
			t.Fatalf("settles for flags %#x, mic %v", a.flags, a.hasMIC)
		}
		if r, err := parseNTResponse(a.nt); err != nil {
			t.Fatalf("nt response: %v", err)
		} else if flags, err := r.pairs.flags(); err != nil || flags&avFlagMIC == 0 {
			t.Fatalf("av flags %#x, %v", flags, err)
		}
	})
}

// FuzzAuthenticate: nobody who does not know the secret gets in, whatever is
// sent. The seeds are logons with a wrong one, and of another session.
func FuzzAuthenticate(f *testing.F) {
	wrong := testCredentials()
	wrong.Hash = NTHash("wrong")
	seeds(f, unhex(vecAuthenticate), transcript(f, NewInitiator(wrong, "RPCSS/ca1"))[3],
		transcript(f, NewInitiator(testCredentials(), ""))[3], transcript(f, &oldClient{cred: wrong})[3], unhex(vecChallenge), nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseAuthenticate(b); err == nil {
			again, err := parseAuthenticate(m.marshal())
			if err != nil {
				t.Fatalf("marshalled, it is malformed: %v", err)
			}
			// Without a payload the MIC's place cannot be told from what follows.
			if again.version = m.version; !m.hasMIC {
				again.hasMIC, again.mic = false, m.mic
			}
			if !cmp.Equal(m, again, cmp.AllowUnexported(authenticate{})) {
				t.Fatalf("%+v became %+v", m, again)
			}
		}
		a := NewAcceptor(testConfig())
		if _, _, err := a.Step(t.Context(), unhex(seedNegotiateWindows)); err != nil {
			t.Fatal(err)
		}
		out, done, err := a.Step(t.Context(), b)
		if err == nil || done || out != nil || a.Peer() != (gss.Peer{}) {
			t.Fatalf("accepted as %v", a.Peer())
		}
		if a.Wrap(make([]byte, tokenSize), gss.Message{}, true) == nil {
			t.Fatal("a refused client gets messages")
		}
		if _, _, err := a.Step(t.Context(), b); err == nil {
			t.Fatal("a refused client gets another try")
		}
	})
}

// FuzzPairs: what is read is what stands there.
func FuzzPairs(f *testing.F) {
	c, err := parseChallenge(unhex(vecChallenge))
	if err != nil {
		f.Fatal(err)
	}
	r, err := parseNTResponse(append(unhex(vecProof), unhex(vecTemp)...))
	if err != nil {
		f.Fatal(err)
	}
	stamp := fileTime(testConfig().Now())
	seeds(f, c.targetInfo, r.blob[blobPairs:], pairs{{avFlags, []byte{2, 0, 0, 0}}, {avTimestamp, stamp[:]}}.marshal(),
		pairs{{avFlags, []byte{2}}, {avTimestamp, nil}, {avTargetName, toUTF16("RPCSS/ca1")}}.marshal(), nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parsePairs(b)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, list.marshal()) {
			t.Fatalf("%x is read as %v", b, list)
		}
		flags, err := list.flags()
		if v, ok := list.get(avFlags); (err != nil) != (ok && len(v) != 4) || !ok && flags != 0 {
			t.Fatalf("flags %#x, %v, of %x", flags, err, v)
		}
		_, has, err := list.timestamp()
		if v, ok := list.get(avTimestamp); (err != nil) != (ok && len(v) != 8) || err == nil && has != ok {
			t.Fatalf("timestamp %v, %v, of %x", has, err, v)
		}
	})
}

// FuzzNTResponse: the parts of a response are those of the message.
func FuzzNTResponse(f *testing.F) {
	a, err := parseAuthenticate(unhex(vecAuthenticate))
	if err != nil {
		f.Fatal(err)
	}
	seeds(f, a.nt, a.lm, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseNTResponse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(append(bytes.Clone(r.proof), r.blob...), b) || len(r.proof) != 16 || len(b) == 24 {
			t.Fatalf("%x is read as %x and %x", b, r.proof, r.blob)
		}
	})
}

// FuzzUnwrap: no message is taken for the peer's that is not; and after the
// first wrong one no other.
func FuzzUnwrap(f *testing.F) {
	client, _ := vectorSessions()
	token, body := make([]byte, tokenSize), toUTF16("Plaintext")
	if err := client.Wrap(token, gss.Message{Body: body}, true); err != nil {
		f.Fatal(err)
	}
	f.Add(token, body, true)
	f.Add(token, body, false)
	f.Add([]byte{}, []byte{}, true)
	f.Add(unhex(micC2S), unhex(mechList), false)
	f.Fuzz(func(t *testing.T, token, body []byte, seal bool) {
		server := &session{}
		server.establish([16]byte{1}, false) // another key than that of the seeds
		if err := server.Unwrap(token, gss.Message{Body: bytes.Clone(body)}, seal); !errors.Is(err, gss.ErrIntegrity) {
			t.Fatalf("taken: %v", err)
		}
		sender := &session{}
		sender.establish([16]byte{1}, true)
		good := make([]byte, tokenSize)
		if err := sender.Wrap(good, gss.Message{Body: body}, seal); err != nil {
			t.Fatal(err)
		}
		if err := server.Unwrap(good, gss.Message{Body: body}, seal); !errors.Is(err, gss.ErrIntegrity) {
			t.Fatalf("goes on: %v", err)
		}
	})
}

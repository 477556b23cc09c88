package kerberos

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/certkeep/certkeep/internal/gss"
)

// krbErrorMessage is what a service answers instead of an AP-REP.
func krbErrorMessage(t testing.TB, code int32, at time.Time) []byte {
	t.Helper()
	k := messages.NewKRBError(types.PrincipalName{NameType: 2, NameString: []string{"host", "ca.example.test"}}, testRealm, code, "")
	k.STime, k.Susec = at.Truncate(time.Second), 0
	b, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestServerProvesItself: a server that cannot have read the request, or that
// says less than it must, is not talked to.
func TestServerProvesItself(t *testing.T) {
	other := randomKey(etypes[etypeAES256SHA1])
	for name, v := range map[string]struct {
		answer func(f *forge, at stamp) []byte
		says   string
	}{
		"nothing":     {func(*forge, stamp) []byte { return nil }, "malformed"},
		"garbage":     {func(*forge, stamp) []byte { return []byte("garbage") }, "malformed"},
		"another key": {func(f *forge, at stamp) []byte { return f.reply(other, apRepPart{time: at, hasSeq: true}) }, "session key"},
		"another time": {func(f *forge, at stamp) []byte {
			return f.reply(f.sessionKey, apRepPart{time: stamp{at.sec, at.usec ^ 1}, hasSeq: true})
		}, "not proven"},
		"no number": {func(f *forge, at stamp) []byte { return f.reply(f.sessionKey, apRepPart{time: at}) }, "no sequence number"},
		"subkey of rc4": {func(f *forge, at stamp) []byte {
			return f.reply(f.sessionKey, apRepPart{time: at, hasSeq: true, subkeyID: 23, subkey: make([]byte, 16)})
		}, "type 23"},
		"subkey that is short": {func(f *forge, at stamp) []byte {
			return f.reply(f.sessionKey, apRepPart{time: at, hasSeq: true, subkeyID: 18, subkey: make([]byte, 16)})
		}, "32"},
		"a request": {func(f *forge, _ stamp) []byte { return f.request() }, "malformed"},
		"another type of key": {func(f *forge, at stamp) []byte {
			return f.reply(randomKey(etypes[etypeAES128SHA1]), apRepPart{time: at, hasSeq: true})
		}, "encryption type"},
		"a broken error": {func(*forge, stamp) []byte { return []byte{octetKRBError, 2, 0x30, 0} }, "malformed"},
	} {
		f := newForge(t, etypeAES256SHA1)
		i := f.client().Initiator(service)
		if _, _, err := i.Step(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		out, done, err := i.Step(t.Context(), v.answer(f, i.time))
		if !errors.Is(err, gss.ErrLogon) || out != nil || done || i.Peer() != (gss.Peer{}) {
			t.Errorf("%s: sends %x, done %v, %v", name, out, done, err)
			continue
		}
		if !strings.Contains(err.Error(), v.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := i.Step(t.Context(), f.reply(f.sessionKey, apRepPart{time: i.time, hasSeq: true})); err == nil {
			t.Errorf("%s: another try", name)
		}
	}
}

// TestServersErrors: what a server says instead, in the user's words.
func TestServersErrors(t *testing.T) {
	for code, says := range map[int32]string{
		codeSkew:          "this machine's clock is 10m0s behind the server's",
		codeTicketExpired: "kinit",
		codeModified:      "keytab",
		codeRepeat:        "again",
	} {
		i := newForge(t, etypeAES256SHA1).client().Initiator(service)
		if _, _, err := i.Step(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		_, _, err := i.Step(t.Context(), krbErrorMessage(t, code, testNow.Add(10*time.Minute)))
		var e *Error
		if !errors.As(err, &e) || e.Code != code || !errors.Is(err, gss.ErrLogon) || !strings.Contains(e.Hint(), says) || e.Skew.Round(time.Minute) != 10*time.Minute {
			t.Errorf("code %d: %v, %+v", code, err, e)
		}
	}
}

// TestSubkeys: without a subkey of the acceptor's the initiator's own is used,
// and the tokens say which.
func TestSubkeys(t *testing.T) {
	for _, id := range []int32{0, etypeAES256SHA1, etypeAES128SHA1} {
		f := newForge(t, etypeAES256SHA1)
		i := f.client().Initiator(service)
		request, _, err := i.Step(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		a := NewAcceptor(f.acceptor())
		if _, err := a.open(request); err != nil {
			t.Fatal(err)
		}
		part := apRepPart{time: i.time, hasSeq: true, seqNumber: 0x3ffffffe}
		want, acceptors := i.subkey, byte(0)
		if id != 0 {
			want, acceptors = randomKey(etypes[id]), flagAcceptorSubkey
			part.subkeyID, part.subkey = id, want.value
		}
		key := &key{want.et, bytes.Clone(want.value)}
		if _, done, err := i.Step(t.Context(), f.reply(f.sessionKey, part)); err != nil || !done {
			t.Fatal(done, err)
		}
		var peer session
		peer.establish(key, true, id != 0, part.seqNumber, i.seq)
		mic, err := i.MIC([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if mic[2] != acceptors {
			t.Errorf("subkey %d: flags %#x", id, mic[2])
		}
		if err := peer.VerifyMIC([]byte("x"), mic); err != nil {
			t.Errorf("subkey %d: %v", id, err)
		}
		talk(t, i, &standing{&peer})
		if !bytes.Equal(i.subkey.value, make([]byte, 32)) {
			t.Error("the initiator's subkey is not wiped")
		}
	}
}

// standing is a session without a handshake.
type standing struct{ *session }

func (standing) Step(context.Context, []byte) ([]byte, bool, error) {
	return nil, false, errors.New("there is no handshake")
}

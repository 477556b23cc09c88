package ntlm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
	"pgregory.net/rapid"
)

func testMessage(body string) gss.Message {
	return gss.Message{Header: []byte("header"), Body: []byte(body), Trailer: []byte("trailer!")}
}

// TestFlippedMessage flips every bit of everything that is signed, and of the
// token.
func TestFlippedMessage(t *testing.T) {
	for _, seal := range []bool{true, false} {
		for part := range 4 {
			for bit := 0; ; bit++ {
				client, server := vectorSessions()
				m, token := testMessage("a body"), make([]byte, tokenSize)
				if err := client.Wrap(token, m, seal); err != nil {
					t.Fatal(err)
				}
				b := [][]byte{m.Header, m.Body, m.Trailer, token}[part]
				if bit == 8*len(b) {
					break
				}
				b[bit/8] ^= 1 << (bit % 8)
				if err := server.Unwrap(token, m, seal); !errors.Is(err, gss.ErrIntegrity) {
					t.Errorf("seal %v, part %d, bit %d: %v", seal, part, bit, err)
				}
			}
		}
	}
}

func TestRefusedMessages(t *testing.T) {
	client, server := vectorSessions()
	_, other := vectorSessions()
	other.establish([16]byte{1}, false)
	wrap := func(s *session, seal bool) (gss.Message, []byte) {
		m, token := testMessage("a body"), make([]byte, tokenSize)
		if err := s.Wrap(token, m, seal); err != nil {
			t.Fatal(err)
		}
		return m, token
	}
	clone := func(m gss.Message) gss.Message {
		m.Body = bytes.Clone(m.Body)
		return m
	}
	first, firstToken := wrap(client, true)
	second, secondToken := wrap(client, true)
	replayed := clone(first)
	if err := other.Unwrap(firstToken, clone(first), true); !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("another session's message: %v", err)
	}
	if err := client.Unwrap(firstToken, clone(first), true); !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("reflected: %v", err)
	}
	_, fresh := vectorSessions()
	if err := fresh.Unwrap(secondToken, clone(second), true); !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("the first one dropped: %v", err)
	}
	if err := fresh.Unwrap(firstToken, clone(first), true); !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("a broken context goes on: %v", err)
	}
	_, fresh = vectorSessions()
	if err := fresh.Unwrap(firstToken, clone(first), false); !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("sealed taken for signed: %v", err)
	}
	for _, token := range [][]byte{nil, {}, firstToken[:15], append(bytes.Clone(firstToken), 0)} {
		_, fresh := vectorSessions()
		if err := fresh.Unwrap(token, clone(first), true); !errors.Is(err, gss.ErrIntegrity) {
			t.Errorf("token of %d bytes: %v", len(token), err)
		}
	}
	if err := server.Unwrap(firstToken, first, true); err != nil {
		t.Fatal(err)
	}
	if err := server.Unwrap(firstToken, replayed, true); !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("replayed: %v", err)
	}
	if err := client.Wrap(make([]byte, 15), gss.Message{}, true); err == nil {
		t.Error("a token of 15 bytes was filled")
	}
}

func TestBeforeTheHandshake(t *testing.T) {
	for _, c := range []interface {
		gss.Context
		gss.MIC
	}{NewInitiator(testCredentials(), ""), NewAcceptor(testConfig())} {
		if err := c.Wrap(make([]byte, 16), gss.Message{}, true); err == nil {
			t.Error("wraps")
		}
		if err := c.Unwrap(make([]byte, 16), gss.Message{}, true); err == nil {
			t.Error("unwraps")
		}
		if _, err := c.MIC(nil); err == nil {
			t.Error("signs")
		}
		if err := c.VerifyMIC(nil, make([]byte, 16)); err == nil {
			t.Error("verifies")
		}
		c.AfterMIC()
	}
}

// TestSequenceNumbersEnd: a number is never used twice.
func TestSequenceNumbersEnd(t *testing.T) {
	client, server := vectorSessions()
	client.send.seq, server.recv.seq = math.MaxUint32, math.MaxUint32
	m, token := testMessage("the last"), make([]byte, tokenSize)
	if err := client.Wrap(token, m, true); err != nil {
		t.Fatal(err)
	}
	if err := server.Unwrap(token, m, true); err != nil {
		t.Fatal(err)
	}
	if err := client.Wrap(token, m, true); err == nil {
		t.Error("wraps one more")
	}
	if err := server.Unwrap(token, m, true); err == nil {
		t.Error("unwraps one more")
	}
}

// TestTwoDirectionsAtOnce is for the race detector: each context wraps and
// unwraps at the same time.
func TestTwoDirectionsAtOnce(t *testing.T) {
	client, server := vectorSessions()
	type sealed struct {
		m     gss.Message
		token []byte
	}
	var wg sync.WaitGroup
	for _, w := range []struct{ from, to *session }{{client, server}, {server, client}} {
		c := make(chan sealed, 4)
		wg.Go(func() {
			defer close(c)
			for n := range 200 {
				s := sealed{testMessage(fmt.Sprint(n)), make([]byte, tokenSize)}
				if err := w.from.Wrap(s.token, s.m, true); err != nil {
					t.Error(err)
					return
				}
				c <- s
			}
		})
		wg.Go(func() {
			n := 0
			for s := range c {
				if err := w.to.Unwrap(s.token, s.m, true); err != nil || string(s.m.Body) != fmt.Sprint(n) {
					t.Errorf("message %d: %q %v", n, s.m.Body, err)
				}
				n++
			}
			if n != 200 {
				t.Errorf("%d messages", n)
			}
		})
	}
	wg.Wait()
}

// TestAnySequence: whatever is sent in whatever order of directions, sealed or
// signed, comes out as it went in; with a MIC exchange before or without.
func TestAnySequence(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		i, a := NewInitiator(testCredentials(), "RPCSS/ca1"), NewAcceptor(testConfig())
		if err := handshake(t, i, a, nil); err != nil {
			r.Fatal(err)
		}
		if rapid.Bool().Draw(r, "mics") {
			list := rapid.SliceOf(rapid.Byte()).Draw(r, "list")
			for _, w := range []struct{ from, to gss.MIC }{{i, a}, {a, i}} {
				mic, err := w.from.MIC(list)
				if err != nil {
					r.Fatal(err)
				}
				if err := w.to.VerifyMIC(list, mic); err != nil {
					r.Fatal(err)
				}
			}
			i.AfterMIC()
			a.AfterMIC()
		}
		part := rapid.SliceOfN(rapid.Byte(), 0, 300)
		for range rapid.IntRange(1, 20).Draw(r, "messages") {
			from, to := gss.Context(i), gss.Context(a)
			if rapid.Bool().Draw(r, "back") {
				from, to = to, from
			}
			seal := rapid.Bool().Draw(r, "seal")
			m := gss.Message{Header: part.Draw(r, "header"), Body: part.Draw(r, "body"), Trailer: part.Draw(r, "trailer"),
				SignHeader: rapid.Bool().Draw(r, "sign header")}
			plain, token := bytes.Clone(m.Body), make([]byte, from.TokenSize(seal, len(m.Body)))
			if err := from.Wrap(token, m, seal); err != nil {
				r.Fatal(err)
			}
			if !seal && !bytes.Equal(plain, m.Body) {
				r.Fatal("signing changes the body")
			}
			if err := to.Unwrap(token, m, seal); err != nil {
				r.Fatal(err)
			}
			if !bytes.Equal(plain, m.Body) {
				r.Fatal("another body")
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	client, server := vectorSessions()
	m := gss.Message{Header: make([]byte, 24), Body: make([]byte, 5800), Trailer: make([]byte, 8)}
	token := make([]byte, tokenSize)
	var err error
	if n := testing.AllocsPerRun(100, func() {
		err = errors.Join(err, client.Wrap(token, m, true), server.Unwrap(token, m, true))
	}); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}

func TestLikeTheContract(t *testing.T) {
	client, _ := vectorSessions()
	for _, body := range []int{0, 1, 5800, 1 << 20} {
		if client.TokenSize(true, body) != tokenSize || client.TokenSize(false, body) != tokenSize {
			t.Error("token size")
		}
	}
}

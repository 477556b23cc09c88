package journal

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/blob/mem"
)

const (
	repository = "0123456789abcdef"
	author     = "fedcba9876543210"
)

var (
	now   = time.Date(2026, 3, 14, 9, 26, 53, 589e6, time.UTC)
	key   = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	other = ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", ed25519.SeedSize)))
)

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// The form is what docs/repository-format.md says. Ed25519 signatures are deterministic.
func TestGolden(t *testing.T) {
	e := &Entry{Repository: repository, Author: author, Seq: 2, Previous: strings.Repeat("ab", 32), Time: now, Records: []json.RawMessage{[]byte(`{"type":"nothing"}`)}}
	b, err := e.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schema":1,"repository":"0123456789abcdef","author":"fedcba9876543210","seq":2,` +
		`"previous":"abababababababababababababababababababababababababababababababab","time":"2026-03-14T09:26:53.589Z","records":[{"type":"nothing"}]}` + "\n" +
		"SIGNATURE\n"
	line, sig, _ := strings.Cut(string(b), "\n")
	if line+"\nSIGNATURE\n" != want {
		t.Errorf("got %s", b)
	}
	if len(sig) != 89 {
		t.Errorf("signature %q", sig)
	}
	got, err := Decode(b, public(key))
	if err != nil || got.Hash != e.Hash || got.Head() != (Head{2, sum(b)}) || len(got.Records) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Decode(b, public(other)); !errors.Is(err, ErrDamaged) {
		t.Errorf("with another's key: %v", err)
	}
}

// Whichever byte of an entry is changed, it is not an entry any more.
func TestEachByte(t *testing.T) {
	e := &Entry{Repository: repository, Author: author, Seq: 1, Time: now, Records: []json.RawMessage{[]byte(`{}`)}}
	b, err := e.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := Decode(b, public(key)); err == nil {
				t.Errorf("byte %d, bit %d: %q", i, bit, b)
			}
			b[i] ^= 1 << bit
		}
		if _, err := Decode(b[:i], public(key)); err == nil {
			t.Errorf("cut to %d bytes", i)
		}
	}
}

func TestRejects(t *testing.T) {
	for name, x := range map[string]struct {
		line string
		want error
	}{
		"no object":     {`[]`, ErrDamaged},
		"not JSON":      {`{`, ErrDamaged},
		"no number":     {`{"schema":1}`, ErrDamaged},
		"old":           {`{"schema":0,"seq":1}`, ErrDamaged},
		"newer":         {`{"schema":2}`, ErrNewer},
		"negative":      {`{"schema":1,"seq":-1}`, ErrDamaged},
		"wrong time":    {`{"schema":1,"seq":1,"time":"now"}`, ErrDamaged},
		"wrong records": {`{"schema":1,"seq":1,"records":1}`, ErrDamaged},
	} {
		if _, err := Decode(Sign([]byte(x.line), key), public(key)); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
		// Nobody but the author says that it is newer.
		if _, err := Decode(Sign([]byte(x.line), other), public(key)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s, signed by another: %v", name, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.StringMatching(`[0-9a-z]{1,16}`).Draw(t, "author")
		seq := rapid.Uint64Range(1, 1<<50).Draw(t, "seq")
		if got, n, ok := ParseKey(Key(a, seq)); !ok || got != a || n != seq {
			t.Fatal(got, n, ok)
		}
	})
	for _, k := range []string{"", "journal/", "journal/a", "journal/a/", "journal//00000001", "journal/a/1", "journal/a/00000000", "journal/a/0000000a",
		"journal/a/000000001", "journal/a/00000001/x", "meta/a/00000001", "journal/a/99999999999999999999999999", "journal/a/-0000001"} {
		if a, n, ok := ParseKey(k); ok {
			t.Errorf("%q: %q %d", k, a, n)
		}
	}
}

// write writes n entries.
func write(t testing.TB, s blob.Store, n int, k ed25519.PrivateKey) *Journal {
	t.Helper()
	j := &Journal{Author: author}
	for i := range n {
		if _, err := j.Append(t.Context(), s, repository, k, now, blob.PutOptions{}, map[string]int{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

func read(t testing.TB, s blob.Store, have []*Entry, known uint64) *Journal {
	t.Helper()
	found, err := List(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	j, err := Read(t.Context(), s, repository, author, public(key), found[author], have, known)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func get(t testing.TB, s blob.Store, seq uint64) []byte {
	t.Helper()
	b, err := s.Get(t.Context(), Key(author, seq), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sign makes an entry in the place of another.
func sign(t testing.TB, k ed25519.PrivateKey, seq uint64, previous string, change func(*Entry)) []byte {
	t.Helper()
	e := &Entry{Repository: repository, Author: author, Seq: seq, Previous: previous, Time: now}
	if change != nil {
		change(e)
	}
	b, err := e.Encode(k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is wrong with a chain is a problem; the other entries are read all the same.
func TestChain(t *testing.T) {
	for name, x := range map[string]struct {
		change         func(*mem.Store)
		entries        int
		problem        string // in one of them; empty if there is none
		remembers      bool   // whether who remembers the head notices
		remembersThird bool   // whether who remembers the third entry notices
	}{
		"nothing":       {func(*mem.Store) {}, 5, "", false, false},
		"one missing":   {func(s *mem.Store) { s.Replace(Key(author, 3), nil) }, 4, "entry 3 is missing", false, true},
		"two missing":   {func(s *mem.Store) { s.Replace(Key(author, 3), nil); s.Replace(Key(author, 2), nil) }, 3, "entries 2 to 3 are missing", false, true},
		"first missing": {func(s *mem.Store) { s.Replace(Key(author, 1), nil) }, 4, "entry 1 is missing", false, false},
		"end cut off":   {func(s *mem.Store) { s.Replace(Key(author, 5), nil) }, 4, "", true, false},
		"all gone": {func(s *mem.Store) {
			for i := range uint64(5) {
				s.Replace(Key(author, i+1), nil)
			}
		}, 0, "", true, true},
		"damaged":      {func(s *mem.Store) { s.Replace(Key(author, 3), []byte("x\n")) }, 4, "00000003: damaged", false, true},
		"end damaged":  {func(s *mem.Store) { s.Replace(Key(author, 5), []byte("x\n")) }, 4, "00000005: damaged", true, false},
		"too long":     {func(s *mem.Store) { s.Replace(Key(author, 5), make([]byte, MaxEntry+1)) }, 4, "00000005: damaged", true, false},
		"another's":    {func(s *mem.Store) { s.Replace(Key(author, 3), sign(t, other, 3, "", nil)) }, 4, "signature", false, true},
		"replaced":     {func(s *mem.Store) { s.Replace(Key(author, 3), sign(t, key, 3, sum(get(t, s, 2)), nil)) }, 5, "entry 4 does not follow from entry 3", false, true},
		"end replaced": {func(s *mem.Store) { s.Replace(Key(author, 5), sign(t, key, 5, sum(get(t, s, 4)), nil)) }, 5, "", true, false},
		"swapped": {func(s *mem.Store) {
			a, b := get(t, s, 2), get(t, s, 3)
			s.Replace(Key(author, 2), b)
			s.Replace(Key(author, 3), a)
		}, 3, "it is entry 3", false, true},
		"other journal": {func(s *mem.Store) {
			s.Replace(Key(author, 3), sign(t, key, 3, "", func(e *Entry) { e.Author = "root" }))
		}, 4, `of "root"`, false, true},
		"other place": {func(s *mem.Store) {
			s.Replace(Key(author, 3), sign(t, key, 3, "", func(e *Entry) { e.Repository = "x" }))
		}, 4, `repository "x"`, false, true},
		"newer":          {func(s *mem.Store) { s.Replace(Key(author, 3), Sign([]byte(`{"schema":7}`), key)) }, 4, "newer version", false, true},
		"forked":         {func(s *mem.Store) { s.Replace(Key(author, 6), sign(t, key, 6, sum(get(t, s, 4)), nil)) }, 6, "entry 6 does not follow", false, false},
		"gap behind end": {func(s *mem.Store) { s.Replace(Key(author, 9), sign(t, key, 9, "", nil)) }, 6, "entries 6 to 8 are missing", false, false},
	} {
		s := mem.New()
		was := write(t, s, 5, key)
		x.change(s)
		j := read(t, s, nil, 0)
		if len(j.Entries) != x.entries {
			t.Errorf("%s: %d entries", name, len(j.Entries))
		}
		if err := errors.Join(j.Problems...); (err == nil) != (x.problem == "") || err != nil && !strings.Contains(err.Error(), x.problem) {
			t.Errorf("%s: problems: %v", name, err)
		}
		if err := j.Check(was.Head()); (err != nil) != x.remembers {
			t.Errorf("%s: who remembers the head: %v", name, err)
		}
		if err := j.Check(was.Entries[2].Head()); (err != nil) != x.remembersThird {
			t.Errorf("%s: who remembers the third: %v", name, err)
		}
		if err := j.Check(Head{}); err != nil {
			t.Errorf("%s: who remembers nothing: %v", name, err)
		}
	}
}

// Until leaves of a journal what leads to an entry.
func TestUntil(t *testing.T) {
	s := mem.New()
	j := write(t, s, 5, key)
	for n := range 6 {
		var last Head
		if n > 0 {
			last = j.Entries[n-1].Head()
		}
		if u := j.Until(last); len(u.Entries) != n || len(u.Problems) > 0 || u.Head() != last {
			t.Errorf("%d: %+v", n, u)
		}
	}
	for name, last := range map[string]Head{"another": {3, strings.Repeat("0", 64)}, "missing": {6, strings.Repeat("0", 64)}} {
		if u := j.Until(last); len(u.Entries) != 0 || len(u.Problems) != 1 {
			t.Errorf("%s: %+v", name, u)
		}
	}
	fork := &Journal{Author: author, Entries: append([]*Entry{{Seq: 1, Hash: "x"}, {Seq: 2, Hash: "y", Previous: "x"}}, j.Entries[2:]...)}
	if u := fork.Until(j.Head()); len(u.Entries) != 3 || len(u.Problems) != 1 {
		t.Errorf("forked: %+v", u)
	}
}

// A listing that is behind is made up for, as far as it is known what must be there; entries
// read before are not read again.
func TestStaleListing(t *testing.T) {
	s := mem.New()
	was := write(t, s, 5, key)
	found, err := List(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	count := fault.New(s, nil, fault.Options{})
	j, err := Read(t.Context(), count, repository, author, public(key), found[author][:2], was.Entries[:1], 5)
	if err != nil || len(j.Entries) != 5 || len(j.Problems) > 0 || j.Head() != was.Head() || count.Count(fault.Get) != 4 {
		t.Errorf("%+v, %v, %d read", j, err, count.Count(fault.Get))
	}
	if j.Entries[4].Stored.IsZero() {
		t.Error("the time of one that was not listed is not known")
	}
	// What was known and is gone leaves no gap that anybody sees without a memory.
	s.Replace(Key(author, 5), nil)
	if j := read(t, s, nil, 5); len(j.Entries) != 4 || j.Check(was.Head()) == nil {
		t.Errorf("%+v", j)
	}
}

// An entry is never written over another, and an answer that was lost is made up for.
func TestAppend(t *testing.T) {
	s := mem.New()
	a, b := write(t, s, 2, key), read(t, s, nil, 0)
	if _, err := a.Append(t.Context(), s, repository, key, now, blob.PutOptions{}, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(t.Context(), s, repository, key, now, blob.PutOptions{}, "b"); !errors.Is(err, blob.ErrExists) || len(b.Entries) != 2 {
		t.Errorf("%v, %d entries", err, len(b.Entries))
	}
	if _, err := read(t, s, nil, 0).Append(t.Context(), s, repository, key, now, blob.PutOptions{}, "b"); err != nil {
		t.Error(err)
	}
	if j := read(t, s, nil, 0); len(j.Entries) != 4 || len(j.Problems) > 0 {
		t.Errorf("%+v", j)
	}
	c := read(t, s, nil, 0)
	twice := &again{Store: s}
	if e, err := c.Append(t.Context(), twice, repository, key, now, blob.PutOptions{}, "c"); err != nil || e.Seq != 5 || e.Stored.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := c.Append(t.Context(), s, repository, key, now, blob.PutOptions{}, strings.Repeat("x", MaxEntry)); err == nil {
		t.Error("an entry that nobody would read was written")
	}
	if _, err := c.Append(t.Context(), s, repository, key, now, blob.PutOptions{}, func() {}); err == nil {
		t.Error("not JSON")
	}
}

// again is a store whose first answer was lost: it was asked again.
type again struct{ blob.Store }

func (s *again) Put(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Info, error) {
	if _, err := s.Store.Put(ctx, key, data, o); err != nil {
		return blob.Info{}, err
	}
	return s.Store.Put(ctx, key, data, o)
}

func FuzzDecode(f *testing.F) {
	e := &Entry{Repository: repository, Author: author, Seq: 1, Time: now}
	b, err := e.Encode(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(Sign([]byte(`{"schema":2}`), key))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b, nil)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		if e.Seq == 0 || e.Schema != Schema || e.Hash != sum(b) {
			t.Fatalf("%+v", e)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(Key(author, 1))
	f.Add("journal/a/99999999999999999999")
	f.Fuzz(func(t *testing.T, k string) {
		if a, n, ok := ParseKey(k); ok && (Key(a, n) != k || n == 0 || a == "") {
			t.Fatal(a, n)
		}
	})
}

// Package blobtest is the suite that each blob.Store passes.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/repo/blob"
)

// Options describe the Store under test.
type Options struct {
	// New makes an empty place and returns a function that opens it: each result
	// of that is another machine's view of the same place.
	New func(t *testing.T) func() blob.Store

	// Objects is how many the test of listings writes; 400 if zero.
	Objects int
	// Large is the size of large objects; 5 MiB and a bit if zero.
	Large int
	// Racers is how many put the same object at once; 8 if zero.
	Racers int
	// Replaces says that the place may replace an object when two are put at the same
	// moment: a server that does not know conditional writes.
	Replaces bool
	// Tombstones says that an object that was deleted cannot be put again, as with servers
	// that take a delete marker for an object.
	Tombstones bool
	// Retains says that RetainUntil is honoured. Otherwise it must be refused.
	Retains bool
	// Secrets must not appear in a location or an error.
	Secrets []string
}

// Run runs the suite.
func Run(t *testing.T, o Options) {
	if o.Objects == 0 {
		o.Objects = 400
	}
	if o.Large == 0 {
		o.Large = 5<<20 + 7
	}
	if o.Racers == 0 {
		o.Racers = 8
	}
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"RoundTrip", (*suite).roundTrip},
		{"Ranges", (*suite).ranges},
		{"Missing", (*suite).missing},
		{"Keys", (*suite).keys},
		{"BadKeys", (*suite).badKeys},
		{"Exists", (*suite).exists},
		{"Race", (*suite).race},
		{"Delete", (*suite).delete},
		{"Prefixes", (*suite).prefixes},
		{"Order", (*suite).order},
		{"ListWhileChanging", (*suite).listWhileChanging},
		{"Times", (*suite).times},
		{"Large", (*suite).large},
		{"WholeOrAbsent", (*suite).wholeOrAbsent},
		{"TooLarge", (*suite).tooLarge},
		{"Cancelled", (*suite).cancelled},
		{"Concurrent", (*suite).concurrent},
		{"Retain", (*suite).retain},
		{"OwnBytes", (*suite).ownBytes},
		{"Location", (*suite).location},
	} {
		t.Run(c.name, func(t *testing.T) {
			open := o.New(t)
			c.test(&suite{T: t, o: o, ctx: t.Context(), s: open(), other: open()})
		})
	}
}

// suite is one test: two views of one empty place.
type suite struct {
	*testing.T
	o        Options
	ctx      context.Context
	s, other blob.Store
}

func (t *suite) put(key string, data []byte) blob.Info {
	t.Helper()
	i, err := t.s.Put(t.ctx, key, data, blob.PutOptions{})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	if i.Key != key || i.Size != int64(len(data)) || i.Time.IsZero() {
		t.Errorf("put %s: %+v", key, i)
	}
	return i
}

// holds wants data under key, as both views have it.
func (t *suite) holds(key string, data []byte) {
	t.Helper()
	for _, s := range []blob.Store{t.s, t.other} {
		b, err := s.Get(t.ctx, key, 0, -1)
		if err != nil || !bytes.Equal(b, data) {
			t.Errorf("get %s: %d bytes, %v; want %d bytes", key, len(b), err, len(data))
		}
		if i, err := s.Stat(t.ctx, key); err != nil || i.Key != key || i.Size != int64(len(data)) {
			t.Errorf("stat %s: %+v, %v", key, i, err)
		}
	}
}

func (t *suite) absent(key string) {
	t.Helper()
	for _, s := range []blob.Store{t.s, t.other} {
		if _, err := s.Get(t.ctx, key, 0, -1); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("get %s: %v, want ErrNotFound", key, err)
		}
		if _, err := s.Stat(t.ctx, key); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("stat %s: %v, want ErrNotFound", key, err)
		}
	}
}

func (t *suite) list(prefix string) []string {
	t.Helper()
	keys := []string{}
	for i, err := range t.s.List(t.ctx, prefix) {
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		keys = append(keys, i.Key)
	}
	return keys
}

// text is random, but the same for the same seed.
func text(seed uint64, n int) []byte {
	var s [32]byte
	copy(s[:], fmt.Sprint(seed))
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

func (t *suite) roundTrip() {
	for n, size := range []int{0, 1, 511, 512, 513, 65536, 100_001} {
		key := fmt.Sprintf("round/trip-%d", n)
		data := text(uint64(n), size)
		put := t.put(key, data)
		t.holds(key, data)
		if i, err := t.other.Stat(t.ctx, key); err != nil || i != put {
			t.Errorf("stat says %+v, %v, and put said %+v", i, err, put)
		}
	}
}

func (t *suite) ranges() {
	data := text(1, 1000)
	t.put("r/full", data)
	t.put("r/empty", nil)
	for _, c := range []struct {
		key    string
		off, n int64
		want   []byte
		err    error
	}{
		{"r/full", 0, 1000, data, nil},
		{"r/full", 0, -1, data, nil},
		{"r/full", 0, 1, data[:1], nil},
		{"r/full", 999, 1, data[999:], nil},
		{"r/full", 500, -1, data[500:], nil},
		{"r/full", 500, -77, data[500:], nil},
		{"r/full", 500, 100, data[500:600], nil},
		{"r/full", 0, 0, nil, nil},
		{"r/full", 1000, 0, nil, nil},
		{"r/full", 1000, -1, nil, nil},
		{"r/full", 0, 1001, nil, blob.ErrShort},
		{"r/full", 999, 2, nil, blob.ErrShort},
		{"r/full", 1000, 1, nil, blob.ErrShort},
		{"r/full", 1001, 0, nil, blob.ErrShort},
		{"r/full", 1001, -1, nil, blob.ErrShort},
		{"r/full", 1 << 62, 1, nil, blob.ErrShort},
		{"r/full", 1 << 62, -1, nil, blob.ErrShort},
		{"r/empty", 0, -1, nil, nil},
		{"r/empty", 0, 0, nil, nil},
		{"r/empty", 0, 1, nil, blob.ErrShort},
		{"r/empty", 1, -1, nil, blob.ErrShort},
		{"r/none", 0, -1, nil, blob.ErrNotFound},
		{"r/none", 0, 0, nil, blob.ErrNotFound},
		{"r/none", 5, 5, nil, blob.ErrNotFound},
		{"r/none", 5, -1, nil, blob.ErrNotFound},
	} {
		b, err := t.s.Get(t.ctx, c.key, c.off, c.n)
		if !errors.Is(err, c.err) || !bytes.Equal(b, c.want) {
			t.Errorf("get %s, %d from %d on: %d bytes, %v; want %d, %v", c.key, c.n, c.off, len(b), err, len(c.want), c.err)
		}
	}
	if b, err := t.s.Get(t.ctx, "r/full", -1, 1); err == nil {
		t.Errorf("get from -1 on: %d bytes", len(b))
	}
}

func (t *suite) missing() {
	if keys := t.list(""); len(keys) != 0 {
		t.Fatalf("an empty place lists %q", keys)
	}
	t.put("m/there", []byte("x"))
	for _, key := range []string{"m/not", "m/ther", "m/there2", "m", "n", "m/there/in"} {
		t.absent(key)
	}
	if err := t.s.Delete(t.ctx, "m/not"); err != nil {
		t.Errorf("delete of a missing object: %v", err)
	}
	if err := t.s.Delete(t.ctx, "nodir/not"); err != nil {
		t.Errorf("delete in a missing directory: %v", err)
	}
	t.holds("m/there", []byte("x"))
}

func (t *suite) keys() {
	e := strings.Repeat("0123456789abcdef", 8)
	for _, key := range []string{
		"a", "0", "-", "_x", "k.json", "a..b", "a-b_c.d/e", e, "x/" + e + "/x", "q/" + e + "/" + e + "/" + e + "/" + e[:100],
		"deep/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20", "aux/con/nul/com1.txt", "--/--",
	} {
		t.put(key, []byte(key))
		t.holds(key, []byte(key))
	}
}

func (t *suite) badKeys() {
	t.put("a/b", []byte("x"))
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".a", "a/.b", "a.", "a./b", "A", "a b", "a\\b", "a:b", "a\x00b", "ä",
		"a\nb", "%41", "a?b", "a*", strings.Repeat("x", 129), strings.Repeat("abc/", 128) + "z",
	} {
		if _, err := t.s.Put(t.ctx, key, []byte("x"), blob.PutOptions{}); !errors.Is(err, blob.ErrKey) {
			t.Errorf("put %q: %v", key, err)
		}
		if _, err := t.s.Get(t.ctx, key, 0, -1); !errors.Is(err, blob.ErrKey) {
			t.Errorf("get %q: %v", key, err)
		}
		if _, err := t.s.Stat(t.ctx, key); !errors.Is(err, blob.ErrKey) {
			t.Errorf("stat %q: %v", key, err)
		}
		if err := t.s.Delete(t.ctx, key); !errors.Is(err, blob.ErrKey) {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	for _, prefix := range []string{"/", "../", "..", ".", "A", "a//", "a/.", "a\\", "a\x00", strings.Repeat("x", 129)} {
		n := 0
		for _, err := range t.s.List(t.ctx, prefix) {
			if n++; !errors.Is(err, blob.ErrKey) {
				t.Errorf("list %q: %v", prefix, err)
			}
		}
		if n != 1 {
			t.Errorf("list %q: yields %d times", prefix, n)
		}
	}
	if keys := t.list(""); len(keys) != 1 {
		t.Errorf("there is %q", keys)
	}
}

func (t *suite) exists() {
	first := t.put("e/x", []byte("first"))
	for _, data := range [][]byte{[]byte("second"), []byte("first"), nil} {
		if _, err := t.other.Put(t.ctx, "e/x", data, blob.PutOptions{}); !errors.Is(err, blob.ErrExists) {
			t.Errorf("put again: %v, want ErrExists", err)
		}
	}
	t.holds("e/x", []byte("first"))
	if i, err := t.s.Stat(t.ctx, "e/x"); err != nil || i != first {
		t.Errorf("stat: %+v, %v; it was %+v", i, err, first)
	}
	t.put("e/empty", nil)
	if _, err := t.s.Put(t.ctx, "e/empty", []byte("x"), blob.PutOptions{}); !errors.Is(err, blob.ErrExists) {
		t.Errorf("put over an empty object: %v, want ErrExists", err)
	}
	t.holds("e/empty", nil)
}

func (t *suite) delete() {
	t.put("d/a", []byte("a"))
	t.put("d/b", []byte("b"))
	if err := t.other.Delete(t.ctx, "d/a"); err != nil {
		t.Fatal(err)
	}
	t.absent("d/a")
	t.holds("d/b", []byte("b"))
	if err := t.s.Delete(t.ctx, "d/a"); err != nil {
		t.Errorf("delete twice: %v", err)
	}
	if t.o.Tombstones {
		if _, err := t.s.Put(t.ctx, "d/a", []byte("again"), blob.PutOptions{}); !errors.Is(err, blob.ErrExists) {
			t.Errorf("put of what was deleted: %v; it is no longer refused", err)
		}
	} else {
		t.put("d/a", []byte("again"))
		t.holds("d/a", []byte("again"))
	}
	for _, key := range []string{"d/a", "d/b"} {
		if err := t.s.Delete(t.ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if keys := t.list(""); len(keys) != 0 {
		t.Errorf("left %q", keys)
	}
	if t.o.Tombstones {
		return // versitygw cannot put a marker where it has a directory
	}
	t.put("d/c", nil)
	if err := t.s.Delete(t.ctx, "d"); err != nil {
		t.Errorf("delete of what is only a directory: %v", err)
	}
	t.holds("d/c", nil)
}

func (t *suite) times() {
	var last time.Time
	for n := range 20 {
		key := fmt.Sprintf("t/%d", 19-n) // not the order of listing
		i := t.put(key, []byte("x"))
		if i.Time.Before(last) {
			t.Errorf("%s, %v: before its forerunner, %v", key, i.Time, last)
		}
		last = i.Time
		if j, err := t.other.Stat(t.ctx, key); err != nil || !j.Time.Equal(i.Time) {
			t.Errorf("put at %v, stat %v, %v", i.Time, j.Time, err)
		}
	}
	i, err := t.s.Put(t.ctx, "t/untimed", []byte("x"), blob.PutOptions{Untimed: true})
	if j, serr := t.other.Stat(t.ctx, "t/untimed"); err != nil || serr != nil || i.Key != j.Key || i.Size != j.Size || j.Time.IsZero() || !i.Time.IsZero() && i != j {
		t.Errorf("put without its time: %+v, %v; stat %+v, %v", i, err, j, serr)
	}
	for i, err := range t.other.List(t.ctx, "t/") {
		if err != nil {
			t.Fatal(err)
		}
		if j, err := t.s.Stat(t.ctx, i.Key); err != nil || j != i {
			t.Errorf("listed %+v, stat %+v, %v", i, j, err)
		}
	}
}

func (t *suite) retain() {
	until := time.Now().Add(time.Hour)
	_, err := t.s.Put(t.ctx, "l/kept", []byte("x"), blob.PutOptions{RetainUntil: until})
	if !t.o.Retains {
		if !errors.Is(err, blob.ErrUnsupported) {
			t.Errorf("put: %v, want ErrUnsupported", err)
		}
		t.absent("l/kept")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.holds("l/kept", []byte("x"))
	if _, err := t.s.Put(t.ctx, "l/kept", []byte("y"), blob.PutOptions{}); !errors.Is(err, blob.ErrExists) {
		t.Errorf("put over it: %v", err)
	}
	t.holds("l/kept", []byte("x"))
}

// ownBytes: neither side may see the other's later changes of a slice.
func (t *suite) ownBytes() {
	data := []byte("original")
	t.put("o/x", data)
	copy(data, "changed!")
	got, err := t.s.Get(t.ctx, "o/x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "original" {
		t.Errorf("the store kept the caller's slice: %q", got)
	}
	copy(got, "changed!")
	t.holds("o/x", []byte("original"))
}

func (t *suite) location() {
	texts := []string{t.s.Location()}
	if texts[0] == "" {
		t.Error("no location")
	}
	_, err := t.s.Get(t.ctx, "no/such", 0, -1)
	texts = append(texts, err.Error())
	done, cancel := context.WithCancel(t.ctx)
	cancel()
	if _, err := t.s.Stat(done, "no/such"); err != nil {
		texts = append(texts, err.Error())
	}
	for _, s := range texts {
		for n, secret := range t.o.Secrets {
			if strings.Contains(s, secret) {
				t.Errorf("secret %d is in %q", n+1, strings.ReplaceAll(s, secret, "***"))
			}
		}
	}
}

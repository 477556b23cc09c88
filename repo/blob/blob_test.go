package blob_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/mem"
	"github.com/certkeep/certkeep/repo/blob/readonly"
)

// TestPrefixes: what is left of a key that is cut off anywhere is a prefix, and
// what cannot be made a key is none.
func TestPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[a-z0-9_-]([a-z0-9._-]{0,126}[a-z0-9_-])?(/[a-z0-9_-]([a-z0-9._-]{0,40}[a-z0-9_-])?){0,4}`).Draw(t, "key")
		if err := blob.ValidateKey(key); err != nil {
			t.Fatal(err)
		}
		cut := rapid.IntRange(0, len(key)).Draw(t, "cut")
		if err := blob.ValidatePrefix(key[:cut]); err != nil {
			t.Fatal(err)
		}
		s := rapid.StringOfN(rapid.SampledFrom([]rune("a./-")), 0, 6, -1).Draw(t, "s")
		can := blob.ValidatePrefix(s) == nil
		if could := s == "" || blob.ValidateKey(s) == nil || blob.ValidateKey(s+"x") == nil; can != could {
			t.Fatalf("%q: a prefix: %v, can become a key: %v", s, can, could)
		}
	})
}

func FuzzValidateKey(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "a//b", "../a", "a/..", "a.", ".a", "A", "a\x00", strings.Repeat("a/", 255) + "a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		err := blob.ValidateKey(key)
		valid := key != "" && len(key) <= 512
		for e := range strings.SplitSeq(key, "/") {
			valid = valid && e != "" && len(e) <= 128 && e[0] != '.' && e[len(e)-1] != '.' &&
				strings.Trim(e, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
			for _, c := range []byte(e) {
				valid = valid && strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789-_.", c) >= 0
			}
		}
		if valid != (err == nil) {
			t.Errorf("%q: %v, want valid: %v", key, err, valid)
		}
		if err != nil && !errors.Is(err, blob.ErrKey) {
			t.Errorf("%q: %v", key, err)
		}
	})
}

func TestSpan(t *testing.T) {
	const most = 1<<63 - 1
	for _, c := range []struct {
		size, off, n, want int64
		err                error
	}{
		{10, 0, -1, 10, nil},
		{10, 4, 6, 6, nil},
		{10, 4, 7, 0, blob.ErrShort},
		{10, 11, -1, 0, blob.ErrShort},
		{10, most, most, 0, blob.ErrTooLarge},
		{10, most, 1, 0, blob.ErrShort},
		{most, 0, -1, 0, blob.ErrTooLarge},
		{most, most - 5, -1, 5, nil},
		{blob.MaxSize + 1, 0, blob.MaxSize, blob.MaxSize, nil},
	} {
		if n, err := blob.Span("k", c.size, c.off, c.n); n != c.want || !errors.Is(err, c.err) {
			t.Errorf("%d from %d on of %d: %d, %v; want %d, %v", c.n, c.off, c.size, n, err, c.want, c.err)
		}
	}
	if _, err := blob.Span("k", 10, -1, 1); err == nil {
		t.Error("a negative offset passes")
	}
}

type checked struct{ blob.Store }

func (checked) Check(context.Context) ([]blob.Finding, error) {
	return []blob.Finding{{Code: "permissions", OK: true}}, nil
}

func TestCheck(t *testing.T) {
	if f, err := blob.Check(t.Context(), readonly.New(readonly.New(checked{mem.New()}))); err != nil || len(f) != 1 {
		t.Errorf("through two wrappers: %v, %v", f, err)
	}
	if f, err := blob.Check(t.Context(), readonly.New(mem.New())); err != nil || f != nil {
		t.Errorf("nobody knows: %v, %v", f, err)
	}
}

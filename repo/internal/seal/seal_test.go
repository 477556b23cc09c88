package seal

import (
	"bytes"
	"errors"
	"testing"

	"filippo.io/age"
	"pgregory.net/rapid"
)

func newKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	k, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What is sealed opens with its key, and with no other; whichever byte is changed, it does not open.
func TestSeal(t *testing.T) {
	key, other := newKey(t), newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plain"), rapid.IntRange(1, 30).Draw(t, "times"))
		b, err := Seal(plain, key.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Open(b, LimitSmall, other, key); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes instead of %d, %v", len(got), len(plain), err)
		}
		if _, err := Open(b, LimitSmall, other); !errors.Is(err, ErrKey) {
			t.Fatalf("another key: %v", err)
		}
		if _, err := Open(b, LimitSmall); !errors.Is(err, ErrKey) {
			t.Fatalf("no key: %v", err)
		}
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got, err := Open(b, LimitSmall, key); err == nil {
			t.Fatalf("byte %d of %d changed: %q", at, len(b), got)
		}
		if _, err := Open(b[:at], LimitSmall, key); err == nil {
			t.Fatalf("cut to %d bytes", at)
		}
	})
}

// A small object does not unfold into more than it may.
func TestLimit(t *testing.T) {
	key := newKey(t)
	for _, size := range []int{LimitSmall, LimitSmall + 1, 50 * LimitSmall} {
		b, err := Seal(make([]byte, size), key.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 100<<10 {
			t.Errorf("%d bytes of zeros take %d", size, len(b))
		}
		_, err = Open(b, LimitSmall, key)
		if ok := size <= LimitSmall; (err == nil) != ok || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	// Frames one behind another count together.
	frame := Compress(make([]byte, LimitSmall/2+1), nil)
	if _, err := Expand(append(bytes.Clone(frame), frame...), LimitSmall); !errors.Is(err, ErrDamaged) {
		t.Errorf("two frames: %v", err)
	}
}

func TestNotSealed(t *testing.T) {
	key := newKey(t)
	for _, b := range []string{"", "hello", "age-encryption.org/v1\n", "age-encryption.org/v2\n-> X25519 AAAA\n"} {
		if _, err := Open([]byte(b), LimitSmall, key); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	key, err := age.ParseX25519Identity("AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX")
	if err != nil {
		f.Fatal(err)
	}
	b, err := Seal([]byte("hello"), key.Recipient())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("age-encryption.org/v1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := Open(b, LimitSmall, key); err != nil && !errors.Is(err, ErrKey) && !errors.Is(err, ErrDamaged) || int64(len(got)) > LimitSmall {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}

func FuzzExpand(f *testing.F) {
	f.Add(Compress([]byte("hello, hello, hello"), nil))
	f.Add(Compress(make([]byte, 2*LimitSmall), nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Expand(b, LimitSmall)
		if err != nil && !errors.Is(err, ErrDamaged) || int64(len(got)) > LimitSmall {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}

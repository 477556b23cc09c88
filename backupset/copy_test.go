package backupset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func TestCopy(t *testing.T) {
	for _, size := range []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, 9*bufferSize + 5} {
		src := random(size)
		sum := sha256.Sum256(src)
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(src), "data with EOF": iotest.DataErrReader(bytes.NewReader(src)), "half": iotest.HalfReader(bytes.NewReader(src)),
		} {
			var dst bytes.Buffer
			n, got, err := Copy(t.Context(), &dst, r)
			if err != nil || n != int64(size) || got != hex.EncodeToString(sum[:]) || !bytes.Equal(dst.Bytes(), src) {
				t.Errorf("%d bytes, %s: %d, %s, %v", size, name, n, got, err)
			}
		}
	}
}

// limited fails once it has taken max bytes.
type limited struct {
	max int
	err error
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.max)
	l.max -= n
	if n < len(p) {
		return n, l.err
	}
	return n, nil
}

func TestCopyFails(t *testing.T) {
	boom := errors.New("boom")
	src := random(5*bufferSize + 1)
	for _, want := range []error{boom, io.ErrUnexpectedEOF} {
		// A source that ends in an error is not a source that ends.
		n, sum, err := Copy(t.Context(), io.Discard, io.MultiReader(bytes.NewReader(src), iotest.ErrReader(want)))
		if !errors.Is(err, want) || sum != "" || n != int64(len(src)) {
			t.Errorf("reading: %d, %q, %v; want %v", n, sum, err, want)
		}
	}
	if n, sum, err := Copy(t.Context(), &limited{2*bufferSize + 7, boom}, bytes.NewReader(src)); !errors.Is(err, boom) || sum != "" || n != 2*bufferSize+7 {
		t.Errorf("writing: %d, %q, %v", n, sum, err)
	}
	if _, sum, err := Copy(t.Context(), &limited{7, nil}, bytes.NewReader(src)); !errors.Is(err, io.ErrShortWrite) || sum != "" {
		t.Errorf("short write: %q, %v", sum, err)
	}
	if _, _, err := Copy(t.Context(), io.Discard, idle{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("idle source: %v", err)
	}
}

// TestCopyPanics: a panic passes through; it does not hang.
func TestCopyPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"reading": func() {
			reads := 0
			_, _, _ = Copy(t.Context(), io.Discard, readerFunc(func(p []byte) (int, error) {
				if reads++; reads == 7 {
					panic("reading")
				}
				return len(p), nil
			}))
		},
		"writing": func() { _, _, _ = Copy(t.Context(), panicWriter{}, bytes.NewReader(random(3*bufferSize))) },
	} {
		func() {
			defer func() {
				if r := recover(); r != name {
					t.Errorf("%s: recovered %v", name, r)
				}
			}()
			f()
		}()
	}
}

type panicWriter struct{}

func (panicWriter) Write([]byte) (int, error) { panic("writing") }

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// TestCopyStops: cancelled after the second buffer, it reads no third.
func TestCopyStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reads := 0
	src := readerFunc(func(p []byte) (int, error) {
		if reads++; reads == 2 {
			cancel()
		}
		return len(p), nil
	})
	if n, sum, err := Copy(ctx, io.Discard, src); !errors.Is(err, context.Canceled) || n != 2*bufferSize || sum != "" || reads != 2 {
		t.Errorf("%d bytes, %q, %v, %d reads", n, sum, err, reads)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func BenchmarkCopy(b *testing.B) {
	src := random(64 << 20)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if _, _, err := Copy(b.Context(), io.Discard, bytes.NewReader(src)); err != nil {
			b.Fatal(err)
		}
	}
}

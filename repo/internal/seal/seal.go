// Package seal makes the sealed objects of a repository: age over zstd, so that
//
//	age -d -i KEY < object | zstd -d
//
// opens one. Nothing else in a repository is encrypted.
package seal

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// ErrKey: none of the keys at hand opens the object.
var ErrKey = errors.New("none of the keys at hand opens it")

// ErrDamaged: the object is not what was sealed.
var ErrDamaged = errors.New("damaged")

// Overhead is more than what sealing adds to incompressible bytes, for the first
// mebibyte.
const Overhead = 4096

var encoder = sync.OnceValue(func() *zstd.Encoder {
	// The callers are the parallelism. More of them than cores would not be faster, and each takes about
	// three mebibytes, which stay: all are used in turn.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithWindowSize(1<<20),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)) // age has a stronger check
	if err != nil {
		panic(err) // the options are constants
	}
	return e
})

// decoders by how much they may produce, so that a small object cannot unfold into
// a large one.
var decoders sync.Map // int64 → *zstd.Decoder

func decoder(limit int64) (*zstd.Decoder, error) {
	if d, ok := decoders.Load(limit); ok {
		return d.(*zstd.Decoder), nil
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(uint64(limit)))
	if err != nil {
		return nil, err
	}
	kept, _ := decoders.LoadOrStore(limit, d)
	return kept.(*zstd.Decoder), nil
}

// Compress is the inner half of [Seal].
func Compress(plain, dst []byte) []byte { return encoder().EncodeAll(plain, dst) }

// Sealer seals one object after another in the same memory. It is for one goroutine; its zero
// value is ready for use.
type Sealer struct {
	packed []byte
	sealed bytes.Buffer
}

// Seal compresses and encrypts. What it returns is good until the next call.
func (s *Sealer) Seal(plain []byte, to ...age.Recipient) ([]byte, error) {
	s.packed = Compress(plain, slices.Grow(s.packed[:0], len(plain)+len(plain)/255+64))
	s.sealed.Reset()
	if err := encrypt(&s.sealed, s.packed, to); err != nil {
		return nil, err
	}
	return s.sealed.Bytes(), nil
}

// Seal compresses and encrypts.
func Seal(plain []byte, to ...age.Recipient) ([]byte, error) { return new(Sealer).Seal(plain, to...) }

// Encrypt only encrypts: for what is to be opened with age alone.
func Encrypt(plain []byte, to ...age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	if err := encrypt(&b, plain, to); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func encrypt(b *bytes.Buffer, plain []byte, to []age.Recipient) error {
	b.Grow(len(plain) + len(plain)/4096 + Overhead)
	w, err := age.Encrypt(b, to...)
	if err != nil {
		return err
	}
	if _, err := w.Write(plain); err != nil {
		return err
	}
	return w.Close()
}

// Limits of the bounds that [Open] is given.
const (
	LimitSmall   = 1 << 20
	LimitSegment = 4 << 20
	LimitLarge   = 96 << 20
)

// Open undoes [Seal]. What unfolds to more than limit, one of the constants, is
// damaged.
func Open(sealed []byte, limit int64, keys ...age.Identity) ([]byte, error) {
	return new(Opener).Open(sealed, nil, limit, keys...)
}

// Opener opens one object after another in the same memory. It is for one goroutine; its zero
// value is ready for use.
type Opener struct{ packed []byte }

// Open is that of the package, in the memory that dst has.
func (o *Opener) Open(sealed, dst []byte, limit int64, keys ...age.Identity) (_ []byte, err error) {
	if o.packed, err = decrypt(sealed, o.packed[:0], keys); err != nil {
		return nil, err
	}
	return expand(o.packed, dst[:0], limit)
}

// Decrypt undoes [Encrypt].
func Decrypt(sealed []byte, keys ...age.Identity) ([]byte, error) { return decrypt(sealed, nil, keys) }

func decrypt(sealed, dst []byte, keys []age.Identity) ([]byte, error) {
	if len(keys) == 0 {
		return nil, ErrKey
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), keys...)
	var no *age.NoIdentityMatchError
	switch {
	case errors.As(err, &no):
		return nil, ErrKey
	case err != nil:
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	b := bytes.NewBuffer(slices.Grow(dst, len(sealed)+bytes.MinRead)) // with room for the last read, which gets nothing
	if _, err := b.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return b.Bytes(), nil
}

// Expand undoes [Compress].
func Expand(packed []byte, limit int64) ([]byte, error) { return expand(packed, nil, limit) }

func expand(packed, dst []byte, limit int64) ([]byte, error) {
	d, err := decoder(limit)
	if err != nil {
		return nil, err
	}
	var size int
	var h zstd.Header
	if err := h.Decode(packed); err == nil && h.HasFCS && h.FrameContentSize <= uint64(limit) {
		size = int(h.FrameContentSize)
	}
	plain, err := d.DecodeAll(packed, slices.Grow(dst, size))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if int64(len(plain)) > limit {
		return nil, fmt.Errorf("%w: unfolds to %d bytes", ErrDamaged, len(plain))
	}
	return plain, nil
}

package ese

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/certkeep/certkeep/ese/internal/seed"
	"pgregory.net/rapid"
)

// randomPage is a sealed page of random contents.
func randomPage(size int, number uint32) []byte {
	r := rand.New(rand.NewPCG(uint64(size), uint64(number)))
	b := make([]byte, size)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return seed.Seal(b, number, false)
}

func TestChecksumsAgainstTheDescription(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{1024, 2048, 4096, 8192}).Draw(t, "size")
		b := make([]byte, size)
		// Few bits show which are mixed up, many that none is left out.
		for range rapid.IntRange(0, 40).Draw(t, "bits") {
			bit := rapid.IntRange(0, 8*size-1).Draw(t, "bit")
			b[bit/8] ^= 1 << (bit % 8)
		}
		if rapid.Bool().Draw(t, "full") {
			copy(b, randomPage(max(size, 2048), 3))
		}
		page, first := rapid.Uint32().Draw(t, "page"), rapid.Bool().Draw(t, "first")
		if got, want := blockChecksum(b, page, first), seed.Block(b, page, first); got != want {
			t.Fatalf("%016x, want %016x", got, want)
		}
		if got, want := xorChecksum(b), seed.XOR(b); got != want {
			t.Fatalf("%08x, want %08x", got, want)
		}
	})
}

// TestEveryBitOfAPage flips each one alone.
func TestEveryBitOfAPage(t *testing.T) {
	for _, size := range []int{2048, 4096, 8192, 16384, 32768} {
		page := randomPage(size, 77)
		if c := CheckPage(page, 77); c.Verdict != PageGood || c.Err() != nil {
			t.Fatalf("%d: %+v", size, c)
		}
		b := bytes.Clone(page)
		step := 1
		if size >= 8192 {
			step = 13 // prime to all that matters
		}
		for bit := 0; bit < 8*size; bit += step {
			b[bit/8] ^= 1 << (bit % 8)
			c := CheckPage(b, 77)
			switch {
			case bit < 32 && c.Verdict == PageMisplaced && size <= 8192: // as if it were another page
				if c.Claims != 77^1<<bit {
					t.Fatalf("%d: bit %d: %+v", size, bit, c)
				}
			case bit < 64 || bit == flagNewChecksumBit:
				if c.Verdict != PageBad {
					t.Fatalf("%d: bit %d: %+v", size, bit, c)
				}
			default:
				if c.Verdict != PageCorrectable || len(c.Bits) != 1 || c.Bits[0] != bit || !bytes.Equal(c.Correct(b), page) {
					t.Fatalf("%d: bit %d: %+v", size, bit, c)
				}
			}
			if (c.Verdict == PageCorrectable) != (c.Err() == nil) || c.Err() != nil && !errors.Is(c.Err(), ErrChecksum) {
				t.Fatalf("%d: bit %d: %v", size, bit, c.Err())
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// TestSeveralBits: two wrong bits of a block are never taken for one, nor for none;
// one in each block of a large page can be corrected.
func TestSeveralBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{4096, 8192, 16384, 32768}).Draw(t, "size")
		page := randomPage(size, 5)
		b := bytes.Clone(page)
		n := blockSize(size)
		block := rapid.IntRange(0, size/n-1).Draw(t, "block")
		first := rapid.IntRange(0, 8*n-1).Draw(t, "first")
		second := rapid.IntRange(0, 8*n-1).Filter(func(i int) bool { return i != first }).Draw(t, "second")
		for _, bit := range []int{first, second} {
			bit += 8 * n * block
			b[bit/8] ^= 1 << (bit % 8)
		}
		if c := CheckPage(b, 5); c.Verdict != PageBad && c.Verdict != PageMisplaced {
			t.Fatalf("bits %d and %d: %+v", first, second, c)
		}
	})
	// Bits 15 and 31 of the code are not used in pages of 4 KiB.
	for _, unused := range []int{47, 63} {
		b := randomPage(4096, 5)
		for _, bit := range []int{unused, 4711} {
			b[bit/8] ^= 1 << (bit % 8)
		}
		if c := CheckPage(b, 5); c.Verdict != PageBad {
			t.Errorf("bits %d and 4711: %+v", unused, c)
		}
	}
	page := randomPage(32768, 5)
	b := bytes.Clone(page)
	want := []int{999, 8*8192 + 1, 2*8*8192 + 65535, 3*8*8192 + 4711}
	for _, bit := range want {
		b[bit/8] ^= 1 << (bit % 8)
	}
	if c := CheckPage(b, 5); c.Verdict != PageCorrectable || len(c.Bits) != 4 || c.Bits[3] != want[3] || !bytes.Equal(c.Correct(b), page) {
		t.Errorf("%+v", c)
	}
}

func TestMisplacedAndUnusedPages(t *testing.T) {
	for _, size := range []int{4096, 32768} {
		if c := CheckPage(randomPage(size, 3), 9); c.Verdict != PageMisplaced || c.Claims != 3 || c.Offset != 10*int64(size) {
			t.Errorf("%d: %+v", size, c)
		}
		empty := make([]byte, size)
		if c := CheckPage(empty, 9); c.Verdict != PageUnused || c.Err() != nil {
			t.Errorf("%d: %+v", size, c)
		}
		for bit := 0; bit < 8*size; bit += size / 4096 {
			empty[bit/8] ^= 1 << (bit % 8)
			if c := CheckPage(empty, 9); c.Err() == nil {
				t.Fatalf("%d: bit %d: %+v", size, bit, c)
			}
			empty[bit/8] = 0
		}
	}
	for _, size := range []int{0, 1, 40, 4095, 65536} {
		if c := CheckPage(make([]byte, size), 1); c.Verdict != PageBad {
			t.Errorf("%d bytes: %+v", size, c)
		}
	}
}

func TestPagesOfTheOldFormat(t *testing.T) {
	page := seed.Seal(randomPage(4096, 12), 12, true)
	if c := CheckPage(page, 12); c.Verdict != PageGood {
		t.Errorf("%+v", c)
	}
	if c := CheckPage(seed.Seal(bytes.Clone(page), 3, true), 12); c.Verdict != PageMisplaced || c.Claims != 3 {
		t.Errorf("%+v", c)
	}
	for bit := range 8 * len(page) {
		page[bit/8] ^= 1 << (bit % 8)
		if c := CheckPage(page, 12); c.Err() == nil {
			t.Fatalf("bit %d: %+v", bit, c)
		}
		page[bit/8] ^= 1 << (bit % 8)
	}
	if c := CheckPage(seed.Seal(make([]byte, 16384), 12, true), 12); c.Verdict != PageBad {
		t.Errorf("no large page has the old checksum: %+v", c)
	}
}

// TestLocate: what differs must look as it does after one bit.
func TestLocate(t *testing.T) {
	const n = 4096
	const bit = 12345
	low := uint64(bit)
	d := (low|(^low&(8*n-1))<<16)<<32 | 1<<(bit%32)
	if got, ok := locate(0, d, n); !ok || got != bit {
		t.Errorf("%d, %v", got, ok)
	}
	for what, d := range map[string]uint64{
		"nothing":            0,
		"another bit of sum": d ^ 3<<(bit%32),
		"two bits of sum":    d ^ 1<<((bit+1)%32),
		"no bit of sum":      d ^ 1<<(bit%32),
		"code":               d ^ 1<<40,
	} {
		if got, ok := locate(0, d, n); ok {
			t.Errorf("%s: %d", what, got)
		}
	}
}

// TestMarkOfTheChecksum: the bit that says which checksum a page has is never
// corrected, however well it fits.
func TestMarkOfTheChecksum(t *testing.T) {
	page := randomPage(4096, 8)
	page[flagNewChecksumBit/8] &^= 1 << (flagNewChecksumBit % 8)
	le.PutUint64(page, seed.Block(page, 8, true))
	page[flagNewChecksumBit/8] |= 1 << (flagNewChecksumBit % 8)
	if c := CheckPage(page, 8); c.Verdict != PageBad {
		t.Errorf("%+v", c)
	}
}

package esetest

import (
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// The functions below damage files in memory, as disks, controllers and people do.

// FlipBit turns one bit over.
func FlipBit(b []byte, bit int64) { b[bit/8] ^= 1 << (bit % 8) }

// PageOf is a page of a database.
func PageOf(b []byte, pageSize int, number uint32) []byte {
	return b[(int64(number)+1)*int64(pageSize):][:pageSize]
}

// SwapPages writes two pages in each other's place.
func SwapPages(b []byte, pageSize int, m, n uint32) {
	p, q := PageOf(b, pageSize, m), PageOf(b, pageSize, n)
	for i := range p {
		p[i], q[i] = q[i], p[i]
	}
}

// StalePage makes a page what it was before its last change: with an older count of
// changes, another flush type, and without its last node. Its checksum is right.
func StalePage(b []byte, pageSize int, number uint32, old bool) error {
	p := PageOf(b, pageSize, number)
	tags := le.Uint16(p[34:])
	if tags&0x0fff < 2 || le.Uint64(p[8:]) == 0 {
		return fmt.Errorf("page %d has no node", number)
	}
	last := p[pageSize-4*int(tags&0x0fff):]
	size := le.Uint16(last) & 0x7fff
	clear(last[:4])
	le.PutUint64(p[8:], le.Uint64(p[8:])-1)
	le.PutUint16(p[28:], le.Uint16(p[28:])+size+4)
	le.PutUint16(p[32:], le.Uint16(p[32:])-size)
	le.PutUint16(p[34:], tags-1)
	le.PutUint32(p[36:], le.Uint32(p[36:])^0x18000)
	SealPage(p, number, old)
	return nil
}

// LoseWrite makes a page what it was before it was written for the first time.
func LoseWrite(b []byte, pageSize int, number uint32) { clear(PageOf(b, pageSize, number)) }

// EditHeader changes the header of a database or checkpoint, both copies of size
// bytes, and gives them right checksums.
func EditHeader(b []byte, size int, edit func(h []byte)) {
	for _, h := range [][]byte{b[:size], b[size : 2*size]} {
		edit(h)
		SealHeader(h)
	}
}

// EditLogHeader changes the header of a log and gives it the right checksum.
func EditLogHeader(b []byte, edit func(h []byte)) {
	edit(b[:sectorSize])
	SealHeader(b[:sectorSize])
}

// SetLogSignature makes a log one of another stream.
func SetLogSignature(b []byte, s ese.Signature) {
	EditLogHeader(b, func(h []byte) { copy(h[logSignature:], s[:]) })
}

// TearLog makes the last segment of a log what it is if the machine stopped while it
// was written: the first half is new, the second is not there. Its shadow is whole.
func TearLog(b []byte) error {
	last := lastSegment(b)
	if last == 0 {
		return fmt.Errorf("a log without segments")
	}
	clear(b[last*sectorSize+sectorSize/2 : (last+1)*sectorSize])
	return nil
}

// lastSegment is the segment that the shadow repeats; 0 if there is none.
func lastSegment(b []byte) int {
	last := 0
	for i := 1; (i+1)*sectorSize <= len(b); i++ {
		seg := b[i*sectorSize:][:sectorSize]
		if le.Uint64(seg) != 0 && le.Uint64(seg) == blockSum(seg, uint32(i), true) {
			last = i
		}
	}
	return last
}

package sqlitelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The format of a WAL is that of https://www.sqlite.org/fileformat2.html#walformat:
// a header of 32 bytes, then frames of 24 bytes and a page. Checksums run on from
// the header through all frames, so each covers everything before it.
const (
	walHeaderSize   = 32
	frameHeaderSize = 24
	walMagic        = 0x377f0682 // lowest bit set: checksums of big-endian words
	walVersion      = 3007000
	minPageSize     = 512
	maxPageSize     = 65536
)

func validPageSize(n uint32) bool {
	return n >= minPageSize && n <= maxPageSize && n&(n-1) == 0
}

// walSum is SQLite's running checksum.
type walSum [2]uint32

// add runs s over b, whose length must be a multiple of 8.
func (s walSum) add(bigEndian bool, b []byte) walSum {
	s0, s1 := s[0], s[1]
	if bigEndian {
		for len(b) >= 8 {
			s0 += binary.BigEndian.Uint32(b) + s1
			s1 += binary.BigEndian.Uint32(b[4:]) + s0
			b = b[8:]
		}
	} else {
		for len(b) >= 8 {
			s0 += binary.LittleEndian.Uint32(b) + s1
			s1 += binary.LittleEndian.Uint32(b[4:]) + s0
			b = b[8:]
		}
	}
	return walSum{s0, s1}
}

type walHeader struct {
	bigEndian bool
	pageSize  uint32
	salt      [2]uint32
	sum       walSum // of the header, where the frames' checksums go on from
}

func (h walHeader) frameSize() int64 { return frameHeaderSize + int64(h.pageSize) }

// size of a WAL of n frames.
func (h walHeader) size(n uint32) int64 { return walHeaderSize + int64(n)*h.frameSize() }

func parseWALHeader(b []byte) (walHeader, error) {
	var h walHeader
	if len(b) < walHeaderSize {
		return h, fmt.Errorf("WAL header cut off after %d bytes", len(b))
	}
	magic := binary.BigEndian.Uint32(b)
	if magic&^1 != walMagic {
		return h, fmt.Errorf("not a WAL: magic number %#08x", magic)
	}
	if v := binary.BigEndian.Uint32(b[4:]); v != walVersion {
		return h, fmt.Errorf("WAL format %d is not known", v)
	}
	h.bigEndian = magic&1 != 0
	h.pageSize = binary.BigEndian.Uint32(b[8:])
	h.salt = [2]uint32{binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])}
	if !validPageSize(h.pageSize) {
		return h, fmt.Errorf("WAL has page size %d", h.pageSize)
	}
	h.sum = walSum{}.add(h.bigEndian, b[:24])
	if want := (walSum{binary.BigEndian.Uint32(b[24:]), binary.BigEndian.Uint32(b[28:])}); h.sum != want {
		return h, errors.New("WAL header has a wrong checksum")
	}
	return h, nil
}

var (
	errFrameSalt = errors.New("salts are not the WAL header's")
	errFrameSum  = errors.New("wrong checksum")
	errFramePage = errors.New("page number 0")
	errFrameCut  = errors.New("cut off")
)

// frame is one decoded frame; page is valid until the next is read.
type frame struct {
	number uint32 // from 1
	page   uint32 // page number, from 1
	commit uint32 // size of the database in pages if this ends a transaction, else 0
	data   []byte
}

// check decodes the frame b, whose checksum must continue sum, and returns the
// checksum after it, which is the stored one also when it is wrong.
func (h walHeader) check(sum walSum, b []byte) (frame, walSum, error) {
	f := frame{
		page:   binary.BigEndian.Uint32(b),
		commit: binary.BigEndian.Uint32(b[4:]),
		data:   b[frameHeaderSize:],
	}
	stored := walSum{binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])}
	if h.salt != [2]uint32{binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])} {
		return f, stored, errFrameSalt
	}
	if f.page == 0 {
		return f, stored, errFramePage
	}
	if sum.add(h.bigEndian, b[:8]).add(h.bigEndian, f.data) != stored {
		return f, stored, errFrameSum
	}
	return f, stored, nil
}

// frameReader reads a WAL, or the part of a log that is one, from its start.
type frameReader struct {
	walHeader
	r      io.ReaderAt
	off    int64              // of the next byte to be read into buf
	end    int64              // of what may be read
	tee    func([]byte) error // if not nil, gets every byte read
	buf    []byte
	rest   []byte // of buf
	sum    walSum // after the last frame
	number uint32 // of the last frame
}

// readChunk is about how much is read at once.
const readChunk = 256 << 10

// newFrameReader reads and checks the WAL header at off. tee may be nil.
func newFrameReader(r io.ReaderAt, off, end int64, tee func([]byte) error) (*frameReader, error) {
	var b [walHeaderSize]byte
	n := min(int64(walHeaderSize), max(end-off, 0))
	if _, err := r.ReadAt(b[:n], off); err != nil && err != io.EOF {
		return nil, err
	}
	h, err := parseWALHeader(b[:n])
	if err != nil {
		return nil, err
	}
	if tee != nil {
		if err := tee(b[:]); err != nil {
			return nil, err
		}
	}
	f := &frameReader{walHeader: h, r: r, off: off + walHeaderSize, end: end, tee: tee, sum: h.sum}
	per := max(readChunk/h.frameSize(), 1)
	f.buf = make([]byte, per*h.frameSize())
	return f, nil
}

// next returns the next frame; io.EOF after the last. A frame that is not valid is a
// *frameError; other errors are those of reading.
func (f *frameReader) next() (frame, error) {
	size := int(f.frameSize())
	if len(f.rest) < size {
		if err := f.fill(); err != nil {
			return frame{}, err
		}
	}
	fr, sum, err := f.check(f.sum, f.rest[:size])
	fr.number = f.number + 1
	if err != nil {
		return fr, &frameError{fr.number, err}
	}
	f.rest, f.sum, f.number = f.rest[size:], sum, fr.number
	return fr, nil
}

// fill is called when rest holds no whole frame; rest is empty then, because buf holds
// whole frames, except at a cut-off end.
func (f *frameReader) fill() error {
	left := f.end - f.off
	if left <= 0 {
		if len(f.rest) > 0 {
			return &frameError{f.number + 1, errFrameCut}
		}
		return io.EOF
	}
	b := f.buf[:min(int64(len(f.buf)), left)]
	n, err := f.r.ReadAt(b, f.off)
	if n < len(b) && err != nil && err != io.EOF {
		return err
	}
	if n < len(b) { // the file is shorter than we were told
		b, f.end = b[:n], f.off+int64(n)
	}
	if f.tee != nil {
		if err := f.tee(b); err != nil {
			return err
		}
	}
	f.off += int64(n)
	f.rest = b
	if n == 0 {
		return io.EOF
	}
	if n < int(f.frameSize()) {
		return &frameError{f.number + 1, errFrameCut}
	}
	return nil
}

// frameError is a frame that is not valid.
type frameError struct {
	number uint32
	err    error
}

func (e *frameError) Error() string { return fmt.Sprintf("frame %d: %v", e.number, e.err) }
func (e *frameError) Unwrap() error { return e.err }

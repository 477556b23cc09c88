package sqlitelog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The mark is the one row by which a database file, a log and a bare WAL say which
// generation they are of. It is a blob of fixed length, so that SQLite overwrites it in
// place, and so that its page can be read, and after a restore rewritten, without SQLite.
const (
	markTable  = "sqlitelog_mark"
	markSchema = "CREATE TABLE " + markTable + " (id INTEGER PRIMARY KEY CHECK (id = 1), mark BLOB NOT NULL)"
	markSize   = 72
	markMagic  = "SLM1"
)

type mark struct {
	signature  Signature
	generation uint32
	previous   [32]byte
}

func (m mark) encode() []byte {
	b := make([]byte, 0, markSize)
	b = append(b, markMagic...)
	b = append(b, m.signature.Random[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.signature.Created))
	b = binary.BigEndian.AppendUint32(b, m.generation)
	b = append(b, m.previous[:]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:markSize-len(b)]...)
}

func decodeMark(b []byte) (mark, error) {
	var m mark
	if len(b) != markSize || string(b[:4]) != markMagic {
		return m, errors.New("not a mark")
	}
	copy(m.signature.Random[:], b[4:])
	m.signature.Created = int64(binary.BigEndian.Uint64(b[20:]))
	m.generation = binary.BigEndian.Uint32(b[28:])
	copy(m.previous[:], b[32:])
	if !bytes.Equal(m.encode(), b) {
		return mark{}, errors.New("mark has a wrong checksum")
	}
	return m, nil
}

// findMark says where in a page the mark's blob is. The page must be a table leaf
// with a single row (id, blob): https://www.sqlite.org/fileformat2.html#b_tree_pages.
func findMark(page []byte) ([]byte, error) {
	if len(page) < minPageSize || page[0] != 0x0d || binary.BigEndian.Uint16(page[3:]) != 1 {
		return nil, errors.New("not a page with one row")
	}
	cell := int(binary.BigEndian.Uint16(page[8:]))
	// payload length, rowid 1, record header of 4 bytes: its length, the id (NULL
	// because it is the rowid) and the blob's type, which takes 2 bytes.
	want := []byte{markSize + 4, 1, 4, 0, 0x80 | (12+2*markSize)>>7, (12 + 2*markSize) & 0x7f}
	if cell+len(want)+markSize > len(page) || !bytes.Equal(page[cell:cell+len(want)], want) {
		return nil, errors.New("not the row of a mark")
	}
	cell += len(want)
	return page[cell : cell+markSize], nil
}

// parseMark reads the mark out of its page.
func parseMark(page []byte) (mark, error) {
	b, err := findMark(page)
	if err != nil {
		return mark{}, err
	}
	return decodeMark(b)
}

// readMark reads the mark out of a database file.
func readMark(r io.ReaderAt, markPage, pageSize uint32) (mark, error) {
	if !validPageSize(pageSize) || markPage < 2 {
		return mark{}, fmt.Errorf("no mark can be in page %d of %d bytes", markPage, pageSize)
	}
	page := make([]byte, pageSize)
	if _, err := r.ReadAt(page, int64(markPage-1)*int64(pageSize)); err != nil {
		return mark{}, fmt.Errorf("page %d: %w", markPage, noEOF(err))
	}
	m, err := parseMark(page)
	if err != nil {
		return m, fmt.Errorf("page %d: %w", markPage, err)
	}
	return m, nil
}

// writeMark puts m in the place of the mark that a database file has. The blob does
// not cross a sector unless pages are cut very small, so the change is whole or not there.
func writeMark(f interface {
	io.ReaderAt
	io.WriterAt
}, markPage, pageSize uint32, m mark) error {
	if _, err := readMark(f, markPage, pageSize); err != nil {
		return err
	}
	page := make([]byte, pageSize)
	off := int64(markPage-1) * int64(pageSize)
	if _, err := f.ReadAt(page, off); err != nil {
		return err
	}
	b, err := findMark(page)
	if err != nil {
		return err
	}
	copy(b, m.encode())
	_, err = f.WriteAt(page, off)
	return err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

package ese

import (
	"fmt"
	"io"
)

// Trailer is the last page of a database that was backed up while it ran. It says
// up to which generation the logs belong to the copy, which was not known when its
// header was written.
type Trailer struct {
	Backup       BackupInfo // the header's FullCur, with GenHigh
	Signature    Signature  // of the database
	LogSignature Signature

	// These are zero before engine version 9300 (Windows Server 2025).
	MinRequired, MaxRequired, MaxCommitted uint32
	MaxRequiredTime, MaxCommittedTime      LogTime
}

// ParseTrailer checks and decodes the trailer, a page as large as the database's.
func ParseTrailer(page []byte) (t Trailer, err error) {
	if !validPageSize(len(page)) {
		return t, fmt.Errorf("%w: %d bytes", ErrTrailer, len(page))
	}
	if isZero(page) {
		return t, fmt.Errorf("%w: the last page is empty", ErrTrailer)
	}
	if sum := xorChecksum(page); sum != le.Uint32(page) {
		return t, fmt.Errorf("%w: %w: %#08x is stored, %#08x computed", ErrTrailer, ErrChecksum, le.Uint32(page), sum)
	}
	if !isZero(page[4:40]) {
		return t, fmt.Errorf("%w: the last page is another one", ErrTrailer)
	}
	u32 := func(at int) uint32 { return le.Uint32(page[at:]) }
	return Trailer{
		Backup: backupInfo(page[40:]), Signature: Signature(page[64:92]), LogSignature: Signature(page[92:120]),
		MinRequired: u32(120), MaxRequired: u32(124), MaxCommitted: u32(128),
		MaxRequiredTime: LogTime(page[132:140]), MaxCommittedTime: LogTime(page[140:148]),
	}, nil
}

// Match reports why a trailer cannot be of the copy with that header: nil if it can.
func (t Trailer) Match(h Header) error {
	switch {
	case t.Signature != h.Signature:
		return fmt.Errorf("%w: of database %v, the header says %v", ErrTrailer, t.Signature, h.Signature)
	case t.LogSignature != h.LogSignature:
		return fmt.Errorf("%w: of log stream %v, the header says %v", ErrTrailer, t.LogSignature, h.LogSignature)
	case t.Backup.Mark != h.FullCur.Mark || t.Backup.GenLow != h.FullCur.GenLow:
		return fmt.Errorf("%w: of the backup at %v from generation %d, the header's is at %v from generation %d", ErrTrailer,
			t.Backup.Mark, t.Backup.GenLow, h.FullCur.Mark, h.FullCur.GenLow)
	case t.Backup.GenHigh < t.Backup.GenLow:
		return fmt.Errorf("%w: generations %d to %d", ErrTrailer, t.Backup.GenLow, t.Backup.GenHigh)
	}
	return nil
}

// ReadTrailer reads the trailer of a streaming backup with that header.
func ReadTrailer(r io.ReaderAt, size int64, h Header) (Trailer, error) {
	n := int64(h.PageSize)
	if size < 3*n {
		return Trailer{}, fmt.Errorf("%w: the file ends with its header", ErrTrailer)
	}
	page := make([]byte, n)
	if err := readFull(r, page, size/n*n-n); err != nil {
		return Trailer{}, fmt.Errorf("read trailer: %w", err)
	}
	return ParseTrailer(page)
}

// readFull reads all of b, and knows no end of file.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// RequiredLogs is the range of generations that recovery of the database needs, and
// the last with changes of it; zeros if it needs none. t is the trailer of a
// streaming backup, nil if there is none.
func (h Header) RequiredLogs(t *Trailer) (low, high, committed uint32) {
	low, high, committed = h.MinRequired, h.MaxRequired, h.MaxCommitted
	if h.State == CleanShutdown {
		return 0, 0, 0
	}
	if t == nil && h.FullCur.GenHigh != 0 { // the restore took the trailer into the header
		t = &Trailer{Backup: h.FullCur}
	}
	if t != nil {
		if low == 0 || t.Backup.GenLow != 0 && t.Backup.GenLow < low {
			low = t.Backup.GenLow
		}
		high = max(high, t.Backup.GenHigh, t.MaxRequired)
		committed = max(committed, t.MaxCommitted)
	} else if h.StreamingBackup() && (low == 0 || h.FullCur.GenLow < low) {
		low = h.FullCur.GenLow
	}
	return low, high, max(committed, high)
}

package ese

import (
	"bytes"
	"errors"
	"fmt"
)

// StreamChecker checks the pages of a database while it is copied, so that nothing has
// to be read twice. Everything that is written to it must be the file from its
// beginning, in pieces of any length.
type StreamChecker struct {
	size   int64
	report func(PageCheck) error

	head    []byte // the beginning, until the header is found in it
	ready   bool
	header  Header
	copies  HeaderCopies
	trailer *Trailer
	bad     error  // why the trailer is not good
	failed  error  // why there is nothing to check
	rest    []byte // of a page that is not complete
	next    int64  // offset of what comes next, without rest
	counts  PageCounts
	err     error
}

// NewStreamChecker makes one for a file of that many bytes, which says which page is
// the last one: that of a backup is its trailer. report is called for every page that is
// neither good nor unused; its error is that of Write, which then takes nothing more.
func NewStreamChecker(size int64, report func(PageCheck) error) *StreamChecker {
	return &StreamChecker{size: size, report: report}
}

// Write checks the pages that are complete. Its error is report's, never the
// database's: a file that is none is copied like any other.
func (s *StreamChecker) Write(b []byte) (int, error) {
	n := len(b)
	if s.err != nil {
		return 0, s.err
	}
	if !s.ready {
		room := min(s.size, 2*largestPage) - int64(len(s.head))
		take := int(min(max(room, 0), int64(len(b))))
		s.head = append(s.head, b[:take]...)
		if b = b[take:]; int64(len(s.head)) < min(s.size, 2*largestPage) {
			return n, nil
		}
		s.begin()
		s.err = s.pages(s.head)
		s.head = nil
	}
	if s.err == nil {
		s.err = s.pages(b)
	}
	if s.err != nil {
		return 0, s.err
	}
	return n, nil
}

// begin finds the header.
func (s *StreamChecker) begin() {
	s.ready = true
	s.header, s.copies, s.failed = ReadHeader(bytes.NewReader(s.head), int64(len(s.head)))
}

// pages takes the next bytes. Whole pages are checked where they stand.
func (s *StreamChecker) pages(b []byte) error {
	if s.failed != nil {
		return nil
	}
	size := s.header.PageSize
	if len(s.rest) > 0 {
		take := min(size-len(s.rest), len(b))
		s.rest = append(s.rest, b[:take]...)
		if b = b[take:]; len(s.rest) < size {
			return nil
		}
		page := s.rest
		s.rest = s.rest[:0]
		if err := s.page(page); err != nil {
			return err
		}
	}
	for ; len(b) >= size; b = b[size:] {
		if err := s.page(b[:size]); err != nil {
			return err
		}
	}
	s.rest = append(s.rest, b...)
	return nil
}

// page takes one page.
func (s *StreamChecker) page(page []byte) error {
	size := int64(len(page))
	number := s.next/size - 1
	s.next += size
	switch {
	case number < 1: // header and shadow
		return nil
	case s.header.StreamingBackup() && s.next == s.size/size*size:
		t, err := ParseTrailer(page)
		if err == nil {
			s.trailer, err = &t, t.Match(s.header)
		}
		s.bad = err
		return nil
	case number >= 1<<32:
		return fmt.Errorf("%w: more than 2^32 pages", ErrNotDatabase)
	}
	check := CheckPage(page, uint32(number))
	s.counts.count(check.Verdict)
	if check.Verdict <= PageUnused {
		return nil
	}
	return s.report(check)
}

// StreamResult is what a stream was.
type StreamResult struct {
	Header  Header
	Copies  HeaderCopies
	Pages   PageCounts
	Trailer *Trailer // of a streaming backup
}

// Close ends the stream. Its error says that it was no database, that its header or
// trailer is damaged, or that it was shorter or longer than promised; pages are not
// meant, they were reported. The result is valid as far as it goes.
func (s *StreamChecker) Close() (StreamResult, error) {
	if !s.ready {
		s.begin()
		if err := s.pages(s.head); err != nil {
			s.err = err
		}
	}
	r := StreamResult{Header: s.header, Copies: s.copies, Pages: s.counts, Trailer: s.trailer}
	if s.failed != nil {
		return r, s.failed
	}
	err := s.bad
	if err == nil && s.header.StreamingBackup() && s.trailer == nil {
		err = fmt.Errorf("%w: the file ended before it", ErrTrailer)
	}
	if got := s.next + int64(len(s.rest)); got != s.size || len(s.rest) > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d bytes in pages of %d, %d were promised", ErrCorrupt, got, s.header.PageSize, s.size))
	}
	return r, errors.Join(err, s.err)
}

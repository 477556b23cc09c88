package sqlitelog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// marks follows the marks in a run of frames.
type marks struct {
	page uint32 // where they are
	want mark   // the generation's own; its generation 0 if none is expected
	at   uint32 // the frame that has it, 0 as long as it has not come
	last mark   // the latest seen
	n    int    // how many different ones
}

// see looks at a frame. Generations before the one wanted may come before its mark (a
// busy checkpoint repeats frames), later ones may follow it; all must be of one signature, and
// each the next.
func (m *marks) see(f frame) error {
	if f.page != m.page {
		return nil
	}
	k, err := parseMark(f.data)
	if err != nil {
		return fmt.Errorf("frame %d: %w", f.number, err)
	}
	if k.signature != m.want.signature {
		return fmt.Errorf("frame %d: mark of database %v", f.number, k.signature)
	}
	switch {
	case m.n > 0 && k == m.last: // the page was written again, for whatever reason
		return nil
	case m.n > 0 && k.generation != m.last.generation+1:
		return fmt.Errorf("frame %d: mark of generation %d after that of %d", f.number, k.generation, m.last.generation)
	case k.generation == m.want.generation && k != m.want:
		return fmt.Errorf("frame %d: mark of generation %d names another predecessor", f.number, k.generation)
	case k == m.want:
		m.at = f.number
	}
	m.last = k
	m.n++
	return nil
}

// CheckLog reads a whole log: header, digest, every frame up to the closing commit, and
// that the row which the first commit wrote names this database, generation and
// predecessor. Errors are *LogError without a path, or those of reading.
func CheckLog(ctx context.Context, r io.ReaderAt, size int64) (Header, error) {
	h, err := ReadHeader(io.NewSectionReader(r, 0, size))
	if err != nil {
		return h, err
	}
	if size != h.FileSize() {
		return h, &LogError{Kind: ErrLogTruncated, What: fmt.Sprintf("%d bytes, should be %d", size, h.FileSize())}
	}
	digest := sha256.New()
	s, err := scanLog(ctx, r, h, digest)
	var fe *frameError
	if err != nil && (errors.As(err, &fe) || errors.Is(err, errScan)) {
		return h, &LogError{Kind: ErrLogDamaged, What: err.Error()}
	}
	if err != nil {
		return h, err
	}
	if [32]byte(digest.Sum(nil)) != h.Digest {
		return h, &LogError{Kind: ErrLogDamaged, What: "the digest is not the header's"}
	}
	switch {
	case s.last.commit == 0:
		return h, &LogError{Kind: ErrLogDamaged, What: fmt.Sprintf("frame %d, the last, ends no transaction", s.last.number)}
	case s.last.commit != h.DatabasePages:
		return h, &LogError{Kind: ErrLogDamaged, What: fmt.Sprintf("the database ends with %d pages, the header says %d", s.last.commit, h.DatabasePages)}
	case s.marks.at != h.MarkFrame:
		return h, &LogError{Kind: ErrLogOrder, What: fmt.Sprintf("the mark of the generation is not in frame %d", h.MarkFrame)}
	case s.marks.last != s.marks.want && !h.Salvaged:
		return h, &LogError{Kind: ErrLogOrder, What: fmt.Sprintf("it goes on into generation %d", s.marks.last.generation)}
	}
	return h, nil
}

// scanned is what scanLog saw.
type scanned struct {
	marks marks
	last  frame // without data
}

// errScan is in errors about the contents that are not of a single frame.
var errScan = errors.New("log contents")

// scanLog runs over all frames of a log whose header and size are good.
func scanLog(ctx context.Context, r io.ReaderAt, h Header, digest hash.Hash) (scanned, error) {
	s := scanned{marks: marks{page: h.MarkPage, want: h.mark()}}
	fr, err := newFrameReader(r, HeaderSize, h.FileSize(), func(b []byte) error { digest.Write(b); return nil })
	if err != nil {
		return s, fmt.Errorf("%w: %w", errScan, err)
	}
	if fr.pageSize != h.PageSize {
		return s, fmt.Errorf("%w: pages of %d bytes, the header says %d", errScan, fr.pageSize, h.PageSize)
	}
	for {
		f, err := fr.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return s, err
		}
		if f.number%64 == 0 && ctx.Err() != nil {
			return s, ctx.Err()
		}
		if err := s.marks.see(f); err != nil {
			return s, fmt.Errorf("%w: %w", errScan, err)
		}
		f.data = nil
		s.last = f
	}
	if s.last.number != h.Frames {
		return s, &frameError{s.last.number + 1, errFrameCut}
	}
	return s, nil
}

func (h Header) mark() mark { return mark{h.Signature, h.Generation, h.Previous} }

// CheckChain checks that headers, in this order, are one line of logs: one signature,
// no generation missing, each naming the Sum of the one before. The Previous of the
// first is not looked at. Errors are *LogError without a path.
func CheckChain(headers []Header) error {
	_, err := checkChain(headers)
	return err
}

// checkChain also says which of the headers is wrong.
func checkChain(headers []Header) (int, error) {
	for i, h := range headers {
		if i == 0 {
			continue
		}
		p := headers[i-1]
		switch {
		case h.Signature != p.Signature:
			return i, &LogError{Kind: ErrLogForeign, What: fmt.Sprintf("generation %d has signature %v, the one before %v", h.Generation, h.Signature, p.Signature)}
		case h.PageSize != p.PageSize || h.MarkPage != p.MarkPage:
			return i, &LogError{Kind: ErrLogForeign, What: fmt.Sprintf("generation %d has another layout of pages than the one before", h.Generation)}
		case h.Generation > p.Generation+1:
			return i, &LogError{Kind: ErrLogMissing, What: fmt.Sprintf("generation %d follows %d", h.Generation, p.Generation)}
		case h.Generation != p.Generation+1:
			return i, &LogError{Kind: ErrLogOrder, What: fmt.Sprintf("generation %d follows %d", h.Generation, p.Generation)}
		case h.Previous != p.Sum():
			return i, &LogError{Kind: ErrLogOrder, What: fmt.Sprintf("generation %d continues another generation %d than this one", h.Generation, p.Generation)}
		}
	}
	return 0, nil
}

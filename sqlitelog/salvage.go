package sqlitelog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/certkeep/certkeep/internal/durable"
)

// Salvaged is what Salvage found.
type Salvaged struct {
	// Header of the log that was made. Closed is when the WAL was last written to.
	Header Header
	// Frames that are committed, and frames after the last commit. The latter belong to
	// a transaction that was never acknowledged, unless DamagedAt says otherwise.
	Frames, TornFrames uint32
	// DamagedAt is 0, or the first bad frame if behind it there is part of a later
	// commit: then what follows it had been acknowledged and is lost.
	DamagedAt uint32
	// Through is the generation that was open when the WAL was written. It is
	// larger than Header.Generation when checkpoints had been busy, so that the WAL also
	// holds what the logs in between did.
	Through uint32
}

// Salvage turns the bare "-wal" of a dead database into out, a log that Replay takes
// after the log of header previous. The WAL must be the one that continued it; the row
// that its first commit wrote says so, else ErrLogForeign, ErrLogMissing or ErrLogOrder. It is
// used up to its last whole commit; a torn tail is normal and reported. ErrNotFound
// means that it has nothing which the logs do not have, and out is not made.
func Salvage(ctx context.Context, wal string, previous Header, out string) (Salvaged, error) {
	var s Salvaged
	f, err := os.Open(wal)
	if err != nil {
		return s, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return s, err
	}
	want := mark{previous.Signature, previous.Generation + 1, previous.Sum()}
	if err := s.survey(ctx, f, fi.Size(), want, previous); err != nil {
		return s, atPath(err, wal)
	}
	lw, err := newLogWriter(durable.OS, out, f, want, previous.MarkPage)
	if err != nil {
		return s, err
	}
	defer lw.abort()
	if err := lw.copyTo(ctx, s.Frames); err != nil {
		return s, atPath(err, wal)
	}
	s.Header = Header{Signature: want.signature, Generation: want.generation, Previous: want.previous,
		Closed: fi.ModTime().UTC(), Salvaged: true}
	if err := lw.complete(&s.Header); err != nil {
		return s, atPath(err, wal)
	}
	return s, lw.aside.Commit()
}

// survey finds the last commit, and checks by the marks before it that the WAL goes on
// from the log before.
func (s *Salvaged) survey(ctx context.Context, r io.ReaderAt, size int64, want mark, previous Header) error {
	nothing := func(what string) error { return &LogError{Kind: ErrNotFound, What: what} }
	if size == 0 {
		return nothing("the WAL is empty")
	}
	fr, err := newFrameReader(r, 0, size, nil)
	if err != nil {
		return &LogError{Kind: ErrLogDamaged, What: err.Error()}
	}
	if fr.pageSize != previous.PageSize {
		return &LogError{Kind: ErrLogForeign, What: fmt.Sprintf("it has pages of %d bytes, the logs of %d", fr.pageSize, previous.PageSize)}
	}
	var seen []mark // the latest one only counts with a commit after it
	var committed int
	for {
		f, err := fr.next()
		var fe *frameError
		if errors.As(err, &fe) {
			after, err := fr.goesOn(fe.number)
			if err != nil {
				return err
			}
			if after != 0 {
				s.DamagedAt = fe.number
			}
			break
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if f.number%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if f.page == previous.MarkPage {
			m, err := parseMark(f.data)
			if err != nil {
				return &LogError{Kind: ErrLogForeign, What: fmt.Sprintf("frame %d should name the generation: %v", f.number, err)}
			}
			seen = append(seen, m)
		}
		if f.commit != 0 {
			s.Frames, committed = f.number, len(seen)
		}
	}
	if s.TornFrames, err = fr.torn(s.Frames); err != nil {
		return err
	}
	seen = seen[:committed]
	if len(seen) == 0 {
		if s.Frames == 0 {
			return nothing("there is no whole commit in the WAL")
		}
		return &LogError{Kind: ErrLogForeign, What: "nothing in it names its generation"}
	}
	first, last := seen[0], seen[len(seen)-1]
	s.Through = last.generation
	switch {
	case first.signature != want.signature || last.signature != want.signature:
		return &LogError{Kind: ErrLogForeign, What: fmt.Sprintf("it is of database %v, the logs are of %v", last.signature, want.signature)}
	case first.generation > want.generation:
		return &LogError{Kind: ErrLogMissing, What: fmt.Sprintf("it begins with generation %d, the logs end with %d", first.generation, previous.Generation)}
	case last == (mark{previous.Signature, previous.Generation, previous.Previous}):
		return nothing(fmt.Sprintf("it ends with generation %d, which the logs have", last.generation))
	}
	for _, m := range seen {
		if m == want {
			return nil
		}
	}
	return &LogError{Kind: ErrLogOrder, What: fmt.Sprintf("it has generations %d to %d, but not the %d that continues this log", first.generation, last.generation, want.generation)}
}

// torn counts frames after the n'th that were written in this life of the WAL. Others
// may be left from an earlier one, since the file is overwritten from its start.
func (f *frameReader) torn(n uint32) (uint32, error) {
	var b [frameHeaderSize]byte
	for i := n; ; i++ {
		k, err := f.r.ReadAt(b[:], f.walHeader.size(i))
		if err != nil && err != io.EOF {
			return 0, err
		}
		if k < len(b) || (f.salt != [2]uint32{binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}) {
			return i - n, nil
		}
	}
}

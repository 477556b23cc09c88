package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Replayed is what Replay did.
type Replayed struct {
	Signature    Signature
	First, Last  uint32    // generations replayed
	Sum          [32]byte  // of the last header: what Adopt wants as previous
	Closed       time.Time // when the last was closed
	Frames       int64     // read
	Pages        int64     // written
	DatabaseSize int64     // bytes, afterwards
	Salvaged     bool      // the last log came from Salvage
}

// Replay brings a copy of a database forward: it writes the pages in logs, files in
// ascending order, into dst, up to and including generation through (0: all). All logs
// up to there are checked whole, and that they continue each other and the copy, before a
// byte is changed; on an error from these checks dst is as it was. After an interruption
// it can simply be run again. dst must have no "-wal" beside it (ErrWALPresent).
//
// Targets that the copy cannot be replayed to are refused (ErrTarget) as far as the
// logs tell: the header of a full copy's last log does. A caller that knows which
// logs belong to the copy should compare with that Header.EarliestTarget itself, because
// logs of later copies are no help.
func Replay(ctx context.Context, dst string, logs []string, through uint32) (Replayed, error) {
	if fi, err := os.Lstat(dst + "-wal"); err == nil && fi.Size() > 0 {
		return Replayed{}, fmt.Errorf("%s: %w", dst, ErrWALPresent)
	} else if err != nil && !os.IsNotExist(err) {
		return Replayed{}, err
	}
	return replay(ctx, dst, logs, through)
}

func replay(ctx context.Context, dst string, logs []string, through uint32) (Replayed, error) {
	var r replayer
	defer r.close()
	if err := r.open(logs, through); err != nil {
		return Replayed{}, err
	}
	f, err := os.OpenFile(dst, os.O_RDWR, 0)
	if err != nil {
		return Replayed{}, err
	}
	done, err := r.run(ctx, f)
	if err != nil {
		err = atPath(err, dst)
	}
	return done, errors.Join(err, f.Close())
}

type replayer struct {
	files   []*os.File
	headers []Header
	res     Replayed
	window  []byte
	out     []byte
}

func (r *replayer) close() {
	for _, f := range r.files {
		f.Close() // read only
	}
}

// open reads the headers, checks the chain, and keeps the files up to through.
func (r *replayer) open(logs []string, through uint32) error {
	if len(logs) == 0 {
		return &LogError{Kind: ErrLogMissing, What: "there are no logs to replay"}
	}
	for _, path := range logs {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		r.files = append(r.files, f)
		h, err := ReadHeader(f)
		if err != nil {
			return atPath(err, path)
		}
		r.headers = append(r.headers, h)
	}
	if i, err := checkChain(r.headers); err != nil {
		return atPath(err, logs[i])
	}
	first, last := r.headers[0].Generation, r.headers[len(logs)-1].Generation
	if through == 0 {
		through = last
	}
	if through < first || through > last {
		return &LogError{Kind: ErrTarget, What: fmt.Sprintf("generation %d is not among %d to %d", through, first, last)}
	}
	// The first header that a full copy left is that of the copy at hand, or of an
	// earlier one, whose earliest target is not later: a bound that never refuses too much.
	for i, h := range r.headers {
		if h.CopyFirst < first {
			continue
		}
		if through >= h.EarliestTarget {
			break
		}
		return &LogError{Path: logs[i], Kind: ErrTarget,
			What: fmt.Sprintf("generation %d is before %d, the earliest at which all of this copy's pages agree", through, h.EarliestTarget)}
	}
	n := int(through-first) + 1
	for _, f := range r.files[n:] {
		f.Close()
	}
	r.files, r.headers = r.files[:n], r.headers[:n]
	return nil
}

func (r *replayer) run(ctx context.Context, dst *os.File) (Replayed, error) {
	first, last := r.headers[0], r.headers[len(r.headers)-1]
	if err := r.tie(dst, first, last); err != nil {
		return r.res, err
	}
	for i, f := range r.files {
		if err := ctx.Err(); err != nil {
			return r.res, err
		}
		fi, err := f.Stat()
		if err != nil {
			return r.res, err
		}
		h, err := CheckLog(ctx, f, fi.Size())
		if err == nil && h != r.headers[i] {
			err = &LogError{Kind: ErrLogDamaged, What: "it changed while it was read"}
		}
		if err != nil {
			return r.res, atPath(err, f.Name())
		}
	}
	r.res = Replayed{Signature: first.Signature, First: first.Generation, Last: last.Generation,
		Sum: last.Sum(), Closed: last.Closed, Salvaged: last.Salvaged}
	for i, f := range r.files {
		if err := r.apply(ctx, dst, f, r.headers[i]); err != nil {
			return r.res, atPath(err, f.Name())
		}
	}
	r.res.DatabaseSize = int64(last.DatabasePages) * int64(last.PageSize)
	if err := dst.Truncate(r.res.DatabaseSize); err != nil {
		return r.res, err
	}
	if err := dst.Sync(); err != nil {
		return r.res, err
	}
	m, err := readMark(dst, last.MarkPage, last.PageSize)
	if err == nil && (m.signature != last.Signature || m.generation < last.Generation) {
		err = fmt.Errorf("the database ends with the mark of generation %d", m.generation)
	}
	return r.res, err
}

// tie checks that the database file can be what the logs continue. Its mark says which
// generation that page is of, at least: pages elsewhere may be one generation older or newer.
func (r *replayer) tie(dst *os.File, first, last Header) error {
	m, err := readMark(dst, first.MarkPage, first.PageSize)
	if err != nil {
		return fmt.Errorf("%w: not a copy of this database: %w", ErrLogForeign, err)
	}
	switch {
	case m.signature != first.Signature:
		return &LogError{Path: dst.Name(), Kind: ErrLogForeign, What: fmt.Sprintf("the database has signature %v, the logs %v", m.signature, first.Signature)}
	case first.Generation > m.generation+1:
		return &LogError{Path: dst.Name(), Kind: ErrLogMissing, What: fmt.Sprintf("the database is as of generation %d, the first log is %d", m.generation, first.Generation)}
	case last.Generation < m.generation && !last.Salvaged:
		return &LogError{Path: dst.Name(), Kind: ErrTarget, What: fmt.Sprintf("the database is already as of generation %d", m.generation)}
	}
	return nil
}

// replayWindow is how much of a log is in memory at once; a page that changes often
// within it is written only once.
const replayWindow = 16 << 20

// apply writes a checked log's pages.
func (r *replayer) apply(ctx context.Context, dst io.WriterAt, log io.ReaderAt, h Header) error {
	fr, err := newFrameReader(log, HeaderSize, h.FileSize(), nil)
	if err != nil {
		return &LogError{Kind: ErrLogDamaged, What: err.Error()}
	}
	perWindow := max(replayWindow/int(h.PageSize), 1)
	if cap(r.window) < perWindow*int(h.PageSize) {
		r.window = make([]byte, 0, perWindow*int(h.PageSize))
	}
	where := make(map[uint32]int, perWindow)
	for {
		f, err := fr.next()
		if err != nil && err != io.EOF {
			return &LogError{Kind: ErrLogDamaged, What: "it changed while it was read: " + err.Error()}
		}
		if err == io.EOF || len(where) == perWindow {
			if err := r.flush(dst, where, h.PageSize); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			clear(where)
			r.window = r.window[:0]
		}
		if err == io.EOF {
			return nil
		}
		r.res.Frames++
		if f.page > h.DatabasePages {
			continue // the database became shorter again before the log was closed
		}
		if at, ok := where[f.page]; ok {
			copy(r.window[at:], f.data)
		} else {
			where[f.page] = len(r.window)
			r.window = append(r.window, f.data...)
		}
	}
}

// flush writes the window's pages in order, neighbours together.
func (r *replayer) flush(dst io.WriterAt, where map[uint32]int, pageSize uint32) error {
	pages := make([]uint32, 0, len(where))
	for p := range where {
		pages = append(pages, p)
	}
	slices.Sort(pages)
	const most = 1 << 20
	r.out = r.out[:0]
	var start uint32
	for i, p := range pages {
		if len(r.out) == 0 {
			start = p
		}
		at := where[p]
		r.out = append(r.out, r.window[at:at+int(pageSize)]...)
		if i+1 < len(pages) && pages[i+1] == p+1 && len(r.out) < most {
			continue
		}
		if _, err := dst.WriteAt(r.out, int64(start-1)*int64(pageSize)); err != nil {
			return err
		}
		r.out = r.out[:0]
	}
	r.res.Pages += int64(len(pages))
	return nil
}

package sqlitelog

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/certkeep/certkeep/internal/durable"
)

// logWriter copies a WAL into a log that has no name yet, checking every frame.
type logWriter struct {
	aside  *durable.Aside
	fr     *frameReader
	marks  marks
	digest hash.Hash
	last   frame // without data
}

// newLogWriter begins the log of the generation whose mark is want.
func newLogWriter(fsys durable.FS, path string, wal io.ReaderAt, want mark, markPage uint32) (*logWriter, error) {
	lw := &logWriter{marks: marks{page: markPage, want: want}, digest: sha256.New()}
	var err error
	if lw.aside, err = durable.Create(fsys, path, 0o600); err != nil {
		return nil, err
	}
	if _, err = lw.aside.Write(make([]byte, HeaderSize)); err == nil {
		lw.fr, err = newFrameReader(wal, 0, walHeaderSize, func(b []byte) error {
			lw.digest.Write(b)
			_, err := lw.aside.Write(b)
			return err
		})
	}
	if err != nil {
		lw.abort()
		return nil, err
	}
	return lw, nil
}

func (lw *logWriter) abort() {
	if lw != nil {
		lw.aside.Abort() // after Commit it does nothing
	}
}

// copyTo copies frames up to number n, which must be the last of a commit.
func (lw *logWriter) copyTo(ctx context.Context, n uint32) error {
	lw.fr.end = lw.fr.size(n)
	for lw.last.number < n {
		f, err := lw.fr.next()
		if err != nil {
			return fmt.Errorf("the WAL, of %d frames: %w", n, noEOF(err))
		}
		if err := lw.marks.see(f); err != nil {
			return fmt.Errorf("the WAL: %w", err)
		}
		if f.number%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		f.data = nil
		lw.last = f
	}
	if lw.last.number != n || lw.last.commit == 0 {
		return fmt.Errorf("the WAL: frame %d ends no transaction", lw.last.number)
	}
	return nil
}

// complete writes the header, whose fields about the contents are filled in here.
func (lw *logWriter) complete(h *Header) error {
	h.PageSize, h.Frames, h.DatabasePages = lw.fr.pageSize, lw.last.number, lw.last.commit
	h.MarkPage, h.MarkFrame = lw.marks.page, lw.marks.at
	lw.digest.Sum(h.Digest[:0])
	if lw.marks.at == 0 || lw.marks.last != lw.marks.want && !h.Salvaged {
		return fmt.Errorf("the WAL: it does not have, or does not end with, the mark of generation %d", h.Generation)
	}
	_, err := lw.aside.WriteAt(h.encode(), 0)
	return err
}

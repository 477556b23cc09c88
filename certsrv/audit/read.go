package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// Read yields the records of a log from the oldest on. A line that cannot be
// read is yielded as *[LineError], and reading goes on; other errors end it. A
// last line without a newline is a record if it is whole, and passed over in
// silence if it is not: a crash, or a writer at work, is nothing to report.
func Read(ctx context.Context, path string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(Record{}, fmt.Errorf("audit log: %w", err))
			return
		}
		defer f.Close()
		read(ctx, f, path, yield)
	}
}

func read(ctx context.Context, r io.Reader, path string, yield func(Record, error) bool) {
	in := bufio.NewReaderSize(r, maxLine)
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			yield(Record{}, err)
			return
		}
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = skipLine(in)
			if err == nil && !yield(Record{}, &LineError{path, n, fmt.Errorf("longer than %d bytes", maxLine)}) {
				return
			}
			line = nil
		}
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			yield(Record{}, fmt.Errorf("audit log: %w", err))
			return
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			rec, err := decode(line)
			switch {
			case err == nil:
				if !yield(rec, nil) {
					return
				}
			case last: // torn
			case !yield(Record{}, &LineError{path, n, err}):
				return
			}
		}
		if last {
			return
		}
	}
}

// skipLine reads to the end of an overlong line; io.EOF says that it had none.
func skipLine(in *bufio.Reader) error {
	for {
		_, err := in.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// LineError is a line that is not a record.
type LineError struct {
	Path string
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s: line %d: %v", e.Path, e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

package cadb

import (
	"bufio"
	"container/heap"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

// sortBytes is the memory in which rows are put in order, about, before they go to a
// temporary file.
const sortBytes = 16 << 20

// rowOverhead is what a row takes besides its large values, about.
const rowOverhead = 1 << 10

// sorted puts rows in the order of a number, those of the same one as they came. It is
// for tables whose own order is another. Memory is bounded; what does not fit goes to a
// temporary file, which has lost its name by then where the system allows that.
func sorted[T any](ctx context.Context, rows iter.Seq2[T, error], key func(*T) int64, size func(*T) int) iter.Seq2[T, error] {
	return sortedWith(ctx, rows, key, size, sortBytes)
}

func sortedWith[T any](ctx context.Context, rows iter.Seq2[T, error], key func(*T) int64, size func(*T) int, most int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		s := &sorter[T]{key: key}
		err := s.fill(rows, size, most)
		defer s.close()
		if err == nil {
			err = s.merge(ctx, func(v T) bool { return yield(v, nil) })
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(zero, err)
		}
	}
}

// errStopped says that nobody wants any more.
var errStopped = errors.New("stopped")

type sorter[T any] struct {
	key  func(*T) int64
	rows []T
	file *os.File
	at   int64
	runs []*run[T]
}

// run is a part of the rows, in order.
type run[T any] struct {
	from, to int64 // in the file
	dec      *gob.Decoder
	rows     []T // of the last part, which stays in memory
	next     T
	number   int
}

func (s *sorter[T]) fill(rows iter.Seq2[T, error], size func(*T) int, most int) error {
	used := 0
	for v, err := range rows {
		if err != nil {
			return err
		}
		s.rows = append(s.rows, v)
		if used += size(&v) + rowOverhead; used >= most {
			if err := s.spill(); err != nil {
				return fmt.Errorf("putting rows in order: %w", err)
			}
			used = 0
		}
	}
	s.sort()
	s.runs = append(s.runs, &run[T]{rows: s.rows, number: len(s.runs)})
	return nil
}

func (s *sorter[T]) sort() {
	slices.SortStableFunc(s.rows, func(a, b T) int { return int(min(max(s.key(&a)-s.key(&b), -1), 1)) })
}

// spill writes what is in memory to the file.
func (s *sorter[T]) spill() (err error) {
	if s.file == nil {
		if s.file, err = os.CreateTemp("", "certkeep-rows-"); err != nil {
			return err
		}
		_ = os.Remove(s.file.Name()) // Windows keeps it until it is closed, see close
	}
	s.sort()
	w := bufio.NewWriterSize(&offsetWriter{s.file, &s.at}, 1<<20)
	from := s.at
	enc := gob.NewEncoder(w)
	for i := range s.rows {
		if err := enc.Encode(&s.rows[i]); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.runs = append(s.runs, &run[T]{from: from, to: s.at, number: len(s.runs)})
	clear(s.rows)
	s.rows = s.rows[:0]
	return nil
}

type offsetWriter struct {
	f  *os.File
	at *int64
}

func (w *offsetWriter) Write(b []byte) (int, error) {
	n, err := w.f.WriteAt(b, *w.at)
	*w.at += int64(n)
	return n, err
}

func (s *sorter[T]) close() {
	if s.file != nil {
		s.file.Close()
		_ = os.Remove(s.file.Name())
	}
}

// advance reads the next row of a run.
func (x *run[T]) advance() (more bool, err error) {
	if x.dec == nil {
		if len(x.rows) == 0 {
			return false, nil
		}
		x.next, x.rows = x.rows[0], x.rows[1:]
		return true, nil
	}
	var v T
	if err := x.dec.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return false, err
	}
	x.next = v
	return true, nil
}

// merge yields the rows of all runs in order.
func (s *sorter[T]) merge(ctx context.Context, yield func(T) bool) error {
	h := &runHeap[T]{key: s.key}
	for _, x := range s.runs {
		if x.to > x.from {
			x.dec = gob.NewDecoder(bufio.NewReader(io.NewSectionReader(s.file, x.from, x.to-x.from)))
		}
		more, err := x.advance()
		if err != nil {
			return err
		}
		if more {
			h.runs = append(h.runs, x)
		}
	}
	heap.Init(h)
	for len(h.runs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		x := h.runs[0]
		if !yield(x.next) {
			return errStopped
		}
		more, err := x.advance()
		if err != nil {
			return err
		}
		if more {
			heap.Fix(h, 0)
		} else {
			heap.Pop(h)
		}
	}
	return nil
}

type runHeap[T any] struct {
	runs []*run[T]
	key  func(*T) int64
}

func (h *runHeap[T]) Len() int { return len(h.runs) }
func (h *runHeap[T]) Less(i, j int) bool {
	a, b := h.key(&h.runs[i].next), h.key(&h.runs[j].next)
	return a < b || a == b && h.runs[i].number < h.runs[j].number
}
func (h *runHeap[T]) Swap(i, j int) { h.runs[i], h.runs[j] = h.runs[j], h.runs[i] }
func (h *runHeap[T]) Push(x any)    { h.runs = append(h.runs, x.(*run[T])) }
func (h *runHeap[T]) Pop() any {
	n := len(h.runs) - 1
	x := h.runs[n]
	h.runs = h.runs[:n]
	return x
}

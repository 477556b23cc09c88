package esetest

import (
	"bufio"
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// sorter sorts pairs of byte strings by both of them, in memory as long as they are
// few and in temporary files from then on.
type sorter struct {
	dir   string
	limit int

	buf   []byte  // pairs: two lengths of two bytes, then both strings
	at    []int32 // where they begin
	file  *os.File
	runs  []extent64
	wrote int64
}

// extent64 is a part of a file.
type extent64 struct{ from, to int64 }

func (s *sorter) add(key, data []byte) error {
	if len(s.buf)+len(key)+len(data)+4 > s.limit && len(s.at) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.at = append(s.at, int32(len(s.buf)))
	s.buf = le.AppendUint16(s.buf, uint16(len(key)))
	s.buf = le.AppendUint16(s.buf, uint16(len(data)))
	s.buf = append(append(s.buf, key...), data...)
	return nil
}

func pair(b []byte) (key, data []byte, size int) {
	k, d := int(le.Uint16(b)), int(le.Uint16(b[2:]))
	return b[4 : 4+k], b[4+k : 4+k+d], 4 + k + d
}

func comparePairs(a, b []byte) int {
	ak, ad, _ := pair(a)
	bk, bd, _ := pair(b)
	if c := bytes.Compare(ak, bk); c != 0 {
		return c
	}
	return bytes.Compare(ad, bd)
}

func (s *sorter) sort() {
	slices.SortFunc(s.at, func(a, b int32) int { return comparePairs(s.buf[a:], s.buf[b:]) })
}

// spill writes what is in memory as a sorted run.
func (s *sorter) spill() (err error) {
	if s.file == nil {
		if s.file, err = os.CreateTemp(s.dir, "esetest-*.sort"); err != nil {
			return err
		}
	}
	s.sort()
	from := s.wrote
	w := bufio.NewWriterSize(s.file, 256<<10)
	for _, at := range s.at {
		_, _, n := pair(s.buf[at:])
		if _, err := w.Write(s.buf[at:][:n]); err != nil {
			return err
		}
		s.wrote += int64(n)
	}
	s.runs = append(s.runs, extent64{from, s.wrote})
	s.buf, s.at = s.buf[:0], s.at[:0]
	return w.Flush()
}

// each calls f with all pairs in order, and removes the temporary file.
func (s *sorter) each(f func(key, data []byte) error) error {
	defer s.close()
	s.sort()
	if len(s.runs) == 0 {
		for _, at := range s.at {
			key, data, _ := pair(s.buf[at:])
			if err := f(key, data); err != nil {
				return err
			}
		}
		return nil
	}
	if len(s.at) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.buf, s.at = nil, nil
	var h runHeap
	for _, e := range s.runs {
		r := &runReader{r: bufio.NewReaderSize(io.NewSectionReader(s.file, e.from, e.to-e.from), 64<<10)}
		if err := r.next(); err != nil {
			return fmt.Errorf("read sorted keys: %w", err)
		}
		h = append(h, r)
	}
	heap.Init(&h)
	for len(h) > 0 {
		key, data, _ := pair(h[0].pair)
		if err := f(key, data); err != nil {
			return err
		}
		switch err := h[0].next(); {
		case errors.Is(err, io.EOF):
			heap.Pop(&h)
		case err != nil:
			return fmt.Errorf("read sorted keys: %w", err)
		default:
			heap.Fix(&h, 0)
		}
	}
	return nil
}

func (s *sorter) close() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
		s.file = nil
	}
	s.buf, s.at = nil, nil
}

// runReader reads a sorted run.
type runReader struct {
	r    *bufio.Reader
	pair []byte
}

// next reads the next pair; io.EOF behind the last.
func (r *runReader) next() error {
	var head [4]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return err
	}
	n := int(le.Uint16(head[:])) + int(le.Uint16(head[2:]))
	r.pair = append(append(r.pair[:0], head[:]...), make([]byte, n)...)
	_, err := io.ReadFull(r.r, r.pair[4:])
	return err
}

type runHeap []*runReader

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return comparePairs(h[i].pair, h[j].pair) < 0 }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*runReader)) }
func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

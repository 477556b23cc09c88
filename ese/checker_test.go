package ese_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
	"pgregory.net/rapid"
)

// manyPages is a file of that many pages of 4 KiB, the named ones bad.
func manyPages(n int, bad []int) []byte {
	b := make([]byte, 0, (n+2)*4096)
	b = append(b, make([]byte, 2*4096)...)
	page := seed.Page{Object: 3, Flags: seed.Root | seed.Leaf}.Bytes(4096, 0)
	for i := 1; i <= n; i++ {
		p := bytes.Clone(page)
		le.PutUint32(p, le.Uint32(p)^uint32(i))
		b = append(b, p...)
	}
	for _, i := range bad {
		b[(i+1)*4096+1000] ^= 3
	}
	return b
}

// failingReader cannot read some pages.
type failingReader struct {
	*bytes.Reader
	from, to int64
}

var errDisk = errors.New("input/output error")

func (r failingReader) ReadAt(b []byte, off int64) (int, error) {
	if off < r.to && off+int64(len(b)) > r.from {
		return 0, errDisk
	}
	return r.Reader.ReadAt(b, off)
}

// TestCheckerOrder: with any number of workers every bad page is reported once, in
// order.
func TestCheckerOrder(t *testing.T) {
	const pages = 1000
	rapid.Check(t, func(t *rapid.T) {
		bad := rapid.SliceOfNDistinct(rapid.IntRange(1, pages), 0, 30, func(i int) int { return i }).Draw(t, "bad")
		slices.Sort(bad)
		c := ese.Checker{PageSize: 4096, First: uint32(rapid.IntRange(1, 80).Draw(t, "first")), Last: pages, Workers: rapid.IntRange(0, 5).Draw(t, "workers")}
		var got, want []int
		for _, n := range bad {
			if n >= int(c.First) {
				want = append(want, n)
			}
		}
		counts, err := c.Check(context.Background(), bytes.NewReader(manyPages(pages, bad)), func(p ese.PageCheck) error {
			got = append(got, int(p.Page))
			return nil
		})
		if err != nil || !slices.Equal(got, want) || counts.Bad != uint64(len(want)) || counts.Good+counts.Bad != uint64(pages-c.First+1) {
			t.Fatalf("%v, %+v, %v; want %v", got, counts, err, want)
		}
	})
}

func TestCheckerEnds(t *testing.T) {
	b := manyPages(1000, []int{5, 900})
	for _, workers := range []int{1, 3} {
		c := ese.Checker{PageSize: 4096, First: 1, Last: 1000, Workers: workers}
		stop := errors.New("enough")
		n := 0
		if _, err := c.Check(context.Background(), bytes.NewReader(b), func(ese.PageCheck) error { n++; return stop }); err != stop || n != 1 {
			t.Errorf("%v after %d", err, n)
		}
		ctx, cancel := context.WithCancel(context.Background())
		if _, err := c.Check(ctx, bytes.NewReader(b), func(ese.PageCheck) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		var unread []uint32
		counts, err := c.Check(context.Background(), failingReader{bytes.NewReader(b), 701 * 4096, 703 * 4096}, func(p ese.PageCheck) error {
			if errors.Is(p.Err(), errDisk) {
				unread = append(unread, p.Page)
			}
			return nil
		})
		if err != nil || !slices.Equal(unread, []uint32{700, 701}) || counts.Bad != 4 || counts.Good != 996 {
			t.Errorf("%v, %+v, %v", unread, counts, err)
		}
		if counts, err := (ese.Checker{PageSize: 4096, First: 2, Last: 1, Workers: workers}).Check(context.Background(), nil, nil); err != nil || counts != (ese.PageCounts{}) {
			t.Error(counts, err)
		}
		if _, err := (ese.Checker{PageSize: 1000, First: 1, Last: 1}).Check(context.Background(), nil, nil); err == nil {
			t.Error("pages of 1000 bytes")
		}
	}
}

// TestStreamChecker: in pieces of any size it finds what the checker finds.
func TestStreamChecker(t *testing.T) {
	for _, size := range pageSizes {
		b := backup(size).Bytes()
		b[11*size+500] ^= 3
		b[12*size+500] ^= 1
		for _, step := range []int{1, 4095, size, 100000, len(b)} {
			if step == 1 && size > 4096 {
				continue
			}
			var got []string
			s := ese.NewStreamChecker(int64(len(b)), func(p ese.PageCheck) error {
				got = append(got, p.Verdict.String())
				if p.Page != uint32(10+len(got)-1) {
					t.Errorf("page %d", p.Page)
				}
				return nil
			})
			for at := 0; at < len(b); at += step {
				if n, err := s.Write(b[at:min(at+step, len(b))]); err != nil || n != min(step, len(b)-at) {
					t.Fatal(n, err)
				}
			}
			r, err := s.Close()
			if err != nil || strings.Join(got, " ") != "bad correctable" || r.Trailer == nil || r.Trailer.Backup.GenHigh != 5 || r.Header.PageSize != size ||
				r.Pages.Bad != 1 || r.Pages.Correctable != 1 || r.Pages.Good+r.Pages.Unused != 28 {
				t.Errorf("%d in steps of %d: %v, %+v, %v", size, step, got, r.Pages, err)
			}
		}
	}
}

func TestStreamCheckerErrors(t *testing.T) {
	whole := backup(4096).Bytes()
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-5]++
	for what, x := range map[string]struct {
		b    []byte
		size int
		want error
	}{
		"whole":           {whole, len(whole), nil},
		"damaged trailer": {damaged, len(whole), ese.ErrTrailer},
		"no trailer":      {whole[:len(whole)-4096], len(whole) - 4096, ese.ErrTrailer},
		"shorter":         {whole[:len(whole)-4096], len(whole), ese.ErrTrailer},
		"cut":             {whole[:len(whole)-1], len(whole), ese.ErrCorrupt},
		"longer":          {append(bytes.Clone(whole), 1), len(whole), ese.ErrCorrupt},
		"only a header":   {whole[:8192], len(whole), ese.ErrTrailer},
		"no database":     {make([]byte, 1<<17), 1 << 17, ese.ErrNotDatabase},
		"nothing":         {nil, 0, ese.ErrNotDatabase},
	} {
		s := ese.NewStreamChecker(int64(x.size), func(ese.PageCheck) error { return nil })
		if _, err := io.Copy(struct{ io.Writer }{s}, bytes.NewReader(x.b)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := s.Close(); !errors.Is(err, x.want) || x.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", what, err, x.want)
		}
	}
	stop := errors.New("a bad page")
	whole[11*4096+500] ^= 3
	s := ese.NewStreamChecker(int64(len(whole)), func(ese.PageCheck) error { return stop })
	if _, err := s.Write(whole); err != stop {
		t.Error(err)
	}
	if _, err := s.Write(whole[:1]); err != stop {
		t.Error(err)
	}
}

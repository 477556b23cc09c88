package ese_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
	"github.com/certkeep/certkeep/internal/need"
)

// benchFile is a file of sealed pages in a temporary directory, in the cache of the
// operating system. 1 GiB with CERTKEEP_TEST_HEAVY=1, else 64 MiB.
func benchFile(b *testing.B, pageSize int) (*os.File, int64) {
	b.Helper()
	size := int64(64 << 20)
	if need.Heavy() {
		size = 1 << 30
	}
	f, err := os.Create(filepath.Join(b.TempDir(), "pages.edb"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	page := make([]byte, pageSize)
	for i := 80; i+8 <= len(page); i += 8 {
		binary.LittleEndian.PutUint64(page[i:], uint64(i)*0x9e3779b97f4a7c15)
	}
	buf := bytes.NewBuffer(make([]byte, 2*pageSize))
	seed.Seal(page, 0, false)
	for n := int64(1); n <= size/int64(pageSize)-2; n++ {
		// Another number changes nothing but the plain sums.
		p := bytes.Clone(page)
		for block := range 4 {
			at := 0
			if block > 0 {
				if pageSize <= 8192 {
					break
				}
				at = 32 + 8*block
			}
			binary.LittleEndian.PutUint32(p[at:], binary.LittleEndian.Uint32(p[at:])^uint32(n))
		}
		if pageSize > 8192 || n == 1 { // the first block covers the others' sums
			seed.Seal(p, uint32(n), false)
		}
		buf.Write(p)
		if buf.Len() >= 1<<20 {
			if _, err := buf.WriteTo(f); err != nil {
				b.Fatal(err)
			}
		}
	}
	if _, err := buf.WriteTo(f); err != nil {
		b.Fatal(err)
	}
	return f, size
}

// BenchmarkCheckFile checks the pages of a warm file, and in turn only reads it with
// the same calls, which takes the noise of a busy machine out of the comparison:
// %-of-read is the speed of checking in percent of that of reading.
func BenchmarkCheckFile(b *testing.B) {
	for _, pageSize := range []int{4096, 32768} {
		f, size := benchFile(b, pageSize)
		last := uint32(size/int64(pageSize) - 2)
		for workers := 1; workers <= min(2, runtime.GOMAXPROCS(0)); workers++ {
			b.Run(fmt.Sprintf("%d/workers-%d", pageSize, workers), func(b *testing.B) {
				c := ese.Checker{PageSize: pageSize, First: 1, Last: last, Workers: workers}
				buf := make([]byte, 256<<10)
				b.SetBytes(size)
				var reading, checking time.Duration
				for b.Loop() {
					b.StopTimer()
					start := time.Now()
					for off := int64(0); off < size; off += int64(len(buf)) {
						if _, err := f.ReadAt(buf, off); err != nil && err != io.EOF {
							b.Fatal(err)
						}
					}
					reading += time.Since(start)
					b.StartTimer()
					start = time.Now()
					counts, err := c.Check(context.Background(), f, func(p ese.PageCheck) error { return p.Err() })
					if err != nil || counts.Good != uint64(last) {
						b.Fatal(counts, err)
					}
					checking += time.Since(start)
				}
				b.ReportMetric(100*float64(reading)/float64(checking), "%-of-read")
			})
		}
	}
}

// BenchmarkCheckPage checks one page in memory, and for comparison only adds it up.
func BenchmarkCheckPage(b *testing.B) {
	for _, size := range pageSizes {
		page := seed.Sample(size, true).Pages[11].Bytes(size, 11)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if ese.CheckPage(page, 11).Verdict != ese.PageGood {
					b.Fatal("not good")
				}
			}
		})
		b.Run(fmt.Sprint(size, "/sum"), func(b *testing.B) {
			b.SetBytes(int64(size))
			var sum uint64
			for b.Loop() {
				for p := page; len(p) >= 32; p = p[32:] {
					sum += binary.LittleEndian.Uint64(p) + binary.LittleEndian.Uint64(p[8:]) + binary.LittleEndian.Uint64(p[16:]) + binary.LittleEndian.Uint64(p[24:])
				}
			}
			runtime.KeepAlive(sum)
		})
	}
}

package ese

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// Checker holds a range of a database's pages against their checksums.
type Checker struct {
	PageSize    int    // in bytes
	First, Last uint32 // pages, both included

	// Workers is how many pages are checked at a time; one if it is less.
	Workers int
}

// PageCounts says how many pages of each verdict there were.
type PageCounts struct {
	Good, Unused, Correctable, Bad uint64
}

func (c *PageCounts) add(d PageCounts) {
	c.Good += d.Good
	c.Unused += d.Unused
	c.Correctable += d.Correctable
	c.Bad += d.Bad
}

// checkChunk is how much is read at once: it stays in the second-level cache until
// it is checked.
const checkChunk = 256 << 10

// Checker returns one for all pages of the database.
func (db *Database) Checker() Checker {
	return Checker{PageSize: db.header.PageSize, First: 1, Last: db.pages}
}

// Check reads and checks the pages. It calls report for every page that is neither
// good nor unused, or cannot be read, in the order of the pages and one at a time,
// whatever Workers is. It ends early with the error that report or the context gives.
func (c Checker) Check(ctx context.Context, r io.ReaderAt, report func(PageCheck) error) (PageCounts, error) {
	var total PageCounts
	if !validPageSize(c.PageSize) {
		return total, fmt.Errorf("check pages: no pages of %d bytes", c.PageSize)
	}
	if c.First > c.Last {
		return total, nil
	}
	each := uint64(checkChunk / c.PageSize)
	chunks := (uint64(c.Last) - uint64(c.First) + each) / each
	workers := int(min(uint64(max(c.Workers, 1)), chunks))
	if workers == 1 {
		buf := make([]byte, checkChunk)
		for i := range chunks {
			if err := ctx.Err(); err != nil {
				return total, err
			}
			res := c.chunk(r, buf, i)
			total.add(res.counts)
			if err := res.deliver(report); err != nil {
				return total, err
			}
		}
		return total, nil
	}
	return c.parallel(ctx, r, report, workers, chunks)
}

// parallel gives each chunk a channel of its own for its result, and reads those in
// order. As many chunks as the window has room for are under way.
func (c Checker) parallel(ctx context.Context, r io.ReaderAt, report func(PageCheck) error, workers int, chunks uint64) (total PageCounts, err error) {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	window := make([]chan chunkResult, 4*workers)
	for i := range window {
		window[i] = make(chan chunkResult, 1)
	}
	room := make(chan struct{}, len(window)) // a chunk may begin if its place in the window is empty
	for range window {
		room <- struct{}{}
	}
	var next atomic.Uint64
	for range workers {
		wg.Go(func() {
			buf := make([]byte, checkChunk)
			for {
				select {
				case <-room:
				case <-ctx.Done():
					return
				}
				i := next.Add(1) - 1
				if i >= chunks {
					return
				}
				window[i%uint64(len(window))] <- c.chunk(r, buf, i)
			}
		})
	}
	for i := range chunks {
		select {
		case res := <-window[i%uint64(len(window))]:
			total.add(res.counts)
			if err := res.deliver(report); err != nil {
				return total, err
			}
			room <- struct{}{}
		case <-ctx.Done():
			return total, ctx.Err()
		}
	}
	return total, nil
}

type chunkResult struct {
	counts PageCounts
	pages  []PageCheck
}

func (r chunkResult) deliver(report func(PageCheck) error) error {
	for _, p := range r.pages {
		if err := report(p); err != nil {
			return err
		}
	}
	return nil
}

// chunk reads and checks the i-th part of the pages.
func (c Checker) chunk(r io.ReaderAt, buf []byte, i uint64) (res chunkResult) {
	n := uint64(c.PageSize)
	page := uint64(c.First) + i*(checkChunk/n)
	count := min(checkChunk/n, uint64(c.Last)-page+1)
	buf = buf[:count*n]
	failed := readFull(r, buf, int64((page+1)*n)) != nil
	for ; len(buf) > 0; buf, page = buf[n:], page+1 {
		if !failed && wholePage(buf[:n], uint32(page)) {
			res.counts.Good++
			continue
		}
		var check PageCheck
		off := int64((page + 1) * n)
		var err error
		if failed { // one by one, to know which
			err = readFull(r, buf[:n], off)
		}
		if err != nil {
			check = PageCheck{Page: uint32(page), Offset: off, Verdict: PageBad, Unread: err}
		} else {
			check = CheckPage(buf[:n], uint32(page))
		}
		if check.Verdict > PageUnused {
			res.pages = append(res.pages, check)
		}
		res.counts.count(check.Verdict)
	}
	return res
}

func (c *PageCounts) count(v PageVerdict) {
	switch v {
	case PageGood:
		c.Good++
	case PageUnused:
		c.Unused++
	case PageCorrectable:
		c.Correctable++
	default:
		c.Bad++
	}
}

package backup

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
)

// PagePolicy is what [Take] does when a page of AD CS's database arrives damaged. Pages
// are checked as they pass, none is read twice.
type PagePolicy string

// The policies.
const (
	// FailOnBadPages ends the backup with a [*PagesError]; there is no set, and no log
	// is truncated. It is what an empty policy means.
	FailOnBadPages PagePolicy = "fail"

	// MarkBadPages finishes it: better a set with a hole than none. The set names the
	// pages in a companion, BadPagesName, and TakeResult.Unchecked does; logs are not
	// truncated, since with an older copy of the page they are what it can be made
	// from again.
	MarkBadPages PagePolicy = "mark"
)

// BadPagesName is the companion of a set in which pages of the database are damaged.
const BadPagesName = "bad-pages.txt"

// ParsePagePolicy reads the name of a policy; an empty one is FailOnBadPages.
func ParsePagePolicy(s string) (PagePolicy, error) {
	switch p := PagePolicy(strings.ToLower(s)); p {
	case "":
		return FailOnBadPages, nil
	case FailOnBadPages, MarkBadPages:
		return p, nil
	}
	return "", fmt.Errorf("%q is no policy for damaged pages: fail or mark", s)
}

// PagesError says that a database arrived with damage.
type PagesError struct {
	File  string
	Pages []ese.PageCheck // the first of them
	More  int             // that are not among Pages
	Other error           // of header, trailer or length
}

// Error names the first page.
func (e *PagesError) Error() string {
	if len(e.Pages) == 0 {
		return fmt.Sprintf("%s: as the server sent it: %v", e.File, e.Other)
	}
	s := fmt.Sprintf("%s: as the server sent it: %v", e.File, e.Pages[0].Err())
	if n := len(e.Pages) + e.More - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more pages)", n)
	}
	return s
}

func (e *PagesError) Unwrap() error {
	if len(e.Pages) > 0 {
		return e.Pages[0].Err()
	}
	return e.Other
}

// Hint says what can be done.
func (e *PagesError) Hint() string {
	return "the database or its disk is damaged, or the transfer was: look at the CA's event log for ESENT errors (-1018), keep all older sets and logs, and do not truncate; " +
		"to have what there is, finish the set in spite of it"
}

// maxBadPages bounds what is kept of them.
const maxBadPages = 1000

// pageWatch checks the pages of a database that is read through it, in a goroutine of
// its own, so that the copying does not wait.
type pageWatch struct {
	src    io.Reader
	policy PagePolicy
	err    *PagesError
	noted  []string // single bits that the checksum locates

	checker *ese.StreamChecker
	blocks  chan []byte // to be checked
	free    chan []byte // to be used again
	done    chan struct{}

	mu   sync.Mutex
	stop error
}

// watchPages returns src itself if the file is no database of AD CS.
func (t *taker) watchPages(role backupset.Role, name string, size int64, src io.Reader, policy PagePolicy) (io.Reader, *pageWatch) {
	base := certadm.BaseName(name)
	if role != backupset.RoleDatabase || t.m.Engine != cadb.EngineESE && !strings.EqualFold(path.Ext(base), ".edb") {
		return src, nil
	}
	w := newPageWatch(base, size, src, policy)
	return w, w
}

func newPageWatch(name string, size int64, src io.Reader, policy PagePolicy) *pageWatch {
	const buffers = 4
	w := &pageWatch{src: src, policy: policy, err: &PagesError{File: name}, blocks: make(chan []byte, buffers), free: make(chan []byte, buffers), done: make(chan struct{})}
	w.checker = ese.NewStreamChecker(size, w.report)
	for range buffers {
		w.free <- nil
	}
	go func() {
		defer close(w.done)
		for b := range w.blocks {
			if _, err := w.checker.Write(b); err != nil {
				w.mu.Lock()
				w.stop = w.err
				w.mu.Unlock()
			}
			w.free <- b
		}
	}()
	return w
}

// report takes a page that is not good.
func (w *pageWatch) report(p ese.PageCheck) error {
	if p.Verdict == ese.PageCorrectable {
		if len(w.noted) < maxBadPages {
			w.noted = append(w.noted, fmt.Sprintf("%s: page %d at offset %d: one wrong bit, which the engine would correct", w.err.File, p.Page, p.Offset))
		}
		return nil
	}
	if len(w.err.Pages) < maxBadPages {
		w.err.Pages = append(w.err.Pages, p)
	} else {
		w.err.More++
	}
	if w.policy != MarkBadPages {
		return w.err
	}
	return nil
}

// Read passes on what src has. A page that ends the backup ends it some reads later.
func (w *pageWatch) Read(p []byte) (int, error) {
	w.mu.Lock()
	stop := w.stop
	w.mu.Unlock()
	if stop != nil {
		return 0, stop
	}
	n, err := w.src.Read(p)
	if n > 0 {
		w.blocks <- append((<-w.free)[:0], p[:n]...)
	}
	return n, err
}

// finish waits for the check. whole says that the file was read to its end, so that
// header, trailer and length count.
func (w *pageWatch) finish(whole bool) error {
	close(w.blocks)
	<-w.done
	_, err := w.checker.Close()
	if whole && err != nil && !errors.As(err, new(*PagesError)) {
		w.err.Other = err
	}
	if len(w.err.Pages) > 0 || w.err.Other != nil {
		return w.err
	}
	return nil
}

// pagesChecked decides what damage means. It returns the error that ends the backup.
func (t *taker) pagesChecked(w *pageWatch) error {
	err := w.finish(true)
	t.unchecked = append(t.unchecked, w.noted...)
	if err == nil || w.policy != MarkBadPages {
		return err
	}
	t.o.KeepLog = true
	var text strings.Builder
	fmt.Fprintf(&text, "The database %s arrived with damage; logs were not truncated.\r\n", w.err.File)
	for _, p := range w.err.Pages {
		line := fmt.Sprintf("page %d at offset %d: %v", p.Page, p.Offset, errors.Unwrap(p.Err()))
		text.WriteString(line + "\r\n")
		t.unchecked = append(t.unchecked, w.err.File+": "+line)
	}
	if w.err.More > 0 {
		fmt.Fprintf(&text, "and %d more pages\r\n", w.err.More)
	}
	if w.err.Other != nil {
		fmt.Fprintf(&text, "%v\r\n", w.err.Other)
		t.unchecked = append(t.unchecked, w.err.File+": "+w.err.Other.Error())
	}
	t.o.Companions = append(t.o.Companions[:len(t.o.Companions):len(t.o.Companions)], Companion{Name: BadPagesName, Data: []byte(text.String())})
	return nil
}

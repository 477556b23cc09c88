package cadb

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"sync"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
)

// eseReader reads a database of AD CS. What is damaged in it is passed over and told
// at the end of an iteration (IncompleteError). In a copy whose logs were not
// replayed, what does not fit together is merely noted.
type eseReader struct {
	f    *os.File
	db   *ese.Database
	size int64

	requestTable   eseRequests
	certTable      eseCertificates
	extensionTable eseTable
	attributeTable eseTable
	crlTable       eseTable

	fuzzy bool // it was not shut down: logs would have to be replayed first

	mu    sync.Mutex
	found []string // notes of our own
}

// eseCache is the memory for pages, in bytes: enough that the trees of long values of
// two tables do not throw each other's pages out.
const eseCache = 8 << 20

func openESE(path string) (*eseReader, int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	r := &eseReader{f: f}
	if err := r.open(); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return r, r.db.Header().PageSize, nil
}

func (r *eseReader) open() error {
	fi, err := r.f.Stat()
	if err != nil {
		return err
	}
	r.size = fi.Size()
	if r.db, err = ese.OpenWith(newReadAhead(r.f, r.size), r.size, ese.Options{CacheBytes: eseCache}); err != nil {
		return err
	}
	r.fuzzy = r.db.State() != ese.CleanShutdown
	return r.readSchema()
}

func (r *eseReader) close() error { return r.f.Close() }

// note keeps a remark once, and not too many.
func (r *eseReader) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, have := range r.found {
		if have == s {
			return
		}
	}
	if len(r.found) < 100 {
		r.found = append(r.found, s)
	}
}

func (r *eseReader) notes() []string {
	notes := r.db.Notes()
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(notes, r.found...)
}

// eseTable is one of the five tables, with its columns as schema names them.
type eseTable struct {
	*ese.Table
	name    string
	columns map[string]*ese.Column // those that there are, by the name in schema
	id      *ese.Column            // the request's number, or the row's

	// ordered says that the rows come in the order of that number.
	ordered bool
}

// readSchema finds the tables and their columns. Other versions of AD CS lack some
// columns, or have more; the ones that rows are found by must be there.
func (r *eseReader) readSchema() error {
	tables := make(map[string]eseTable)
	for _, t := range schema.Tables {
		x := eseTable{name: t.Name, columns: make(map[string]*ese.Column)}
		var err error
		if x.Table, err = r.db.Table(t.Name); err != nil {
			return fmt.Errorf("it is no certification authority's database: %w", err)
		}
		onDisk := make(map[string]*ese.Column)
		for _, c := range x.Columns() {
			onDisk[schema.DiskName(c.Name)] = c
		}
		for _, c := range t.Columns {
			for _, name := range schema.DiskNames(t.Name, c.Name) {
				if have := onDisk[name]; have != nil && x.columns[c.Name] == nil {
					x.columns[c.Name] = have
				}
			}
		}
		if x.id = x.columns[t.Columns[0].Name]; x.id == nil {
			return fmt.Errorf("table %s has no column %s", t.Name, t.Columns[0].Name)
		}
		for _, index := range x.Indexes() {
			x.ordered = x.ordered || index.Primary() && len(index.Columns) > 0 && index.Columns[0] == x.id.Name
		}
		x.ordered = x.ordered && !x.beginsHigh(r)
		tables[t.Name] = x
	}
	r.requestTable, r.certTable = newESERequests(tables[schema.Requests]), newESECertificates(tables[schema.Certificates])
	r.extensionTable, r.attributeTable, r.crlTable = tables[schema.CertificateExtensions], tables[schema.RequestAttributes], tables[schema.CRLs]
	return nil
}

// beginsHigh says that the first row's number is from 2^31 on. The engine's numbers of 32
// bits have a sign, and such rows come before all others.
func (t eseTable) beginsHigh(r *eseReader) bool {
	for row, err := range t.Rows() {
		if err == nil {
			w := eseRow{x: &faults{r: r, table: t.name}, row: row}
			return w.id(t.id) > math.MaxInt32
		}
	}
	return false
}

// table returns one of the five by its name.
func (r *eseReader) table(name string) eseTable {
	switch name {
	case schema.Requests:
		return r.requestTable.eseTable
	case schema.Certificates:
		return r.certTable.eseTable
	case schema.CertificateExtensions:
		return r.extensionTable
	case schema.RequestAttributes:
		return r.attributeTable
	}
	return r.crlTable
}

// IncompleteError ends an iteration over a database of which something could not be
// read. Everything that could be read was yielded before.
type IncompleteError struct {
	Table string
	Count int   // of places that could not be read
	First error // the first of them, with its page
}

func (e *IncompleteError) Error() string {
	if e.Count == 1 {
		return fmt.Sprintf("%s: not all could be read: %v", e.Table, e.First)
	}
	return fmt.Sprintf("%s: not all could be read: %v (and %d more)", e.Table, e.First, e.Count-1)
}

func (e *IncompleteError) Unwrap() error { return e.First }

// faults gathers what could not be read during an iteration, and remembers texts.
type faults struct {
	r     *eseReader
	table string
	count int
	first error

	texts map[*ese.Column]*lastText
	buf   []byte
}

// add takes in an error. It is the database's damage unless the copy is one in which
// that is normal.
func (x *faults) add(err error) {
	if x.r.explained(err) {
		x.r.note("%s: %v", x.table, err)
		return
	}
	if x.count++; x.first == nil {
		x.first = err
	}
}

func (x *faults) err() error {
	if x.count == 0 {
		return nil
	}
	return &IncompleteError{x.table, x.count, x.first}
}

// explained says that an error may come of logs that were not replayed: pages of
// different moments stand side by side. A wrong checksum never does.
func (r *eseReader) explained(err error) bool {
	if errors.Is(err, ese.ErrUnsupported) {
		return true
	}
	structure := errors.Is(err, ese.ErrCorrupt) || errors.Is(err, ese.ErrNoLongValue)
	return r.fuzzy && structure && !errors.Is(err, ese.ErrChecksum)
}

// rowsOf goes through a table. Errors go to the faults; the context is looked at now and
// then, and its error is the only one that is yielded.
func (r *eseReader) rowsOf(ctx context.Context, t eseTable, x *faults) iter.Seq2[ese.Row, error] {
	return func(yield func(ese.Row, error) bool) {
		n := -1
		for row, err := range t.Rows() {
			if n++; n%256 == 0 && ctx.Err() != nil {
				yield(ese.Row{}, ctx.Err())
				return
			}
			if err != nil {
				x.add(err)
				continue
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(ese.Row{}, err)
		}
	}
}

package ese

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Options change how a database is read. The zero value is what Open uses.
type Options struct {
	// CacheBytes bounds the pages that are kept in memory. 0 means 1 MiB, negative
	// means none. Rows hold on to the page they stand on, whatever this is.
	CacheBytes int
}

// Database is an open database.
type Database struct {
	r       io.ReaderAt
	size    int64
	header  Header
	copies  HeaderCopies
	trailer *Trailer
	bad     error  // why the trailer is not good
	pages   uint32 // number of the last page
	cache   []atomic.Pointer[page]

	tables []*Table
	byName map[string]*Table
	byID   map[uint32]*Table

	mu      sync.Mutex
	notes   []string
	dropped int
}

// Open reads the header and the catalog of the database that r holds, which is size
// bytes long. A database that was not shut down, or is damaged in places, is opened if
// there is a good header and anything of the catalog can be read: see
// [Database.Notes].
func Open(r io.ReaderAt, size int64) (*Database, error) { return OpenWith(r, size, Options{}) }

// OpenWith is Open with options.
func OpenWith(r io.ReaderAt, size int64, o Options) (*Database, error) {
	db := &Database{r: r, size: size}
	var err error
	if db.header, db.copies, err = ReadHeader(r, size); err != nil {
		return nil, err
	}
	n := int64(db.header.PageSize)
	pages := size/n - 2
	if db.header.StreamingBackup() {
		t, err := ReadTrailer(r, size, db.header)
		if err == nil {
			err = t.Match(db.header)
			db.trailer = &t
		}
		if db.bad = err; err != nil {
			db.note("the trailer of the backup is no good: %v", err)
		}
		// Without it, the last page is the database's if it has a page's checksum.
		if db.trailer != nil || !db.lastIsPage(pages) {
			pages--
		}
	}
	if pages < 1 || pages >= 1<<32 {
		return nil, fmt.Errorf("%w: %d bytes in pages of %d", ErrNotDatabase, size, n)
	}
	db.pages = uint32(pages)
	if size%n != 0 {
		db.note("the file ends in the middle of a page: %d bytes over", size%n)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 1 << 20
	}
	if o.CacheBytes > 0 {
		db.cache = make([]atomic.Pointer[page], max(o.CacheBytes/int(n), 16))
	}
	db.describe()
	if err := db.loadCatalog(); err != nil {
		return nil, err
	}
	return db, nil
}

// describe notes what the header says that a reader should know.
func (db *Database) describe() {
	h := db.header
	switch {
	case db.copies.UsedShadow:
		db.note("the header is damaged; its shadow was used")
	case !db.copies.ShadowGood && !h.ShadowDisabled:
		db.note("the shadow of the header is damaged")
	case db.copies.Differ:
		db.note("the header and its shadow differ; the header was used")
	}
	if !h.KnownRevision() {
		db.note("revision %d of the format is newer than what this reader was tried on", h.Revision)
	}
	if h.State != CleanShutdown {
		low, high, _ := h.RequiredLogs(db.trailer)
		switch {
		case db.trailer != nil || h.StreamingBackup():
			db.note("a backup made while the engine ran, logs %d to %d not replayed: rows can be missing, old or there twice", low, high)
		case low != 0:
			db.note("%v, logs %d to %d not replayed: rows can be missing, old or there twice", h.State, low, high)
		default:
			db.note("%v: rows can be missing, old or there twice", h.State)
		}
	}
	if h.Repairs.Count != 0 {
		db.note("it was repaired %d times (esentutl /p): data may have been thrown away", h.Repairs.Count)
	}
	if h.BadChecksums.Count != 0 {
		db.note("the engine has met damaged pages in it %d times, last at %v", h.BadChecksums.Count, h.BadChecksums.Last.Time())
	}
	if h.ECCNotFixed.Count != 0 {
		db.note("the engine could not correct wrong bits in it %d times", h.ECCNotFixed.Count)
	}
}

// KnownRevision says whether the format's revision is one that this package was
// tried on, or an older one. Newer ones are read as if they were the same.
func (h Header) KnownRevision() bool { return h.Revision <= 300 }

// Header returns the header, of the copy that Copies tells.
func (db *Database) Header() Header { return db.header }

// Copies says which copies of the header were good.
func (db *Database) Copies() HeaderCopies { return db.copies }

// State is the state in the header. Other than [CleanShutdown], what is read is
// best effort.
func (db *Database) State() State { return db.header.State }

// Trailer returns the trailer of a streaming backup. It is nil without an error if
// the database is none.
func (db *Database) Trailer() (*Trailer, error) { return db.trailer, db.bad }

// Pages is how many pages the file has, without header, shadow and trailer. Pages are
// numbered from 1.
func (db *Database) Pages() uint32 { return db.pages }

// maxNotes bounds the notes that are kept.
const maxNotes = 100

// note keeps a remark once.
func (db *Database) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	db.mu.Lock()
	defer db.mu.Unlock()
	switch {
	case slices.Contains(db.notes, s):
	case len(db.notes) == maxNotes:
		db.dropped++
	default:
		db.notes = append(db.notes, s)
	}
}

// Notes is what someone who relies on the contents should know, in plain words: that
// the database is dirty, which header was used, bits that were corrected, neighbours
// in a tree that disagree. Reading rows can add to it.
func (db *Database) Notes() []string {
	db.mu.Lock()
	defer db.mu.Unlock()
	notes := slices.Clone(db.notes)
	if db.dropped > 0 {
		notes = append(notes, fmt.Sprintf("and %d more", db.dropped))
	}
	return notes
}

// Page reads and checks a page. The buffer is the caller's.
func (db *Database) Page(number uint32) ([]byte, error) {
	n := int64(db.header.PageSize)
	off := (int64(number) + 1) * n
	if number == 0 || number > db.pages {
		return nil, &PageError{number, off, corrupt("the file has %d pages", db.pages)}
	}
	buf := make([]byte, n)
	if err := readFull(db.r, buf, off); err != nil {
		return nil, &PageError{number, off, err}
	}
	check := CheckPage(buf, number)
	if err := check.Err(); err != nil {
		return nil, err
	}
	if check.Verdict == PageCorrectable {
		check.correct(buf)
		db.note("page %d at offset %d: a wrong bit was corrected in memory", number, off)
	}
	return buf, nil
}

// page returns a page in use: an unused one is an error.
func (db *Database) page(number uint32) (*page, error) {
	var slot *atomic.Pointer[page]
	if len(db.cache) > 0 {
		slot = &db.cache[number%uint32(len(db.cache))]
		if p := slot.Load(); p != nil && p.number == number {
			return p, nil
		}
	}
	buf, err := db.Page(number)
	if err != nil {
		return nil, err
	}
	p, err := newPage(buf, number)
	if err != nil {
		if isZero(buf) {
			err = corrupt("a page that was never used")
		}
		return nil, db.at(number, err)
	}
	if slot != nil {
		slot.Store(p)
	}
	return p, nil
}

// at says on which page an error was.
func (db *Database) at(number uint32, err error) error {
	if pe := (*PageError)(nil); err == nil || errors.As(err, &pe) {
		return err
	}
	return &PageError{number, (int64(number) + 1) * int64(db.header.PageSize), err}
}

// lastIsPage says whether the last page of the file has a page's checksum.
func (db *Database) lastIsPage(number int64) bool {
	buf := make([]byte, db.header.PageSize)
	return number > 0 && readFull(db.r, buf, (number+1)*int64(len(buf))) == nil && CheckPage(buf, uint32(number)).Verdict == PageGood
}

// Table returns the table with that name. Case does not matter unless names differ
// by nothing else.
func (db *Database) Table(name string) (*Table, error) {
	if t := db.byName[name]; t != nil {
		return t, nil
	}
	for _, t := range db.tables {
		if strings.EqualFold(t.name, name) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNoTable, name)
}

// Tables returns all tables in the order of their object ids, the system's (names
// that begin with MSys) included.
func (db *Database) Tables() []*Table { return slices.Clone(db.tables) }

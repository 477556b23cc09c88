// Package cadb reads the database of a certification authority: requests,
// certificates, extensions, attributes and certificate revocation lists, under
// the names that AD CS gives them (package schema), whichever engine holds
// them. It also proves them: [Check] holds every row against the signed object
// in it.
//
// Nothing here writes to a database or beside it, and a database is taken to be
// hostile: see [Open].
//
//	db, err := cadb.Open(ctx, "scratch/Example CA.db")
//	…
//	defer db.Close()
//	for r, err := range db.Requests(ctx, cadb.Filter{Dispositions: []schema.Disposition{schema.Revoked}}) {
//		…
//	}
//
// SQLite databases of the embedded authority and ESE databases of AD CS are read. The
// latter is not recovered first, since only its own service replays its logs: see
// [Info].
package cadb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
)

// ErrUnsupported is the answer to what an engine cannot do here: logs of AD CS are
// replayed by its service alone, and those of a later version are not understood.
var ErrUnsupported = errors.New("not supported for ESE files (those of AD CS)")

// ErrNotDatabase is the answer to a file that no known engine wrote.
var ErrNotDatabase = errors.New("not a database that certkeep knows")

// Engine names.
const (
	EngineSQLite = "sqlite"
	EngineESE    = "ese"
)

// DB is an open database. Its methods may be used by several goroutines, and an
// iteration may be begun inside another one.
type DB struct {
	r    reader
	info Info
}

// Info says what kind of database it is.
type Info struct {
	Engine   string `json:"engine"`
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	PageSize int    `json:"page_size"`

	// Rows counts the rows of each of the five tables. It is nil for ESE, where
	// counting means reading all of them: see [DB.RowCounts].
	Rows map[string]int64 `json:"rows,omitempty"`

	// State is the state that an ESE database itself names, as "clean shutdown".
	// Unrecovered says that it is another: logs would have to be replayed first, and
	// rows can be missing, old or there twice.
	State       string `json:"state,omitempty"`
	Unrecovered bool   `json:"unrecovered,omitempty"`

	// Notes is what somebody who relies on the contents should know. Reading can add
	// to it.
	Notes []string `json:"notes,omitempty"`
}

// reader is what an engine implements. An iteration yields an IncompleteError as the
// last thing, if any.
type reader interface {
	requests(context.Context, Filter) iter.Seq2[Request, error]
	extensions(ctx context.Context, id int64) iter.Seq2[Extension, error]
	attributes(ctx context.Context, id int64) iter.Seq2[Attribute, error]
	crls(context.Context) iter.Seq2[CRL, error]
	counts(context.Context) (map[schema.Disposition]int, error)
	rows(context.Context) (map[string]int64, error)
	orphans(context.Context) iter.Seq2[orphan, error]
	checkDefinitions(context.Context) ([]Finding, error)
	integrity(context.Context) ([]string, error)
	notes() []string
	close() error
}

// orphan is a row whose request is missing.
type orphan struct {
	table string
	id    int64
}

// Open opens a database file; its first bytes tell the engine. One of SQLite must be
// recovered; one of ESE is read as it stands, see [Info]. The
// file and its directory are not written to. A "-wal" with something in it
// beside an SQLite database belongs to its contents, and both are then copied
// to a temporary directory and read there.
//
// The file may come from an enemy: it is opened read-only and without trusting
// its schema; one that has views, triggers, virtual tables or computed columns,
// which a CA's database has no use for, is refused; no cell larger than
// [schema.MaxCell] is read. What its contents claim is another matter, see
// [Check].
//
// Do not open a database that this process has open for writing: on some
// systems, closing any descriptor of a file gives up the locks on it.
func Open(ctx context.Context, path string) (*DB, error) {
	head, size, err := readHead(path)
	if err != nil {
		return nil, err
	}
	engine, err := databaseEngine(head)
	if err != nil && size > 0 && strings.EqualFold(filepath.Ext(path), ".edb") {
		engine, err = EngineESE, nil // its header has a shadow
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db := &DB{info: Info{Engine: engine, Path: path, Size: size}}
	if engine == EngineESE {
		r, pageSize, err := openESE(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, notDatabase(err))
		}
		db.r, db.info.PageSize, db.info.State, db.info.Unrecovered = r, pageSize, r.db.State().String(), r.fuzzy
		return db, ctx.Err()
	}
	r, pageSize, err := openSQLite(ctx, path, head)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db.r, db.info.PageSize = r, pageSize
	if db.info.Rows, err = r.rows(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), r.close())
	}
	return db, nil
}

// notDatabase makes an error of package ese one of this package, too.
func notDatabase(err error) error {
	if errors.Is(err, ese.ErrNotDatabase) || errors.Is(err, ese.ErrVersion) {
		return fmt.Errorf("%w: %w", ErrNotDatabase, err)
	}
	return err
}

// headSize is as much of a file as is needed to know its engine.
const headSize = 4096

func readHead(path string) (head []byte, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !fi.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: not a regular file", path)
	}
	head, err = io.ReadAll(io.LimitReader(f, headSize))
	return head, fi.Size(), err
}

// databaseEngine tells the engine of a database file from its first bytes.
func databaseEngine(head []byte) (string, error) {
	switch {
	case bytes.HasPrefix(head, []byte("SQLite format 3\x00")):
		return EngineSQLite, nil
	case len(head) >= 8 && binary.LittleEndian.Uint32(head[4:]) == 0x89abcdef:
		return EngineESE, nil
	case len(head) == 0:
		return "", fmt.Errorf("%w: the file is empty", ErrNotDatabase)
	}
	return "", ErrNotDatabase
}

// Close releases the database, and its temporary copy if there is one.
func (db *DB) Close() error { return db.r.close() }

// Info says what kind of database it is, as of Open, and what was noted since.
func (db *DB) Info() Info {
	info := db.info
	info.Notes = db.r.notes()
	return info
}

// RowCounts counts the rows of each of the five tables, by reading them.
func (db *DB) RowCounts(ctx context.Context) (map[string]int64, error) { return db.r.rows(ctx) }

// Name is the base name of the database file, for messages.
func (db *DB) Name() string { return filepath.Base(db.info.Path) }

// Requests yields the requests that pass the filter in the order of their id,
// each with its certificate. An error ends the iteration; an [*IncompleteError] comes
// behind all that could be read.
func (db *DB) Requests(ctx context.Context, f Filter) iter.Seq2[Request, error] {
	return db.r.requests(ctx, f)
}

// AllExtensions, as the id given to Extensions and Attributes, asks for those
// of every request, in the order of the request ids.
const AllExtensions int64 = -1

// Extensions yields the extension rows of a request.
func (db *DB) Extensions(ctx context.Context, id int64) iter.Seq2[Extension, error] {
	return db.r.extensions(ctx, id)
}

// Attributes yields the attribute rows of a request.
func (db *DB) Attributes(ctx context.Context, id int64) iter.Seq2[Attribute, error] {
	return db.r.attributes(ctx, id)
}

// CRLs yields the certificate revocation lists in the order of their rows,
// which is that of their making.
func (db *DB) CRLs(ctx context.Context) iter.Seq2[CRL, error] { return db.r.crls(ctx) }

// Counts counts the requests of each disposition.
func (db *DB) Counts(ctx context.Context) (map[schema.Disposition]int, error) {
	return db.r.counts(ctx)
}

// IntegrityCheck asks the engine whether the file is in order: its pages,
// records, and indexes against tables. It returns what the engine found, at
// most a hundred messages; none is good news. It says nothing about whether
// the contents are the right ones.
func (db *DB) IntegrityCheck(ctx context.Context) ([]string, error) { return db.r.integrity(ctx) }

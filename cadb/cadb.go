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
// SQLite databases of the embedded authority can be read today; ESE databases
// of AD CS are recognized and answered with [ErrUnsupported].
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

	"github.com/certkeep/certkeep/cadb/schema"
)

// ErrUnsupported is the answer to files of an engine that is known, but cannot
// be read yet.
var ErrUnsupported = errors.New("ESE files (those of AD CS) are not supported yet")

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

	// Rows counts the rows of each of the five tables.
	Rows map[string]int64 `json:"rows"`
}

// reader is what an engine implements.
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
	close() error
}

// orphan is a row whose request is missing.
type orphan struct {
	table string
	id    int64
}

// Open opens a recovered database file; its first bytes tell the engine. The
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
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if engine != EngineSQLite {
		return nil, fmt.Errorf("%s: %w", path, ErrUnsupported)
	}
	r, pageSize, err := openSQLite(ctx, path, head)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db := &DB{r: r, info: Info{Engine: engine, Path: path, Size: size, PageSize: pageSize}}
	if db.info.Rows, err = r.rows(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), r.close())
	}
	return db, nil
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

// Info says what kind of database it is, as of Open.
func (db *DB) Info() Info { return db.info }

// Name is the base name of the database file, for messages.
func (db *DB) Name() string { return filepath.Base(db.info.Path) }

// Requests yields the requests that pass the filter in the order of their id,
// each with its certificate. An error ends the iteration.
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

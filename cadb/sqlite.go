package cadb

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/internal/durable"
)

// sqliteReader reads an SQLite database that nobody else writes.
type sqliteReader struct {
	db  *sql.DB
	tmp string // directory of the copy, if one was made

	// columns tells which of schema's columns each table has, by the lower-case
	// name, with the name as the database spells it.
	columns map[string]map[string]string
}

func openSQLite(ctx context.Context, path string, head []byte) (*sqliteReader, int, error) {
	if len(head) < 100 {
		return nil, 0, fmt.Errorf("%w: shorter than an SQLite header", ErrNotDatabase)
	}
	pageSize := int(binary.BigEndian.Uint16(head[16:]))
	if pageSize == 1 {
		pageSize = 65536
	}
	if pageSize < 512 || pageSize&(pageSize-1) != 0 {
		return nil, 0, fmt.Errorf("the header's page size %d is not a power of two of at least 512", pageSize)
	}
	if n, err := sizeOf(path + "-journal"); err != nil {
		return nil, 0, err
	} else if n > 0 {
		return nil, 0, errors.New("a rollback journal lies beside it: the database is in use, or was not closed by what wrote it")
	}
	wal, err := sizeOf(path + "-wal")
	if err != nil {
		return nil, 0, err
	}
	r := &sqliteReader{}
	dsn := sqliteURI(path, "mode=ro&immutable=1")
	if wal > 0 {
		if r.tmp, err = os.MkdirTemp("", "certkeep-db-"); err != nil {
			return nil, 0, err
		}
		copied, err := copyWithWAL(ctx, path, r.tmp)
		if err != nil {
			return nil, 0, errors.Join(err, r.close())
		}
		dsn = sqliteURI(copied, "mode=rw")
	}
	// The pragmas of https://www.sqlite.org/security.html for untrusted
	// database files; the rest of that list is in conn.
	dsn += "&_defensive=1&_dqs=0&_error_rc=1&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)" +
		"&_pragma=mmap_size(0)&_pragma=temp_store(1)&_query_only=1"
	if r.db, err = sql.Open("sqlite", dsn); err != nil {
		return nil, 0, errors.Join(err, r.close())
	}
	if err := r.readSchema(ctx); err != nil {
		return nil, 0, errors.Join(err, r.close())
	}
	return r, pageSize, nil
}

func (r *sqliteReader) close() error {
	var err error
	if r.db != nil {
		err = r.db.Close()
	}
	if r.tmp != "" {
		err = errors.Join(err, durable.OS.RemoveAll(r.tmp))
	}
	return err
}

// notes is empty: what SQLite does not read, it refuses.
func (r *sqliteReader) notes() []string { return nil }

func sizeOf(path string) (int64, error) {
	fi, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// sqliteURI is the URI of a database file, see https://www.sqlite.org/uri.html.
func sqliteURI(path, query string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	path = filepath.ToSlash(path)
	if runtime.GOOS == "windows" && !strings.HasPrefix(path, "/") {
		path = "/" + path // file:///C:/…
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: query}
	return u.String()
}

// copyWithWAL copies a database and its WAL while neither changes.
func copyWithWAL(ctx context.Context, path, dir string) (string, error) {
	dst := filepath.Join(dir, "database")
	for range 3 {
		before, err := stamps(path)
		if err != nil {
			return "", err
		}
		for _, suffix := range []string{"", "-wal"} {
			if err := copyFile(ctx, path+suffix, dst+suffix); err != nil {
				return "", err
			}
		}
		after, err := stamps(path)
		if err != nil {
			return "", err
		}
		if before == after {
			return dst, nil
		}
	}
	return "", errors.New("it is being written to: read it out of a backup instead")
}

func stamps(path string) (s [4]int64, err error) {
	for i, suffix := range []string{"", "-wal"} {
		fi, err := os.Stat(path + suffix)
		if err != nil {
			return s, err
		}
		s[2*i], s[2*i+1] = fi.Size(), fi.ModTime().UnixNano()
	}
	return s, nil
}

func copyFile(ctx context.Context, src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, &ctxReader{ctx, in})
	return errors.Join(err, out.Close())
}

// ctxReader ends when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// conn takes a connection out of the pool and bounds what statements on it can
// read: nothing through a view or trigger, and no cell above maxCell.
func (r *sqliteReader) conn(ctx context.Context, maxCell int) (*sql.Conn, error) {
	c, err := r.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	for id, limit := range map[int]int{
		sqlite3.SQLITE_LIMIT_LENGTH:     maxCell,
		sqlite3.SQLITE_LIMIT_ATTACHED:   0,
		sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 20,
	} {
		if _, err := sqlite.Limit(c, id, limit); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	err = c.Raw(func(dc any) error {
		a, ok := dc.(sqlite.AuthorizerRegisterer)
		if !ok {
			return fmt.Errorf("driver connection %T takes no authorizer", dc)
		}
		return a.RegisterAuthorizer(authorize)
	})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// authorize allows reading tables, and nothing from within a view or trigger.
func authorize(action sqlite.AuthorizerActionCode, _, _, _, triggerOrView string) sqlite.AuthorizerReturnCode {
	if triggerOrView != "" {
		return sqlite.AuthorizerDeny
	}
	switch action {
	case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_PRAGMA:
		return sqlite.AuthorizerOK
	}
	return sqlite.AuthorizerDeny
}

// Cells of Requests and Certificates are at most 64 KiB in AD CS; only a CRL may
// be large.
const maxRowCell = 1 << 20

// query runs a query and calls row for each result until it returns false.
func (r *sqliteReader) query(ctx context.Context, maxCell int, q string, args []any, row func(*sql.Rows) (bool, error)) error {
	c, err := r.conn(ctx, maxCell)
	if err != nil {
		return err
	}
	defer c.Close()
	rows, err := c.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		more, err := row(rows)
		if err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// readSchema refuses what a CA's database has no use for, and notes its columns.
func (r *sqliteReader) readSchema(ctx context.Context) error {
	found := make(map[string]bool)
	err := r.query(ctx, maxRowCell, "SELECT type, name, coalesce(sql, '') FROM sqlite_schema", nil, func(rows *sql.Rows) (bool, error) {
		var kind, name, ddl string
		if err := rows.Scan(&kind, &name, &ddl); err != nil {
			return false, err
		}
		switch {
		case kind == "view" || kind == "trigger":
			return false, fmt.Errorf("it has a %s, %.60q, which a CA's database has no use for", kind, name)
		case strings.HasPrefix(strings.ToUpper(strings.TrimSpace(ddl)), "CREATE VIRTUAL"):
			return false, fmt.Errorf("it has a virtual table, %.60q, which a CA's database has no use for", name)
		case len(found) > 1000:
			return false, errors.New("it has more than 1000 tables and indexes")
		}
		if kind == "table" {
			found[strings.ToLower(name)] = true
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	r.columns = make(map[string]map[string]string)
	for _, t := range schema.Tables {
		if !found[strings.ToLower(t.Name)] {
			return fmt.Errorf("it is no certification authority's database: there is no table %s", t.Name)
		}
		cols := make(map[string]string)
		err := r.query(ctx, maxRowCell, "SELECT name, hidden FROM pragma_table_xinfo('"+t.Name+"')", nil, func(rows *sql.Rows) (bool, error) {
			var name string
			var hidden int
			if err := rows.Scan(&name, &hidden); err != nil {
				return false, err
			}
			if hidden != 0 {
				return false, fmt.Errorf("column %s.%.60q is computed, which a CA's database has no use for", t.Name, name)
			}
			cols[strings.ToLower(name)] = name
			return true, nil
		})
		if err != nil {
			return err
		}
		if key := t.Columns[0].Name; cols[strings.ToLower(key)] == "" {
			return fmt.Errorf("table %s has no column %s", t.Name, key)
		}
		r.columns[t.Name] = cols
	}
	return nil
}

// list is the select list for some columns of a table: those that the database
// lacks, because another version made it, are NULL.
func (r *sqliteReader) list(alias, table string, names ...string) string {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		if have, ok := r.columns[table][strings.ToLower(n)]; ok {
			b.WriteString(alias + `."` + have + `"`)
		} else {
			b.WriteString("NULL")
		}
	}
	return b.String()
}

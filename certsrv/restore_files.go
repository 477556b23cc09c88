package certsrv

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/sqlitelog"
)

// checkFiles looks at what a registration names, so that a missing or foreign
// file is told now and not at the next start. The logs are read whole only then.
func (s *Server) checkFiles(op string, p *pendingRestore, set pendingSet) error {
	if set.full() {
		if err := s.checkDatabaseFile(op, set.Database); err != nil {
			return err
		}
	}
	var prev *sqlitelog.Header
	for gen := set.Low; gen <= set.High; gen++ {
		h, err := s.logHeader(set.LogDir, gen)
		if err != nil {
			return logError(op, err)
		}
		chain := []sqlitelog.Header{h}
		if prev != nil {
			chain = []sqlitelog.Header{*prev, h}
		}
		if err := sqlitelog.CheckChain(chain); err != nil {
			return logError(op, err)
		}
		prev = &h
	}
	if set.full() {
		return nil
	}
	first, err := s.logHeader(p.full().LogDir, p.full().Low)
	if err != nil {
		return logError(op, err)
	}
	if prev.Signature != first.Signature {
		return newError(op, certadm.HrBadLogSignature, errors.New("the set's logs have another signature than those of the full set"),
			"sets of one authority, all from before or all from after a restore, belong together")
	}
	return nil
}

// logHeader reads the header of a generation.
func (s *Server) logHeader(dir string, gen uint32) (sqlitelog.Header, error) {
	name := filepath.Join(s.at.path(dir), sqlitelog.LogName(gen))
	f, err := s.fsys.OpenFile(name, os.O_RDONLY, 0)
	if isNotExist(err) {
		return sqlitelog.Header{}, &sqlitelog.LogError{Path: name, What: fmt.Sprintf("generation %#x", gen), Kind: sqlitelog.ErrLogMissing}
	}
	if err != nil {
		return sqlitelog.Header{}, err
	}
	defer f.Close()
	h, err := sqlitelog.ReadHeader(f)
	if err != nil {
		return h, fmt.Errorf("%s: %w", name, err)
	}
	if h.Generation != gen {
		return h, &sqlitelog.LogError{Path: name, What: fmt.Sprintf("it is generation %#x", h.Generation), Kind: sqlitelog.ErrLogOrder}
	}
	return h, nil
}

func logError(op string, err error) error {
	hint := ""
	if errors.Is(err, sqlitelog.ErrLogMissing) {
		hint = "copy the missing log from its backup set"
	}
	return newError(op, codeOf(err), err, hint)
}

const sqliteMagic = "SQLite format 3\x00"

func (s *Server) checkDatabaseFile(op, database string) error {
	name := s.at.path(database)
	f, err := s.fsys.OpenFile(name, os.O_RDONLY, 0)
	if isNotExist(err) {
		return pathError(op, name, certadm.ErrorFileNotFound, errors.New("the database is not there"), "copy the full set's database to its place before it is registered")
	}
	if err != nil {
		return wrapCode(op, err)
	}
	defer f.Close()
	magic := make([]byte, len(sqliteMagic))
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.Equal(magic, []byte(sqliteMagic)) {
		return pathError(op, name, certadm.HrInvalidDatabase, errors.New("not an SQLite database"), "")
	}
	return nil
}

// earliestTarget finds the least generation to which the full set's copy may be
// replayed. The log that was closed when copying had ended says so; it is the
// set's last one, so it may lie beyond a target in the past.
func (s *Server) earliestTarget(p *pendingRestore, headers map[uint32]sqlitelog.Header) (sqlitelog.Header, error) {
	full := p.full()
	var best sqlitelog.Header
	better := func(h sqlitelog.Header) bool {
		switch {
		case h.CopyFirst == 0:
			return false
		case best.CopyFirst == 0:
			return true
		case best.Generation < full.High: // the nearest at or above the set's end, else the last below
			return h.Generation > best.Generation
		}
		return h.Generation >= full.High && h.Generation < best.Generation
	}
	for _, h := range headers {
		if better(h) {
			best = h
		}
	}
	names, err := s.logFiles(full.LogDir)
	if err != nil {
		return best, err
	}
	for _, n := range names { // logs that lie there and are not to be replayed
		gen, ok := sqlitelog.ParseLogName(n)
		if _, have := headers[gen]; !ok || have || gen < full.Low {
			continue
		}
		if h, err := s.logHeader(full.LogDir, gen); err == nil && h.Signature == headers[full.Low].Signature && better(h) {
			best = h
		}
	}
	if best.CopyFirst == 0 {
		return best, fmt.Errorf("%w: none of the logs says how far the copy of the database reaches; the full set's last log is needed", sqlitelog.ErrTarget)
	}
	return best, nil
}

// checkAuthority makes sure that the database is this authority's, by the CA
// certificate in it. The file must have no WAL.
func (s *Server) checkAuthority(ctx context.Context, name string) (err error) {
	p := filepath.ToSlash(name)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // a drive
	}
	u := url.URL{Scheme: "file", Path: p, RawQuery: "mode=ro&immutable=1"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, "SELECT c.RawCertificate FROM Requests r JOIN Certificates c ON c.RequestID = r.RequestID WHERE r.Disposition = ?", int64(schema.CACert))
	if err != nil {
		return err
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var der []byte
		if err := rows.Scan(&der); err != nil {
			return err
		}
		if bytes.Equal(der, s.CACertificate().Raw) {
			return nil
		}
		n++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n == 0 {
		return errNoCACertificate
	}
	return errOtherAuthority
}

var (
	errNoCACertificate = errors.New("the database holds no CA certificate")
	errOtherAuthority  = errors.New("the database is another authority's: its CA certificate is not this one's")
)

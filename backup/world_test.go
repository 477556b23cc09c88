package backup_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/sqlitelog"
)

const (
	caName    = "Test CA"
	share     = `\\OLDHOST\Test CA$`
	dbName    = caName + ".db"
	crlName   = caName + ".crl"
	crtName   = caName + ".crt"
	manifest  = folder.ManifestName
	receipt   = folder.ReceiptName
	dataBase  = "DataBase"
	locations = "certbkxp.dat"
)

// world is an authority's database, with certificates that are real, and the
// sets that were taken of it.
type world struct {
	tb    testing.TB
	ca    *cadbtest.Authority
	dir   string
	cfg   sqlitelog.Config
	db    *sqlitelog.DB
	store *folder.Store
	last  *backupset.Manifest
	crl   []byte
	lie   func(*backupset.Manifest) // changes a manifest before it is written
}

func newWorld(tb testing.TB, certificates int) *world {
	tb.Helper()
	dir := tb.TempDir()
	w := &world{tb: tb, ca: cadbtest.New(tb, caName), dir: dir}
	for _, d := range []string{"db", "log", "state", "sets"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	w.cfg = sqlitelog.Config{Database: filepath.Join(dir, "db", dbName), LogDir: filepath.Join(dir, "log"), StateDir: filepath.Join(dir, "state")}
	w.store = folder.Root(filepath.Join(dir, "sets"), folder.Options{})
	ctx := context.Background()
	if err := sqlitelog.Create(ctx, w.cfg, schema.SQLite); err != nil {
		tb.Fatal(err)
	}
	var err error
	if w.db, err = sqlitelog.Open(ctx, w.cfg); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(w.close)
	w.write(func(tx *sql.Tx) error { return w.ca.Fill(tx, certificates) })
	return w
}

// close shuts the database, as it will be found by who salvages it.
func (w *world) close() {
	if w.db != nil {
		if err := w.db.Close(); err != nil {
			w.tb.Error(err)
		}
		w.db = nil
	}
}

// crash copies database, WAL and logs as a SIGKILL would leave them.
func (w *world) crash(dir string) (database, logDir string) {
	w.tb.Helper()
	database, logDir = filepath.Join(dir, dbName), filepath.Join(dir, "log")
	copyTree(w.tb, filepath.Join(w.dir, "db"), dir)
	copyTree(w.tb, filepath.Join(w.dir, "log"), logDir)
	return database, logDir
}

// write runs fn in one commit. The counters of the authority are set back if
// it is run again.
func (w *world) write(fn func(*sql.Tx) error) {
	w.tb.Helper()
	saved := *w.ca
	issued := append([]cadbtest.Issued(nil), w.ca.Issued...)
	err := w.db.Write(context.Background(), func(tx *sql.Tx) error {
		*w.ca = saved
		w.ca.Issued = append([]cadbtest.Issued(nil), issued...)
		return fn(tx)
	})
	if err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) issue(n int) {
	w.tb.Helper()
	w.write(func(tx *sql.Tx) error {
		for range n {
			if _, err := w.ca.Issue(tx, fmt.Sprintf("host%d.example", w.ca.NextID)); err != nil {
				return err
			}
		}
		return nil
	})
}

// revoke revokes the i-th certificate.
func (w *world) revoke(i int) {
	w.tb.Helper()
	w.write(func(tx *sql.Tx) error { return w.ca.Revoke(tx, &w.ca.Issued[i], schema.Superseded) })
}

func (w *world) publish() []byte {
	w.tb.Helper()
	w.ca.Now = w.ca.Now.Add(time.Hour)
	w.write(func(tx *sql.Tx) (err error) {
		w.crl, err = w.ca.PublishCRL(tx)
		return err
	})
	return w.crl
}

func (w *world) roll() uint32 {
	w.tb.Helper()
	g, err := w.db.Roll(context.Background())
	if err != nil {
		w.tb.Fatal(err)
	}
	return g
}

func signatureOf(s sqlitelog.Signature) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(append([]byte(nil), s.Random[:]...), uint64(s.Created)))
}

func (w *world) locations() certadm.FileList {
	return certadm.FileList{
		{Type: certadm.FileDatabase, Path: share + `\database\` + dbName},
		{Type: certadm.FileLogDir, Path: share + `\log`},
		{Type: certadm.FileCheckpointDir, Path: share + `\system`},
	}
}

// full takes a full set. during runs while the database is being copied.
func (w *world) full(name string, during func()) *backupset.Manifest {
	w.tb.Helper()
	s := w.begin(name, backupset.Full)
	ctx := context.Background()
	copy, err := w.db.StartCopy(ctx)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer copy.Close()
	half := copy.Size() / 2
	s.put(backupset.RoleDatabase, dbName, share+`\database\`+dbName, io.MultiReader(
		io.NewSectionReader(copy, 0, half),
		&hook{during},
		io.NewSectionReader(copy, half, copy.Size()-half)))
	info, err := copy.Finish(ctx)
	if err != nil {
		w.tb.Fatal(err)
	}
	raw, err := certadm.EncodeLocations(w.locations())
	if err != nil {
		w.tb.Fatal(err)
	}
	s.put(backupset.RoleLocations, locations, "", bytesReader(raw))
	for _, l := range w.locations() {
		s.m.Locations = append(s.m.Locations, backupset.Location{Tag: l.Type, Path: l.Path})
	}
	s.m.EarliestTarget = info.EarliestTarget
	return s.finish(info.First, info.Last)
}

// incremental takes what was logged since the last set, or, for a set as it is
// after logs were not truncated, since an earlier generation.
func (w *world) incremental(name string, from uint32) *backupset.Manifest {
	w.tb.Helper()
	s := w.begin(name, backupset.Incremental)
	s.m.Parent = w.last.ID
	last := w.roll()
	if from == 0 {
		from = w.last.LastGeneration + 1
	}
	return s.finish(from, last)
}

type hook struct{ f func() }

func (h *hook) Read([]byte) (int, error) {
	if h.f != nil {
		h.f()
		h.f = nil
	}
	return 0, io.EOF
}

// taking is a set being written.
type taking struct {
	w  *world
	wr backupset.Writer
	m  *backupset.Manifest
}

func (w *world) begin(name string, t backupset.Type) *taking {
	w.tb.Helper()
	wr, err := w.store.Create(context.Background(), backupset.CreateOptions{Name: name})
	if err != nil {
		w.tb.Fatal(err)
	}
	sum := sha256.Sum256(w.ca.Cert.Raw)
	now := time.Now()
	return &taking{w, wr, &backupset.Manifest{
		ID: backupset.NewID(now), Tool: "test", Engine: "sqlite", Type: t, Start: now, Signature: signatureOf(w.db.Status().Signature),
		CA: backupset.CA{Name: caName, SanitizedName: caName, Host: "OLDHOST", CertificateSHA256: hex.EncodeToString(sum[:])},
		Completeness: backupset.Completeness{Database: backupset.Present, Logs: backupset.Present, RestoreMap: backupset.Present,
			DynamicFiles: backupset.Present, CACertificate: backupset.Present, PrivateKey: backupset.Absent,
			Configuration: backupset.Absent, CAPolicy: backupset.NotAttempted, Templates: backupset.NotAttempted},
	}}
}

func (s *taking) put(role backupset.Role, name, source string, r io.Reader) {
	s.w.tb.Helper()
	ctx := context.Background()
	dst, err := s.wr.CreateFile(ctx, role, name, -1)
	if err != nil {
		s.w.tb.Fatal(err)
	}
	n, sum, err := backupset.Copy(ctx, dst, r)
	if err != nil {
		s.w.tb.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		s.w.tb.Fatal(err)
	}
	s.m.Files = append(s.m.Files, backupset.File{Role: role, Name: name, Source: source, Size: n, SHA256: sum})
}

// finish adds logs and dynamic files, and commits.
func (s *taking) finish(first, last uint32) *backupset.Manifest {
	s.w.tb.Helper()
	ctx := context.Background()
	s.m.FirstGeneration, s.m.LastGeneration = first, last
	for g := first; g <= last; g++ {
		f, _, err := s.w.db.OpenLog(g)
		if err != nil {
			s.w.tb.Fatal(err)
		}
		name := sqlitelog.LogName(g)
		s.put(backupset.RoleLog, name, share+`\log\`+name, f)
		f.Close()
	}
	for name, raw := range map[string][]byte{crtName: s.w.ca.Cert.Raw, crlName: s.w.crl} {
		if raw == nil {
			continue
		}
		source := share + `\published\` + name
		s.put(backupset.RoleDynamic, name, source, bytesReader(raw))
		s.m.DynamicFiles = append(s.m.DynamicFiles, backupset.DynamicFile{Source: source, File: name})
	}
	s.m.End = time.Now()
	if s.w.lie != nil {
		s.w.lie(s.m)
	}
	if err := s.wr.Commit(ctx, s.m); err != nil {
		s.w.tb.Fatal(err)
	}
	if err := s.w.store.PutReceipt(ctx, s.m.ID, backupset.Receipt{Confirmed: true, Finished: time.Now()}); err != nil {
		s.w.tb.Fatal(err)
	}
	s.w.last = s.m
	return s.m
}

func (w *world) sets() string { return filepath.Join(w.dir, "sets") }

// forgetManifests makes the sets what certutil would have written.
func forgetManifests(tb testing.TB, sets string) {
	tb.Helper()
	entries, err := os.ReadDir(sets)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		for _, name := range []string{manifest, receipt, "DynamicFiles"} {
			if err := os.RemoveAll(filepath.Join(sets, e.Name(), name)); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

func copyTree(tb testing.TB, src, dst string) {
	tb.Helper()
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		tb.Fatal(err)
	}
}

func copyFile(tb testing.TB, src, dst string) {
	tb.Helper()
	b, err := os.ReadFile(src)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(dst, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// standard is a chain that many tests start from: a full set, taken while
// certificates were being issued, and two incremental ones. It is built once
// and must be copied before it is changed.
type standard struct {
	sets   string // directory with "full", "inc1", "inc2"
	ca     *cadbtest.Authority
	counts [3]int // certificates issued as of the end of each set
	gens   [3][2]uint32
	least  uint32
}

var (
	standardOnce sync.Once
	standardSet  standard
	standardDir  string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if standardDir != "" {
		os.RemoveAll(standardDir)
	}
	os.Exit(code)
}

func standardChain(tb testing.TB) (*standard, string) {
	tb.Helper()
	standardOnce.Do(func() {
		w := newWorld(tb, 3)
		s := &standardSet
		w.publish()
		w.roll()
		w.issue(1)
		full := w.full("full", func() {
			w.issue(1)
			w.roll()
			w.issue(1)
			w.roll()
			w.issue(1)
		})
		s.counts[0] = len(w.ca.Issued)
		w.issue(2)
		w.roll()
		w.revoke(2)
		inc1 := w.incremental("inc1", 0)
		s.counts[1] = len(w.ca.Issued)
		w.issue(1)
		w.publish()
		inc2 := w.incremental("inc2", 0)
		s.counts[2] = len(w.ca.Issued)
		for i, m := range []*backupset.Manifest{full, inc1, inc2} {
			s.gens[i] = [2]uint32{m.FirstGeneration, m.LastGeneration}
		}
		s.least, s.ca = full.EarliestTarget, w.ca
		var err error
		if standardDir, err = os.MkdirTemp("", "certkeep-standard-"); err != nil {
			tb.Fatal(err)
		}
		s.sets = filepath.Join(standardDir, "sets")
		copyTree(tb, w.sets(), s.sets)
	})
	dir := filepath.Join(tb.TempDir(), "sets")
	copyTree(tb, standardSet.sets, dir)
	return &standardSet, dir
}

func logName(g uint32) string { return sqlitelog.LogName(g) }

package certsrv

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
)

// taken is a backup set in memory.
type taken struct {
	where certadm.RestoreMap
	db    []byte // nil: incremental
	logs  map[string][]byte
	low   uint32
	high  uint32
}

func prepare(t testing.TB, s *Server, kind certadm.BackupType) (certadm.Service, certadm.Backup) {
	t.Helper()
	svc := s.Service(root)
	t.Cleanup(func() { svc.Close() })
	b, err := svc.BackupPrepare(t.Context(), kind)
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	return svc, b
}

func readFile(t testing.TB, b certadm.Backup, name string) []byte {
	t.Helper()
	f, err := b.OpenFile(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return data
}

// gather reads everything of a session.
func gather(t testing.TB, b certadm.Backup, kind certadm.BackupType) *taken {
	t.Helper()
	set := &taken{logs: make(map[string][]byte)}
	l, err := b.DatabaseLocations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if set.where, err = l.RestoreMap(); err != nil {
		t.Fatal(err)
	}
	if kind == certadm.BackupFull {
		set.db = readFile(t, b, set.where.Database)
	}
	logs, err := b.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range logs {
		set.logs[certadm.BaseName(e.Path)] = readFile(t, b, e.Path)
	}
	if set.low, set.high, err = logs.LogRange(); err != nil {
		t.Fatal(err)
	}
	return set
}

// take takes a set and ends the session.
func take(t testing.TB, s *Server, kind certadm.BackupType, truncate bool) *taken {
	t.Helper()
	svc, b := prepare(t, s, kind)
	set := gather(t, b, kind)
	if truncate {
		if err := b.TruncateLogs(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := svc.Close(); err != nil {
		t.Fatal(err)
	}
	return set
}

// put writes a set's files where they are restored from.
func put(t testing.TB, s *Server, set *taken) {
	t.Helper()
	write := func(unc string, data []byte) {
		name, err := s.LocalPath(unc)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(name), 0o700)
		}
		if err == nil {
			err = os.WriteFile(name, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if set.db != nil {
		write(set.where.Database, set.db)
	}
	for name, data := range set.logs {
		write(set.where.LogDir+`\`+name, data)
	}
}

func (set *taken) registration(full *taken) certadm.Registration {
	r := certadm.Registration{LogPath: full.where.LogDir, LowLog: set.low, HighLog: set.high}
	if set.db != nil {
		r.Map = []certadm.RestoreMapping{{Database: set.where.Database, NewDatabase: set.where.Database}}
	}
	return r
}

// register puts the sets in place and registers them; the service is stopped.
func register(t testing.TB, s *Server, sets ...*taken) {
	t.Helper()
	r, err := s.Service(root).RestorePrepare(t.Context(), certadm.RestoreFull)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		put(t, s, set)
		if err := r.Register(t.Context(), set.registration(sets[0])); err != nil {
			t.Fatal(err)
		}
		if err := r.RegisterComplete(t.Context(), certadm.SOK); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.End(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// setAside moves what is there out of the way.
func setAside(t testing.TB, s *Server) Displaced {
	t.Helper()
	d, err := s.SetAside()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// serials lists the certificates of a disposition.
func serials(t testing.TB, s *Server, d schema.Disposition) []string {
	t.Helper()
	rows, err := s.run.db.Reader().QueryContext(context.Background(),
		"SELECT SerialNumber FROM Certificates JOIN Requests USING (RequestID) WHERE Disposition = ? ORDER BY RequestID", int64(d))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var l []string
	for rows.Next() {
		var serial string
		if err := rows.Scan(&serial); err != nil {
			t.Fatal(err)
		}
		l = append(l, serial)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return l
}

func wantIssued(t testing.TB, s *Server, want []string) {
	t.Helper()
	if got := serials(t, s, schema.Issued); !slices.Equal(got, want) {
		t.Errorf("the database has %d certificates %v, want %d %v", len(got), got, len(want), want)
	}
}

// copyDir copies a stopped authority.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(tempDir(t), "ca")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	// CopyFS gives its own modes.
	if err := os.Chmod(filepath.Join(to, filepath.FromSlash(keyName)), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/sqlitelog"
)

// fakeTarget is an authority in a directory that notes what is asked of it.
type fakeTarget struct {
	tb     testing.TB
	dir    string
	id     certadm.Identity
	online bool

	calls  []string
	fail   map[string]error // by the call's name
	before map[string]func()
	regs   []certadm.Registration
	state  string // as restore.json of a real one: "", registered, complete
	gap    *backup.Gap
	ended  int

	setAsideNothing bool
	logName         string // "": SQLite's
	saved           certadm.RestoreMap
}

func newTarget(tb testing.TB, cert []byte) *fakeTarget {
	tb.Helper()
	t := &fakeTarget{tb: tb, dir: tb.TempDir(), id: certadm.Identity{Name: caName, SanitizedName: caName, Host: "NEWHOST", Engine: "sqlite", Certificate: cert},
		fail: map[string]error{}, before: map[string]func(){}}
	for _, d := range []string{"database", "log", "system", "published"} {
		if err := os.Mkdir(filepath.Join(t.dir, d), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	return t
}

const newShare = `\\NEWHOST\Test CA$`

func (t *fakeTarget) call(format string, args ...any) error {
	s := fmt.Sprintf(format, args...)
	t.calls = append(t.calls, s)
	name, _, _ := strings.Cut(s, " ")
	if f := t.before[name]; f != nil {
		f()
	}
	return t.fail[name]
}

func (t *fakeTarget) Service() certadm.Service { return &fakeService{t: t} }

func (t *fakeTarget) Identity(context.Context) (certadm.Identity, error) {
	return t.id, t.fail["Identity"]
}

func (t *fakeTarget) Locations(context.Context) (certadm.FileList, error) {
	return certadm.FileList{
		{Type: certadm.FileLogDir, Path: newShare + `\log`},
		{Type: certadm.FileDatabase, Path: newShare + `\database\` + dbName},
		{Type: certadm.FileCheckpointDir, Path: newShare + `\system`},
	}, nil
}

func (t *fakeTarget) LocalPath(unc string) (string, error) {
	rest, ok := strings.CutPrefix(unc, newShare+`\`)
	if !ok || strings.Contains(rest, "..") {
		return "", &certadm.Error{Op: "LocalPath", Path: unc, Code: certadm.HrInvalidPath, Err: errors.New("another machine")}
	}
	return filepath.Join(t.dir, filepath.FromSlash(strings.ReplaceAll(rest, `\`, "/"))), nil
}

func (t *fakeTarget) SetAside(context.Context) (backup.Displaced, error) {
	var d backup.Displaced
	if err := t.call("SetAside"); err != nil {
		return d, err
	}
	for _, sub := range []string{"database", "log"} {
		if t.setAsideNothing {
			break
		}
		entries, err := os.ReadDir(filepath.Join(t.dir, sub))
		if err != nil {
			return d, err
		}
		for _, e := range entries {
			d.Dir = filepath.Join(t.dir, "aside")
			d.Files = append(d.Files, e.Name())
			if err := os.MkdirAll(d.Dir, 0o700); err != nil {
				return d, err
			}
			if err := os.Rename(filepath.Join(t.dir, sub, e.Name()), filepath.Join(d.Dir, e.Name())); err != nil {
				return d, err
			}
		}
	}
	return d, nil
}

func (t *fakeTarget) RecordGap(_ context.Context, g backup.Gap) error {
	t.gap = &g
	return t.call("RecordGap")
}

// fakeService is a stopped service.
type fakeService struct {
	certadm.Service // nil: nothing else may be called
	t               *fakeTarget
}

func (s *fakeService) IsServerOnline(context.Context) (bool, error) {
	if s.t.online {
		return true, nil
	}
	return false, &certadm.Error{Op: "CertSrvIsServerOnline", Code: certadm.ErrorServiceNotActive}
}

func (s *fakeService) RestorePrepare(_ context.Context, rt certadm.RestoreType) (certadm.Restore, error) {
	if err := s.t.call("RestorePrepare"); err != nil {
		return nil, err
	}
	if rt != certadm.RestoreFull {
		s.t.tb.Errorf("restore type %d", rt)
	}
	return &fakeRestore{t: s.t}, nil
}

type fakeRestore struct {
	certadm.Restore
	t *fakeTarget
}

func (r *fakeRestore) Register(ctx context.Context, reg certadm.Registration) error {
	return r.register("Register", reg)
}

func (r *fakeRestore) RegisterThroughFile(ctx context.Context, reg certadm.Registration) error {
	return r.register("RegisterThroughFile", reg)
}

func (r *fakeRestore) register(name string, reg certadm.Registration) error {
	if err := r.t.call("%s %d-%d map %d", name, reg.LowLog, reg.HighLog, len(reg.Map)); err != nil {
		return err
	}
	t := r.t
	if t.state != "" && len(reg.Map) > 0 {
		return &certadm.Error{Op: name, Code: certadm.HrRestoreMapExists}
	}
	switch {
	case t.state == "registered", (len(reg.Map) == 1) != (len(t.regs) == 0):
		t.tb.Errorf("register in state %q after %d: %+v", t.state, len(t.regs), reg)
	}
	for g := reg.LowLog; g <= reg.HighLog; g++ {
		dir, err := t.LocalPath(reg.LogPath)
		if err != nil {
			return err
		}
		name := sqlitelog.LogName(g)
		if t.logName != "" {
			name = fmt.Sprintf(t.logName, g)
		}
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.tb.Errorf("registered before it was copied: %v", err)
		}
	}
	t.regs, t.state = append(t.regs, reg), "registered"
	return nil
}

func (r *fakeRestore) RegisterComplete(_ context.Context, state certadm.HRESULT) error {
	if err := r.t.call("RegisterComplete %v", state == certadm.SOK); err != nil && state == certadm.SOK {
		return err
	}
	if state != certadm.SOK {
		r.t.regs, r.t.state = nil, ""
		return nil
	}
	r.t.state = "complete"
	return nil
}

func (r *fakeRestore) End(context.Context) error {
	r.t.ended++
	return r.t.call("End")
}

// start does what the service would do as it starts, and returns the database.
func (t *fakeTarget) start() *cadb.DB {
	t.tb.Helper()
	if t.state != "complete" {
		t.tb.Fatalf("nothing to recover: state %q", t.state)
	}
	var high uint32
	for _, r := range t.regs {
		high = max(high, r.HighLog)
	}
	db := filepath.Join(t.dir, "database", dbName)
	entries, err := os.ReadDir(filepath.Join(t.dir, "log"))
	if err != nil {
		t.tb.Fatal(err)
	}
	var logs []string
	for _, e := range entries {
		logs = append(logs, filepath.Join(t.dir, "log", e.Name()))
	}
	slices.Sort(logs)
	if _, err := sqlitelog.Replay(context.Background(), db, logs, high); err != nil {
		t.tb.Fatal(err)
	}
	d, err := cadb.Open(context.Background(), db)
	if err != nil {
		t.tb.Fatal(err)
	}
	t.tb.Cleanup(func() { d.Close() })
	return d
}

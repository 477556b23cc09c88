package backup_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/folder"
)

type sqlTx = sql.Tx

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

func source(dir, id string) backup.Source {
	return backup.Source{Store: folder.Root(dir, folder.Options{}), ID: id}
}

func verify(t *testing.T, dir, id string, level backup.Level) *backup.VerifyReport {
	t.Helper()
	rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, id), Level: level, Scratch: t.TempDir()})
	if err != nil {
		t.Fatalf("%s at %s: %v", id, level, err)
	}
	return rep
}

// damageIn returns the findings of damage that name a file.
func damageIn(findings []cadb.Finding, file string) (out []cadb.Finding) {
	for _, f := range findings {
		if f.Severity == cadb.Damage && strings.Contains(f.File, file) {
			out = append(out, f)
		}
	}
	return out
}

// treeState is every file of a tree with its time and contents.
func treeState(t testing.TB, dir string) map[string]string {
	t.Helper()
	m := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		m[path] = fi.ModTime().String() + fi.Mode().String()
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			m[path] += string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sameTree(t *testing.T, what string, before, after map[string]string) {
	t.Helper()
	for path := range before {
		if before[path] != after[path] {
			t.Errorf("%s changed or removed %s", what, path)
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			t.Errorf("%s made %s", what, path)
		}
	}
}

func TestVerifySound(t *testing.T) {
	s, dir := standardChain(t)
	for _, level := range backup.Levels {
		before := treeState(t, dir)
		for _, id := range []string{"full", "inc2", ""} {
			rep := verify(t, dir, id, level)
			if !rep.OK || len(rep.Findings) > 0 {
				t.Errorf("%s at %s: %v", id, level, rep.Findings)
			}
			want := 3
			if id == "full" {
				want = 1
			}
			if len(rep.Sets) != want || rep.Sets[0].Type != backupset.Full || rep.Sets[0].State != "confirmed" {
				t.Errorf("%s at %s: sets %+v", id, level, rep.Sets)
			}
			if (rep.Bytes > 0) != (level != backup.LevelInventory) {
				t.Errorf("%s at %s read %d bytes", id, level, rep.Bytes)
			}
			if len(rep.NotProven) == 0 || len(rep.Proven) == 0 {
				t.Errorf("%s at %s: a report without statements: %v, %v", id, level, rep.Proven, rep.NotProven)
			}
			if (rep.Database != nil) != (level == backup.LevelDatabase) {
				t.Errorf("%s at %s: database report %v", id, level, rep.Database)
			}
			if d := rep.Database; d != nil && id == "inc2" {
				if d.Generation != s.gens[2][1] || int(d.Signatures) != s.counts[2] || d.NewestCRL != 3 || d.Dispositions[schema.Revoked] != 2 {
					t.Errorf("database %+v", d)
				}
			}
		}
		sameTree(t, "verify at "+string(level), before, treeState(t, dir))
	}
}

func TestVerifyWithoutManifest(t *testing.T) {
	s, dir := standardChain(t)
	forgetManifests(t, dir)
	for _, level := range backup.Levels {
		before := treeState(t, dir)
		rep := verify(t, dir, "inc2", level)
		if !rep.OK || len(rep.Sets) != 3 || !rep.Sets[0].NoManifest {
			t.Errorf("%s: %+v", level, rep)
		}
		if !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Code == cadb.CodeNoManifest }) {
			t.Errorf("%s: that there is no manifest is not said", level)
		}
		if level == backup.LevelDatabase && (rep.Database == nil || rep.Database.Generation != s.gens[2][1]) {
			t.Errorf("database %+v", rep.Database)
		}
		sameTree(t, "verify at "+string(level), before, treeState(t, dir))
	}
}

// change is one thing that can happen to a file.
type change struct {
	name string
	do   func(t *testing.T, dir string)
	file string // that a finding must name
	code string // and its code; any if empty
}

func edit(path string, f func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		name := filepath.Join(dir, filepath.FromSlash(path))
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(path string, at int) func(*testing.T, string) {
	return edit(path, func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x40
		return b
	})
}

func remove(path string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(path))); err != nil {
			t.Fatal(err)
		}
	}
}

func rename(from, to string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Rename(filepath.Join(dir, filepath.FromSlash(from)), filepath.Join(dir, filepath.FromSlash(to))); err != nil {
			t.Fatal(err)
		}
	}
}

func swap(a, b string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		rename(a, "tmp")(t, dir)
		rename(b, a)(t, dir)
		rename("tmp", b)(t, dir)
	}
}

// firstLog, middle and last are logs of the full set; inc are those of the
// incremental ones.
func logOf(set string, g uint32) string {
	return set + "/" + dataBase + "/" + logName(g)
}

func changes(s *standard) []change {
	f0, f1, f2 := s.gens[0][0], s.gens[0][0]+1, s.gens[0][1]
	i0, i1 := s.gens[1][0], s.gens[1][1]
	db := "full/" + dataBase + "/" + dbName
	return []change{
		{"log header flipped", flip(logOf("full", f0), 100), logName(f0), ""},
		{"log frame flipped", flip(logOf("full", f1), 4096+5000), logName(f1), cadb.CodeHash},
		{"log tail flipped", flip(logOf("inc2", s.gens[2][1]), -1), logName(s.gens[2][1]), cadb.CodeHash},
		{"log truncated", edit(logOf("full", f1), func(b []byte) []byte { return b[:len(b)-4096] }), logName(f1), cadb.CodeSize},
		{"log truncated to its header", edit(logOf("inc1", i0), func(b []byte) []byte { return b[:4096] }), logName(i0), cadb.CodeSize},
		{"log empty", edit(logOf("full", f1), func([]byte) []byte { return nil }), logName(f1), ""},
		{"log longer", edit(logOf("full", f1), func(b []byte) []byte { return append(b, 0) }), logName(f1), cadb.CodeSize},
		{"first log missing", remove(logOf("full", f0)), "", ""},
		{"middle log missing", remove(logOf("full", f1)), "", cadb.CodeMissing},
		{"last log of the full set missing", remove(logOf("full", f2)), "", ""},
		{"log of an incremental set missing", remove(logOf("inc1", i0)), "", ""},
		{"logs swapped", swap(logOf("full", f0), logOf("full", f1)), logName(f0), ""},
		{"log under another's name", rename(logOf("inc1", i1), logOf("inc1", i1+0x100)), "", ""},
		{"database truncated", edit(db, func(b []byte) []byte { return b[:4096] }), "", ""},
		{"database empty", edit(db, func([]byte) []byte { return nil }), dbName, ""},
		{"database is something else", edit(db, func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) }), dbName, ""},
		{"database missing", remove(db), "", ""},
		{"restore map cut", edit("full/"+dataBase+"/"+locations, func(b []byte) []byte { return b[:len(b)-2] }), locations, ""},
		{"restore map missing", remove("full/" + dataBase + "/" + locations), locations, ""},
	}
}

func TestVerifyFinds(t *testing.T) {
	s, _ := standardChain(t)
	for _, withManifest := range []bool{true, false} {
		for _, c := range changes(s) {
			name := c.name + " with manifest"
			if !withManifest {
				name = c.name + " without manifest"
			}
			t.Run(name, func(t *testing.T) {
				_, dir := standardChain(t)
				if !withManifest {
					forgetManifests(t, dir)
				}
				c.do(t, dir)
				// What certutil's folder no longer is, is no set at all.
				rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "inc2"), Scratch: t.TempDir()})
				if err != nil {
					if withManifest || !errors.Is(err, backupset.ErrChain) && !errors.Is(err, backupset.ErrNotFound) {
						t.Fatalf("not a finding: %v", err)
					}
					return
				}
				if rep.OK {
					t.Fatalf("not found; %v", rep.Findings)
				}
				found := damageIn(rep.Findings, c.file)
				if !slices.ContainsFunc(found, func(f cadb.Finding) bool { return withManifest || c.code == "" || f.Code == c.code }) {
					t.Errorf("no finding of %q names %q: %v", c.code, c.file, rep.Findings)
				}
				if !withManifest && strings.Contains(c.name, "log") && verify(t, dir, "inc2", backup.LevelContent).OK {
					t.Error("not found at level content")
				}
				if withManifest {
					for _, l := range []backup.Level{backup.LevelSealed, backup.LevelContent} {
						if verify(t, dir, "inc2", l).OK {
							t.Errorf("not found at level %s", l)
						}
					}
				}
			})
		}
	}
}

// Logs of another database of the same name, at the same generations.
func TestVerifyForeignLog(t *testing.T) {
	s, _ := standardChain(t)
	g := s.gens[0][0] + 1
	other := newWorld(t, 1)
	for other.roll() < g {
		other.issue(1)
	}
	foreign, _, err := other.db.OpenLog(g)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	raw, err := io.ReadAll(foreign)
	if err != nil {
		t.Fatal(err)
	}
	_, dir := standardChain(t)
	forgetManifests(t, dir)
	edit(logOf("full", g), func([]byte) []byte { return raw })(t, dir)
	rep := verify(t, dir, "full", backup.LevelDatabase)
	if rep.OK || len(damageIn(rep.Findings, logName(g))) == 0 {
		t.Errorf("a foreign log passes: %v", rep.Findings)
	}
}

// Each set is in order, and they do not belong together.
func TestVerifyForeignSet(t *testing.T) {
	s, dir := standardChain(t)
	forgetManifests(t, dir)
	other := newWorld(t, 1)
	for other.roll() < s.gens[0][1] {
		other.issue(1)
	}
	other.full("full", nil)
	other.issue(1)
	for other.last.LastGeneration < s.gens[2][1] {
		other.issue(1)
		other.incremental("inc"+other.last.ID, 0)
	}
	forgetManifests(t, other.sets())
	data := filepath.Join(dir, "inc1", dataBase)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for g := s.gens[1][0]; g <= s.gens[1][1]; g++ {
		f, _, err := other.db.OpenLog(g)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(data, logName(g)), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rep := verify(t, dir, "inc1", backup.LevelContent)
	if len(damageIn(rep.Findings, "inc1/"+dataBase+"/"+logName(s.gens[1][0]))) == 0 {
		t.Errorf("%v", rep.Findings)
	}
}

// A manifest that says less than the logs do about how far a restore must go.
func TestVerifyEarliestTarget(t *testing.T) {
	w := newWorld(t, 1)
	w.lie = func(m *backupset.Manifest) {
		if m.EarliestTarget < m.LastGeneration {
			m.EarliestTarget++
		} else {
			m.EarliestTarget--
		}
	}
	w.full("full", func() {
		w.issue(1)
		w.roll()
		w.issue(1)
	})
	rep := verify(t, w.sets(), "full", backup.LevelContent)
	if rep.OK || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Code == cadb.CodeMismatch }) {
		t.Errorf("%v", rep.Findings)
	}
	if _, err := backup.Recover(t.Context(), backup.RecoverOptions{Source: source(w.sets(), "full"), Scratch: t.TempDir()}); !errors.Is(err, backupset.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// A set that was put together with a CRL of somebody else in it.
func TestVerifyForgedCRL(t *testing.T) {
	w := newWorld(t, 1)
	forger := cadbtest.New(t, caName)
	var err error
	if w.crl, err = forger.CRL(); err != nil {
		t.Fatal(err)
	}
	w.full("full", nil)
	rep := verify(t, w.sets(), "full", backup.LevelContent)
	if rep.OK || len(damageIn(rep.Findings, crlName)) != 1 {
		t.Errorf("%v", rep.Findings)
	}
	// It is not put back either.
	target := newTarget(t, w.ca.Cert.Raw)
	if _, err := backup.Restore(t.Context(), restoreOptions(t, w.sets(), "full", target)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(target.dir, "published", crlName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a forged CRL was published: %v", err)
	}
}

func TestVerifyInventory(t *testing.T) {
	s, dir := standardChain(t)
	remove(logOf("full", s.gens[0][0]))(t, dir)
	edit(logOf("inc1", s.gens[1][0]), func(b []byte) []byte { return b[1:] })(t, dir)
	flip(logOf("inc2", s.gens[2][0]), 5000)(t, dir) // not seen at this level
	rep := verify(t, dir, "inc2", backup.LevelInventory)
	if len(damageIn(rep.Findings, logName(s.gens[0][0]))) != 1 || len(damageIn(rep.Findings, logName(s.gens[1][0]))) != 1 || len(rep.Findings) != 2 {
		t.Errorf("%v", rep.Findings)
	}
}

func TestVerifyStates(t *testing.T) {
	_, dir := standardChain(t)
	remove("inc2/"+receipt)(t, dir)
	rep := verify(t, dir, "inc2", backup.LevelSealed)
	if !rep.OK || rep.Sets[2].State != "unconfirmed" || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Code == cadb.CodeUnconfirmed }) {
		t.Errorf("unconfirmed: %+v", rep)
	}
	flip("inc1/"+receipt, 30)(t, dir)
	if rep = verify(t, dir, "inc2", backup.LevelSealed); rep.OK || len(damageIn(rep.Findings, "inc1")) == 0 {
		t.Errorf("damaged receipt: %+v", rep.Findings)
	}
	flip("full/"+manifest, 30)(t, dir)
	if rep = verify(t, dir, "inc2", backup.LevelInventory); rep.OK || len(rep.Findings) == 0 {
		t.Errorf("damaged manifest: %+v", rep)
	}
	// Asked for the whole place, a set that cannot be read counts as well.
	_, dir = standardChain(t)
	copyTree(t, filepath.Join(dir, "full"), filepath.Join(dir, "old"))
	flip("old/"+manifest, 30)(t, dir)
	if rep = verify(t, dir, "inc2", backup.LevelInventory); !rep.OK {
		t.Errorf("another set's damage: %v", rep.Findings)
	}
	if rep = verify(t, dir, "", backup.LevelInventory); rep.OK || len(damageIn(rep.Findings, "old")) == 0 {
		t.Errorf("damage in a place that was asked for: %v", rep.Findings)
	}
	if err := os.WriteFile(filepath.Join(dir, "inc1", dataBase, "notes.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if rep = verify(t, dir, "inc2", backup.LevelSealed); !rep.OK || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return strings.Contains(f.File, "notes.txt") }) {
		t.Errorf("extra file: %v", rep.Findings)
	}
	if _, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "nosuch")}); !errors.Is(err, backupset.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestVerifyCanceled(t *testing.T) {
	_, dir := standardChain(t)
	tmp := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := backup.Verify(ctx, backup.VerifyOptions{Source: source(dir, "inc2"), Scratch: tmp, Progress: func(p backup.Progress) {
		if n++; n == 20 { // in the middle of the recovery's reading
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]backup.Level{"": backup.LevelDatabase, "Sealed": backup.LevelSealed, "inventory": backup.LevelInventory} {
		if got, err := backup.ParseLevel(in); err != nil || got != want {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
	if _, err := backup.ParseLevel("deep"); err == nil {
		t.Error("an unknown level was accepted")
	}
}

package adcs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/internal/durable"
)

// TestSetAsideHostileJournal: a journal moves nothing but what this package would.
func TestSetAsideHostileJournal(t *testing.T) {
	f := newFake(t).stopped()
	f.write(t, below(certLog, engine))
	f.write(t, map[string]string{`C:\Windows\system32\drivers\x.sys`: "driver"})
	dir, aside := f.native(`C:\Windows\system32\CertLog`), f.native(`C:\Windows\system32\CertLog`)+".certkeep-20261125T120000Z"
	driver := f.native(`C:\Windows\system32\drivers\x.sys`)
	good := asideJournal{Schema: 1, State: asideMoving, Dirs: []asideDir{{dir, aside}}, Moves: []asideMove{{From: filepath.Join(dir, "edb.log"), To: filepath.Join(aside, "edb.log")}}}
	h := f.open(t, Options{})
	for name, change := range map[string]func(j *asideJournal){
		"another file":  func(j *asideJournal) { j.Moves[0] = asideMove{From: driver, To: filepath.Join(aside, "edb.log")} },
		"another place": func(j *asideJournal) { j.Moves[0].To = filepath.Join(filepath.Dir(driver), "edb.log") },
		"another name":  func(j *asideJournal) { j.Moves[0].To = filepath.Join(aside, "evil.dll") },
		"not of the engine": func(j *asideJournal) {
			j.Moves[0] = asideMove{From: filepath.Join(dir, "notes.doc"), To: filepath.Join(aside, "notes.doc")}
		},
		"another directory":   func(j *asideJournal) { j.Dirs[0].From = filepath.Dir(driver) },
		"another aside":       func(j *asideJournal) { j.Dirs[0].To = filepath.Dir(driver) },
		"an aside further on": func(j *asideJournal) { j.Dirs[0].To = aside + "/../../drivers" },
		"a run too many":      func(j *asideJournal) { j.Moves[0].Again, j.Moves[0].To = 1, filepath.Join(aside, "again-1", "edb.log") },
		"no directories":      func(j *asideJournal) { j.Dirs = nil },
		"too many":            func(j *asideJournal) { j.Dirs = append(j.Dirs, j.Dirs[0]) },
		"state":               func(j *asideJournal) { j.State = "x" },
		"schema":              func(j *asideJournal) { j.Schema = 2 },
	} {
		j := good
		j.Dirs, j.Moves = slices.Clone(good.Dirs), slices.Clone(good.Moves)
		change(&j)
		if err := h.store(asideFile, j); err != nil {
			t.Fatal(err)
		}
		before := f.files(t, `C:\Windows`)
		if d, err := h.SetAside(t.Context()); !errors.Is(err, ErrState) || hintOf(err) == "" {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		if diff := cmp.Diff(before, f.files(t, `C:\Windows`)); diff != "" {
			t.Errorf("%s: moved:\n%s", name, diff)
		}
	}
	if err := h.store(asideFile, good); err != nil {
		t.Fatal(err)
	}
	if d, err := h.SetAside(t.Context()); err != nil || !slices.Contains(d.Files, "edb.log") {
		t.Errorf("the good one: %+v, %v", d, err)
	}
	path, err := h.statePath(asideFile)
	if err == nil {
		err = durable.WriteFile(f.fsys, path, []byte("{"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.SetAside(t.Context()); !errors.Is(err, ErrState) {
		t.Errorf("half a journal: %v", err)
	}
	f.failed["private"] = fs.ErrPermission
	if _, err := h.SetAside(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a state directory of somebody else's: %v", err)
	}
}

package adcs

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
)

const certLog = `C:\Windows\system32\CertLog\`

// engine are the files of a CA's database, and others are not.
var (
	engine = map[string]string{"example ca.edb": "database", "example ca.jfm": "flush map", "edb.log": "current", "edb0001a.log": "1a", "edb00000001b.log": "1b",
		"edb.chk": "checkpoint", ".edb0001a.log.abcdefg2.partial": "half a log", ".example ca.edb.abcdefg2.partial": "half a database", "edbres00001.jrs": "reserve", "edbtmp.log": "next", "tmp.edb": "temporary"}
	others = map[string]string{"other.edb": "another's", "certsrv.log": "a text", "edb.txt": "note", "notes.doc": "x", ".notes.doc.abcdefg2.partial": "half a note", ".edb.log.abc.partial": "not so written", "edb.log.abcdefg2.partial": "nor this", "sub/edb00001.log": "deeper"}
)

const asideNow = "certlog.certkeep-20261125T120000Z/"

func below(dir string, files map[string]string) map[string]string {
	m := make(map[string]string)
	for k, v := range files {
		m[dir+k] = v
	}
	return m
}

func merged(list ...map[string]string) map[string]string {
	m := make(map[string]string)
	for _, x := range list {
		maps.Copy(m, x)
	}
	return m
}

// names are those of files of the engine, the database first.
func databaseFirst(d backup.Displaced) bool {
	return len(d.Files) > 0 && strings.HasSuffix(d.Files[0], ".edb")
}

func TestSetAside(t *testing.T) {
	f := newFake(t).stopped()
	f.write(t, below(certLog, merged(engine, others)))
	h := f.open(t, Options{})
	d, err := h.SetAside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := merged(below("certlog/", others), below(asideNow, engine))
	if diff := cmp.Diff(want, f.files(t, `C:\Windows\system32`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d.Dir != filepath.Join(f.native(`C:\Windows\system32`), asideNow) || len(d.Files) != len(engine) || !databaseFirst(d) {
		t.Errorf("displaced %+v", d)
	}

	// The same again: nothing to do, the same answer.
	again, err := h.SetAside(t.Context())
	if diff := cmp.Diff(d, again); err != nil || diff != "" {
		t.Errorf("again: %v (-want +got):\n%s", err, diff)
	}

	// A restore that failed after it put files in place.
	restored := map[string]string{"example ca.edb": "restored", "edb0001a.log": "restored 1a"}
	f.write(t, below(certLog, restored))
	again, err = h.SetAside(t.Context())
	if diff := cmp.Diff(d, again); err != nil || diff != "" {
		t.Errorf("after a failed restore: %v (-want +got):\n%s", err, diff)
	}
	want = merged(want, below(asideNow+"again-1/", restored))
	if diff := cmp.Diff(want, f.files(t, `C:\Windows\system32`)); diff != "" {
		t.Errorf("after a failed restore (-want +got):\n%s", diff)
	}

	// A restore that went well, and another one later.
	f.write(t, below(certLog, restored))
	if err := h.StartService(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.stopped()
	later, err := h.SetAside(t.Context()) // within the same second
	if err != nil || later.Dir != d.Dir+"-2" || len(later.Files) != 2 {
		t.Errorf("the next restore: %+v, %v", later, err)
	}
	want = merged(want, below(strings.TrimSuffix(asideNow, "/")+"-2/", restored))
	if diff := cmp.Diff(want, f.files(t, `C:\Windows\system32`)); diff != "" {
		t.Errorf("the next restore (-want +got):\n%s", diff)
	}
}

// TestSetAsideAnother: what is in place is not of the restore that the journal is
// of, though nobody said so.
func TestSetAsideAnother(t *testing.T) {
	for name, change := range map[string]func(f *fake, d backup.Displaced) error{
		"the service was started by hand": func(f *fake, _ backup.Displaced) error {
			return durable.WriteFile(f.fsys, f.native(certLog+"edb.chk"), nil, 0o600)
		},
		"what was set aside was put back": func(f *fake, d backup.Displaced) error {
			return f.fsys.Rename(filepath.Join(d.Dir, "example ca.edb"), f.native(certLog+"example ca.edb"))
		},
		"the directories were changed": func(f *fake, _ backup.Displaced) error {
			f.put(configurationKey, regfile.NewString("DBLogDirectory", regfile.String, `D:\logs`))
			return durable.WriteFile(f.fsys, f.native(certLog+"edb00001.log"), nil, 0o600)
		},
	} {
		f := newFake(t).stopped()
		f.write(t, below(certLog, engine))
		now := testTime
		h := f.open(t, Options{Now: func() time.Time { return now }})
		first, err := h.SetAside(t.Context())
		if err == nil {
			err = change(f, first)
		}
		if err != nil {
			t.Fatal(name, err)
		}
		now = now.Add(time.Hour)
		second, err := h.SetAside(t.Context())
		if err != nil || !strings.HasSuffix(second.Dir, ".certkeep-20261125T130000Z") || len(second.Files) != 1 {
			t.Errorf("%s: %+v, %v", name, second, err)
		}
	}
}

// Directories may be three, nested, or a drive's root, or mounted there.
func TestSetAsideDirectories(t *testing.T) {
	for _, c := range []struct {
		name              string
		db, log, sys      string
		mounted           string
		wantDir           string
		wantDB, wantLog   string
		elsewhere, inside int
	}{
		{name: "three", db: `C:\db`, log: `D:\log`, sys: `E:\sys`, wantDir: "c/db.certkeep-20261125T120000Z", wantLog: "d/log.certkeep-20261125T120000Z/edb.log", elsewhere: 2, inside: 1},
		{name: "nested", db: `C:\ca`, log: `C:\ca\log`, sys: `C:\ca\log\sys`, wantDir: "c/ca.certkeep-20261125T120000Z", wantLog: "c/ca/log.certkeep-20261125T120000Z/edb.log", elsewhere: 2, inside: 1},
		{name: "a drive's root", db: `C:\db`, log: `D:\`, sys: `D:\`, mounted: `D:\`, wantDir: "c/db.certkeep-20261125T120000Z", wantLog: "d/certkeep-20261125T120000Z/edb.log", elsewhere: 2, inside: 1},
		{name: "a mounted volume", db: `C:\db`, log: `C:\db\log`, sys: `C:\db`, mounted: `C:\db\log`, wantDir: "c/db.certkeep-20261125T120000Z", wantLog: "c/db/log/certkeep-20261125T120000Z/edb.log", elsewhere: 1, inside: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t).stopped()
			for name, dir := range map[string]string{"DBDirectory": c.db, "DBLogDirectory": c.log, "DBSystemDirectory": c.sys} {
				f.put(configurationKey, regfile.NewString(name, regfile.String, dir))
			}
			if c.mounted != "" {
				f.mounted = f.native(c.mounted)
			}
			at := func(dir, name string) string { return strings.TrimSuffix(dir, `\`) + `\` + name }
			f.write(t, map[string]string{at(c.db, "Example CA.edb"): "database", at(c.log, "edb.log"): "log", at(c.sys, "edb.chk"): "checkpoint"})
			h := f.open(t, Options{})
			d, err := h.SetAside(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d.Dir != filepath.Join(f.root, c.wantDir) {
				t.Errorf("aside in %s, want %s", d.Dir, c.wantDir)
			}
			elsewhere := 0
			for _, name := range d.Files {
				if filepath.IsAbs(name) {
					elsewhere++
				}
			}
			if elsewhere != c.elsewhere || len(d.Files)-elsewhere != c.inside {
				t.Errorf("files %q", d.Files)
			}
			if b, err := durable.ReadFile(f.fsys, filepath.Join(f.root, c.wantLog), 100); err != nil || string(b) != "log" {
				t.Errorf("the log: %q, %v", b, err)
			}
			// A second run moves nothing, in particular not what was set aside.
			before := f.files(t, `C:\`)
			if again, err := h.SetAside(t.Context()); err != nil || !cmp.Equal(d, again) || !cmp.Equal(before, f.files(t, `C:\`)) {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

func TestSetAsideRefused(t *testing.T) {
	f := newFake(t)
	f.write(t, below(certLog, engine))
	h := f.open(t, Options{})
	if d, err := h.SetAside(t.Context()); !errors.Is(err, certadm.ErrorSharingViolation) || hintOf(err) == "" || d.Dir != "" {
		t.Errorf("with the service running: %+v, %v", d, err)
	}
	if diff := cmp.Diff(engine, f.files(t, certLog)); diff != "" {
		t.Error(diff)
	}
	delete(f.services, "certsvc")
	if _, err := h.SetAside(t.Context()); !errors.Is(err, ErrNoAuthority) {
		t.Errorf("without the service: %v", err)
	}
}

// A file that is in use is named, and a second run goes on.
func TestSetAsideInUse(t *testing.T) {
	f := newFake(t).stopped()
	disk, err := durabletest.Over(durable.OS, f.root)
	if err != nil {
		t.Fatal(err)
	}
	f.fsys = disk
	f.write(t, below(certLog, engine))
	h := f.open(t, Options{})
	disk.Inject(durabletest.Fault{Op: 3, Err: errInUse, Only: func(o durabletest.Op) bool {
		return o.Kind == durabletest.OpRename && !strings.Contains(o.Name, "aside.json")
	}})
	d, err := h.SetAside(t.Context())
	if !errors.Is(err, certadm.ErrorSharingViolation) || !errors.Is(err, errInUse) || !strings.Contains(hintOf(err), "has the file open") {
		t.Errorf("%v, hint %q", err, hintOf(err))
	}
	if len(d.Files) != 2 || d.Dir == "" {
		t.Errorf("displaced so far %+v", d)
	}
	d, err = h.SetAside(t.Context())
	if err != nil || len(d.Files) != len(engine) {
		t.Errorf("the second run: %+v, %v", d, err)
	}

	f = newFake(t).stopped()
	f.write(t, below(certLog, engine))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := f.open(t, Options{}).SetAside(ctx); !errors.Is(err, context.Canceled) || d.Dir != "" {
		t.Errorf("cancelled: %+v, %v", d, err)
	}
}

// TestSetAsidePowerLoss: from whatever a power loss leaves, a second run sets aside
// every file, once, in the directory that the first run chose.
func TestSetAsidePowerLoss(t *testing.T) {
	small := map[string]string{"example ca.edb": "database", "edb.log": "current", "edb.chk": "checkpoint"}
	disk := durabletest.New()
	f := newFake(t).stopped()
	f.root, f.fsys = "/", disk
	f.write(t, below(certLog, small))
	now := testTime
	h := f.open(t, Options{Now: func() time.Time { return now }})
	if _, err := h.statePath(""); err != nil {
		t.Fatal(err)
	}
	if err := disk.Settle(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.SetAside(t.Context()); err != nil {
		t.Fatal(err)
	}
	disk.Mark("done")
	now = now.Add(time.Hour)
	n := disk.CrashStates(func(s durabletest.State) {
		f.fsys = s.Disk()
		h := f.open(t, Options{Now: func() time.Time { return now }})
		d, err := h.SetAside(t.Context())
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		dir := asideNow
		if !strings.HasSuffix(d.Dir, "120000Z") { // the first run had not got as far as its journal
			dir = strings.Replace(asideNow, "120000", "130000", 1)
		}
		got := f.files(t, `C:\Windows\system32`)
		for name, text := range small { // a rename of which half was synced
			if again := dir + "again-1/" + name; got[again] == text {
				delete(got, again)
			}
		}
		if diff := cmp.Diff(below(dir, small), got); diff != "" {
			t.Fatalf("%v (-want +got):\n%s", s, diff)
		}
		if s.Reached("done") && dir != asideNow || len(d.Files) != len(small) {
			t.Fatalf("%v: %+v", s, d)
		}
	})
	if n < 20 {
		t.Errorf("only %d states", n)
	}
}

// TestSetAsideFaults fails each operation in turn; nothing is lost, and the next run
// finishes.
func TestSetAsideFaults(t *testing.T) {
	small := map[string]string{"example ca.edb": "database", "edb.log": "current"}
	for n := 1; ; n++ {
		disk := durabletest.New()
		f := newFake(t).stopped()
		f.root, f.fsys = "/", disk
		f.write(t, below(certLog, small))
		h := f.open(t, Options{})
		disk.Inject(durabletest.Fault{Op: n, Err: syscall.EIO})
		_, err := h.SetAside(t.Context())
		fired := disk.Fired()
		disk.Heal()
		if !fired {
			if n < 15 {
				t.Errorf("only %d operations", n)
			}
			return
		}
		d, err2 := h.SetAside(t.Context())
		if err2 != nil {
			t.Errorf("operation %d: %v, and then %v", n, err, err2)
			continue
		}
		got := f.files(t, `C:\Windows\system32`)
		values := slices.Sorted(maps.Values(got))
		if !slices.Equal(values, slices.Sorted(maps.Values(small))) || len(f.files(t, certLog)) != 0 || len(d.Files) != len(small) {
			t.Errorf("operation %d (%v): %+v, %v", n, err, d, got)
		}
	}
}

package esetest_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/ese/esetest"
	"github.com/certkeep/certkeep/ese/internal/findings"
)

// files is a folder in memory.
type files map[string][]byte

func load(t testing.TB, dir string) files {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := make(files)
	for _, e := range list {
		f[e.Name()] = read(t, filepath.Join(dir, e.Name()))
	}
	return f
}

// clone copies the folder, but not what is in the files.
func (f files) clone() files { return maps.Clone(f) }

// check checks all that is in a folder.
func (f files) check(t testing.TB, depth esecheck.Depth) *esecheck.Report {
	t.Helper()
	in := esecheck.Input{Depth: depth}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		file := esecheck.File{Name: name, R: bytes.NewReader(f[name]), Size: int64(len(f[name]))}
		switch kind, _, _ := ese.ParseLogName(name); kind {
		case ese.DatabaseName:
			in.Database = &file
		case ese.CheckpointName:
			in.Checkpoint = &file
		case ese.LogName, ese.CurrentLog, ese.TemporaryLog, ese.ReserveLog:
			in.Logs = append(in.Logs, file)
		}
	}
	r, err := esecheck.Check(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSoundFolders: what was written as it should be is found to be so.
func TestSoundFolders(t *testing.T) {
	backup, live := func(dir string, o esetest.FolderOptions) (*esetest.Folder, error) {
		return esetest.WriteBackup(dir, o, fewRequests(t, 40))
	}, func(clean bool) func(string, esetest.FolderOptions) (*esetest.Folder, error) {
		return func(dir string, o esetest.FolderOptions) (*esetest.Folder, error) {
			return esetest.WriteLive(dir, o, clean, fewRequests(t, 40))
		}
	}
	old := func(s *esetest.LogStream) { s.Major, s.Update = 7, 15 }
	for what, x := range map[string]struct {
		write     func(string, esetest.FolderOptions) (*esetest.Folder, error)
		o         esetest.FolderOptions
		low, high uint32
		names     string
	}{
		"backup":           {backup, esetest.FolderOptions{}, 3, 5, "Example CA.edb certbkxp.dat edb00003.log edb00004.log edb00005.log"},
		"backup of one":    {backup, esetest.FolderOptions{Name: "My CA", Low: 0x1f, High: 0x1f}, 0x1f, 0x1f, "My CA.edb certbkxp.dat edb0001F.log"},
		"backup of 2025":   {backup, esetest.FolderOptions{Options: esetest.Options{Revision: 300, MinorRevision: 620, WideLongIDs: true, AutoIncrementInRoot: true, ExtraCatalogColumn: true}}, 3, 5, ""},
		"backup of 2008":   {backup, esetest.FolderOptions{Options: esetest.Options{Revision: 17, OldChecksums: true}, Stream: old}, 3, 5, ""},
		"8 KiB, packed":    {backup, esetest.FolderOptions{Options: esetest.Options{PageSize: 8192, Compress: true}}, 3, 5, ""},
		"dead authority":   {live(false), esetest.FolderOptions{}, 3, 5, "Example CA.edb edb.chk edb.log edb00003.log edb00004.log edbres00001.jrs edbres00002.jrs edbtmp.log"},
		"stopped properly": {live(true), esetest.FolderOptions{}, 0, 0, ""},
	} {
		t.Run(what, func(t *testing.T) {
			x.o.TempDir = t.TempDir()
			f, err := x.write(t.TempDir(), x.o)
			if err != nil {
				t.Fatal(err)
			}
			all := load(t, f.Dir)
			if got := strings.Join(slices.Sorted(maps.Keys(all)), " "); x.names != "" && got != x.names {
				t.Errorf("%s, want %s", got, x.names)
			}
			r := all.check(t, esecheck.Rows)
			if r.Verdict != esecheck.Sound || findings.Serious(r) != "" || r.Low != x.low || r.High != x.high || r.Rows["Requests"] != 40 {
				t.Errorf("%v: logs %d to %d, want %d to %d; %v\n%s", r, r.Low, r.High, x.low, x.high, r.Rows, findings.All(r))
			}
			for _, path := range f.Logs {
				if _, ok := all[filepath.Base(path)]; !ok {
					t.Errorf("%s is not there", path)
				}
			}
			if b, ok := all[certadm.LocationsFile]; ok {
				l, err := certadm.DecodeLocations(b)
				if err != nil {
					t.Fatal(err)
				}
				if m, err := l.RestoreMap(); err != nil || !strings.HasPrefix(m.Database, `\\ca1\C$\`) || !strings.HasSuffix(m.Database, ".edb") {
					t.Errorf("%+v, %v", m, err)
				}
			}
		})
	}
}

// TestEachFlippedBitIsFound: a wrong bit anywhere in a backup's database or logs, or in a
// checkpoint, gives a finding that is more than a note.
func TestEachFlippedBitIsFound(t *testing.T) {
	for _, o := range []esetest.Options{{}, {PageSize: 16384}, {OldChecksums: true}} {
		f, err := esetest.WriteBackup(t.TempDir(), esetest.FolderOptions{Options: o, Stream: func(s *esetest.LogStream) { s.Sectors = 24 }}, fewRequests(t, 10))
		if err != nil {
			t.Fatal(err)
		}
		all := load(t, f.Dir)
		size := max(o.PageSize, 4096)
		edb := filepath.Base(f.Database)
		db := int64(len(all[edb]))
		log := int64(24 * 4096)
		r := rand.New(rand.NewPCG(1, uint64(size)))
		for range 60 {
			page := int64(size) * r.Int64N(db/int64(size))
			for _, x := range []struct {
				name      string
				from, end int64
			}{
				{edb, 0, 672}, {edb, int64(size), int64(size) + 672}, // headers
				{edb, db - int64(size), db}, // trailer
				{edb, page, page + 80},      // header of any page
				{edb, 0, db},                // anywhere
				{"edb00004.log", 0, 4096},   // header
				{"edb00003.log", 4096, log}, // segments
				{"edb00005.log", 4096, log}, // also behind the end
			} {
				bit := 8*x.from + r.Int64N(8*(x.end-x.from))
				esetest.FlipBit(all[x.name], bit)
				if got := all.check(t, esecheck.Pages); findings.Serious(got) == "" {
					t.Errorf("pages of %d: %s, bit %d: nothing was found\n%s", size, x.name, bit, findings.All(got))
				}
				esetest.FlipBit(all[x.name], bit)
			}
		}
		if got := findings.Serious(all.check(t, esecheck.Pages)); got != "" {
			t.Errorf("the bits are back, but %s", got)
		}
	}
}

// TestDamage: each kind of damage has its own finding.
func TestDamage(t *testing.T) {
	f, err := esetest.WriteBackup(t.TempDir(), esetest.FolderOptions{}, fewRequests(t, 60))
	if err != nil {
		t.Fatal(err)
	}
	live, err := esetest.WriteLive(t.TempDir(), esetest.FolderOptions{}, false, fewRequests(t, 60))
	if err != nil {
		t.Fatal(err)
	}
	clean, err := esetest.WriteLive(t.TempDir(), esetest.FolderOptions{}, true, fewRequests(t, 60))
	if err != nil {
		t.Fatal(err)
	}
	edb := filepath.Base(f.Database)
	other := esetest.NewSignature(99, f.Stream.Base)
	leaf := leafOf(t, clean.Database, "Certificates")
	for what, x := range map[string]struct {
		folder *esetest.Folder
		damage func(files) error
		want   string
	}{
		"swapped pages":               {f, func(a files) error { esetest.SwapPages(a[edb], 4096, leaf, leaf+1); return nil }, "damage misplaced-page -1018, damage misplaced-page -1018"},
		"stale page":                  {clean, func(a files) error { return esetest.StalePage(a[edb], 4096, leaf, false) }, "damage index -1414"},
		"stale page of a running one": {live, func(a files) error { return esetest.StalePage(a[edb], 4096, leaf, false) }, ""},
		"lost write":                  {clean, func(a files) error { esetest.LoseWrite(a[edb], 4096, leaf); return nil }, "damage bad-tree -1206"},
		"torn log":                    {f, func(a files) error { return esetest.TearLog(a["edb00004.log"]) }, "damage torn-segment"},
		"torn current log":            {live, func(a files) error { return esetest.TearLog(a["edb.log"]) }, "warning torn-segment"},
		"foreign log":                 {f, func(a files) error { esetest.SetLogSignature(a["edb00004.log"], other); return nil }, "damage foreign-log -530"},
		"foreign database": {f, func(a files) error {
			esetest.EditHeader(a[edb], 4096, func(h []byte) { copy(h[108:], other[:]) })
			return nil
		}, "damage foreign-trailer -552"},
		"missing log":      {f, func(a files) error { delete(a, "edb00004.log"); return nil }, "damage missing-log -543"},
		"missing last log": {f, func(a files) error { delete(a, "edb00005.log"); return nil }, "damage missing-log -543"},
		"swapped logs": {f, func(a files) error {
			a["edb00003.log"], a["edb00004.log"] = a["edb00004.log"], a["edb00003.log"]
			return nil
		}, "damage log-name -513"},
		"log of another time": {f, func(a files) error { esetest.EditLogHeader(a["edb00004.log"], func(h []byte) { h[24]++ }); return nil }, "damage log-sequence -515"},
		"log with other sums": {f, func(a files) error { esetest.EditLogHeader(a["edb00004.log"], func(h []byte) { h[653]++ }); return nil }, "damage log-sums -590"},
		"truncated log":       {f, func(a files) error { a["edb00003.log"] = a["edb00003.log"][:4096*10]; return nil }, "damage size"},
		"truncated database":  {f, func(a files) error { a[edb] = a[edb][:len(a[edb])-4096]; return nil }, "damage bad-trailer -535"},
		"repaired database":   {f, func(a files) error { esetest.EditHeader(a[edb], 4096, func(h []byte) { h[240] = 1 }); return nil }, "warning history"},
		"checkpoint of others": {live, func(a files) error {
			esetest.EditHeader(a["edb.chk"], 4096, func(h []byte) { copy(h[20:], other[:]) })
			return nil
		}, "warning bad-checkpoint"},
	} {
		t.Run(what, func(t *testing.T) {
			all := load(t, x.folder.Dir)
			before := all.clone()
			for name := range before {
				before[name] = bytes.Clone(all[name])
			}
			if err := x.damage(all); err != nil {
				t.Fatal(err)
			}
			if maps.EqualFunc(all, before, bytes.Equal) {
				t.Fatal("nothing was damaged")
			}
			got := all.check(t, esecheck.Rows)
			if s := findings.Serious(got); strings.HasPrefix(what, "stale page") {
				// Its checksum is right; only indexes know the row that is gone, and while logs
				// have to be replayed that means nothing.
				if s != x.want && !strings.HasPrefix(s, x.want+", "+x.want) || x.want == "" && !strings.Contains(findings.All(got), "1 entry names a row that is not there") {
					t.Errorf("%q, want %q\n%s", s, x.want, findings.All(got))
				}
				before, err1 := ese.ParsePageHeader(esetest.PageOf(before[edb], 4096, leaf))
				after, err2 := ese.ParsePageHeader(esetest.PageOf(all[edb], 4096, leaf))
				if err1 != nil || err2 != nil || after.DBTime >= before.DBTime || after.Tags != before.Tags-1 || after.Free <= before.Free || after.Flags == before.Flags {
					t.Errorf("%+v, %v; it was %+v, %v", after, err2, before, err1)
				}
				if got.Rows["Certificates"] != 59 || got.Rows["Requests"] != 60 {
					t.Errorf("%v", got.Rows)
				}
			} else if !strings.Contains(s, x.want) {
				t.Errorf("%q, want %q\n%s", s, x.want, findings.All(got))
			}
		})
	}
}

// leafOf is the second leaf of a table.
func leafOf(t *testing.T, path, name string) uint32 {
	t.Helper()
	b := read(t, path)
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	table, err := db.Table(name)
	if err != nil {
		t.Fatal(err)
	}
	var pages []uint32
	for row, err := range table.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		if page, _ := row.Position(); !slices.Contains(pages, page) {
			pages = append(pages, page)
		}
	}
	if len(pages) < 4 {
		t.Fatalf("table %q has %d leaves", name, len(pages))
	}
	return pages[1]
}

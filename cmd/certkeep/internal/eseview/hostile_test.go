package eseview_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/eseview"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

// smallDatabase has one row in each table of a CA.
func smallDatabase(t testing.TB) []byte {
	t.Helper()
	m := &esetest.Memory{}
	ca, err := esetest.CreateCA(m, esetest.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	g, err := esetest.NewGenerator(3, time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Fill(context.Background(), ca, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Close(); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

// everything does with a file what the verb can do.
func everything(ctx context.Context, dir string) {
	files := eseview.NewFiles(ctx)
	defer files.Close()
	groups, err := eseview.Find(files, []string{dir})
	if err != nil {
		return
	}
	for _, g := range groups {
		for _, path := range g.Files() {
			eseview.Describe(ctx, files, path) //nolint:errcheck // it may fail, and do no worse
		}
		for _, path := range g.Databases {
			eseview.ReadCatalog(ctx, files, path, true) //nolint:errcheck // as above
			db, err := eseview.OpenDatabase(files, path)
			if err != nil {
				continue
			}
			for _, t := range db.Tables() {
				eseview.ReadRows(ctx, t, 1000, func(r eseview.Row) error { //nolint:errcheck // as above
					for _, v := range r.Values {
						v.Text()
					}
					return nil
				})
			}
		}
		for _, one := range eseview.Checks(files, g) {
			one.Anonymize(ctx, files, eseview.CheckOptions{Depth: "rows"}) //nolint:errcheck // as above
		}
	}
}

// FuzzFile changes some bytes of a database and seals its page again, so that what is
// behind the checksum is reached. It may neither panic nor hang.
func FuzzFile(f *testing.F) {
	database := smallDatabase(f)
	stream := esetest.NewLogStream(esetest.Options{}, `C:\ca.edb`)
	stream.Sectors = 8
	log, checkpoint := stream.Log(3), stream.Checkpoint(3)
	f.Add(uint8(0), uint16(300), []byte{0xff, 0xff, 0xff, 0xff}, true)
	f.Add(uint8(5), uint16(100), []byte{0, 0, 0, 0x80}, true)
	f.Add(uint8(21), uint16(4090), []byte{0xff, 0x7f}, true)
	f.Add(uint8(30), uint16(40), []byte{1, 2, 3}, false)
	dir := f.TempDir()
	write(f, filepath.Join(dir, "edb00003.log"), log)
	write(f, filepath.Join(dir, "edb.chk"), checkpoint)
	f.Fuzz(func(t *testing.T, page uint8, at uint16, change []byte, seal bool) {
		const size = 4096
		b := append([]byte(nil), database...)
		n := int(page) % (len(b) / size)
		whole := b[n*size:][:size]
		copy(whole[int(at)%size:], change)
		switch {
		case !seal:
		case n < 2:
			esetest.SealHeader(whole)
			copy(b[(1-n)*size:][:size], whole)
		default:
			esetest.SealPage(whole, uint32(n-1), false)
		}
		path := filepath.Join(dir, "ca.edb")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		everything(t.Context(), dir)
	})
}

// FuzzLog is the same for a log and a checkpoint.
func FuzzLog(f *testing.F) {
	stream := esetest.NewLogStream(esetest.Options{}, `C:\ca.edb`)
	stream.Sectors = 8
	log, checkpoint := stream.Log(3), stream.Checkpoint(3)
	f.Add(uint16(10), []byte{0xff, 0xff}, true)
	f.Add(uint16(671), []byte{1, 0x20, 0xff, 0xff}, true)
	f.Add(uint16(5000), []byte{1}, false)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, at uint16, change []byte, seal bool) {
		for name, original := range map[string][]byte{"edb00003.log": log, "edb.chk": checkpoint} {
			b := append([]byte(nil), original...)
			copy(b[int(at)%len(b):], change)
			if seal {
				esetest.SealHeader(b[:ese.LogHeaderSize])
			}
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		everything(t.Context(), dir)
	})
}

// TestFixtures does the same with databases that Windows wrote, which are no part of
// the project.
func TestFixtures(t *testing.T) {
	const fixtures = "../../../../../shared/fixtures/ese/ese_parser"
	list, err := filepath.Glob(filepath.Join(fixtures, "*.edb"))
	if err != nil || len(list) == 0 {
		t.Skipf("no databases to test with in %s", fixtures)
	}
	for _, path := range list {
		files := newFiles(t)
		if v, err := eseview.Describe(t.Context(), files, path); err != nil || v.Database == nil || v.Database.Signature == nil {
			t.Errorf("%s: %+v, %v", path, v, err)
		}
		if k, err := eseview.ReadCatalog(t.Context(), files, path, true); err != nil || len(k.Tables) < 3 || *k.Tables[0].Rows == 0 {
			t.Errorf("%s: %+v, %v", path, k, err)
		}
		r, err := eseview.Checks(files, group(t, files, path))[0].Check(t.Context(), files, eseview.CheckOptions{Depth: "rows"})
		if err != nil || r.Pages.Bad != 0 || r.Pages.Good == 0 {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
		for _, x := range must(eseview.Checks(files, group(t, files, path))[0].Anonymize(t.Context(), files, eseview.CheckOptions{Depth: "rows"}))(t).Database.Tables {
			if !x.System && x.Name[:6] != "table-" {
				t.Errorf("%s: the report names table %s", path, x.Name)
			}
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

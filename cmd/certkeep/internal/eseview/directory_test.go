package eseview_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/eseview"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

// TestDirectoryOfOthers: in a directory, databases of other programs are found by what is
// in them, and the engine's temporary one is not taken for one.
func TestDirectoryOfOthers(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, fileType ese.FileType) string {
		path := filepath.Join(dir, name)
		o := esetest.Options{Header: func(b []byte) { b[667] = byte(fileType) }}
		var m esetest.Memory
		ca, err := esetest.CreateCA(&m, o)
		if err == nil {
			_, err = ca.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, m.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	qmgr, other := write("qmgr.db", ese.FileDatabase), write("SRUDB.dat", ese.FileDatabase)
	temporary := write("work.edb", ese.FileTemporary)
	if err := os.WriteFile(filepath.Join(dir, "notes.db"), []byte("SQLite format 3"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := eseview.NewFiles(t.Context())
	defer files.Close()
	g := group(t, files, dir)
	slices.Sort(g.Databases)
	if !slices.Equal(g.Databases, []string{other, qmgr}) || !slices.Equal(g.Temporary, []string{temporary}) || len(g.Unknown) != 0 {
		t.Errorf("%+v", g)
	}
}

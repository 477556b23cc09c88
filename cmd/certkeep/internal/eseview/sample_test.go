package eseview_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/eseview"
	"github.com/certkeep/certkeep/ese/esetest"
)

// requests is how many the samples have: enough for one of each disposition.
const requests = 120

func fill(t testing.TB) func(*esetest.CA) error {
	t.Helper()
	g, err := esetest.NewGenerator(11, time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return func(ca *esetest.CA) error { return g.Fill(t.Context(), ca, requests) }
}

func options(t testing.TB) esetest.FolderOptions {
	return esetest.FolderOptions{Name: "Secret CA", Server: "hiddenhost", Options: esetest.Options{TempDir: t.TempDir()}}
}

// backupFolder writes what certutil leaves.
func backupFolder(t testing.TB, change func(*esetest.FolderOptions)) *esetest.Folder {
	t.Helper()
	o := options(t)
	if change != nil {
		change(&o)
	}
	f, err := esetest.WriteBackup(t.TempDir(), o, fill(t))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// live writes the directory of an authority.
func live(t testing.TB, clean bool) *esetest.Folder {
	t.Helper()
	f, err := esetest.WriteLive(filepath.Join(t.TempDir(), "CertLog"), options(t), clean, fill(t))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newFiles(t testing.TB) *eseview.Files {
	t.Helper()
	files := eseview.NewFiles(t.Context())
	t.Cleanup(files.Close)
	return files
}

// group is the only group that the arguments make.
func group(t testing.TB, files *eseview.Files, args ...string) *eseview.Group {
	t.Helper()
	groups, err := eseview.Find(files, args)
	if err != nil || len(groups) != 1 {
		t.Fatalf("%d groups, %v", len(groups), err)
	}
	return groups[0]
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

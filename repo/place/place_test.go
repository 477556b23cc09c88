package place_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/place"
)

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a repository")
	ctx := t.Context()
	if _, err := place.Open(ctx, dir, place.Options{}); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("nothing there: %v", err)
	}
	s, err := place.Open(ctx, dir, place.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "x", []byte("y"), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{dir, "file://" + filepath.ToSlash(dir), "file:///" + filepath.ToSlash(dir)[1:]} {
		if runtime.GOOS == "windows" && address != dir {
			continue
		}
		s, err := place.Open(ctx, address, place.Options{})
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if _, err := s.Stat(ctx, "x"); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, bad := range []string{"", "sftp://host/x", "file://elsewhere/x", "s3://", "s3://key:secret@bucket/x"} {
		if _, err := place.Open(ctx, bad, place.Options{}); err == nil {
			t.Errorf("opened %q", bad)
		}
	}
}

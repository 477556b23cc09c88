package esecheck_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/ese/internal/findings"
)

// fixtures holds databases that Windows wrote; they are not part of the project.
const fixtures = "../../../shared/fixtures/ese"

// TestFixtures checks each down to every value. One has damaged pages, a few are
// dirty, and there are no logs to any.
func TestFixtures(t *testing.T) {
	if _, err := os.Stat(fixtures); err != nil {
		t.Skipf("no databases to test with: %v", err)
	}
	n := 0
	err := filepath.WalkDir(fixtures, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && d.Name() == "expected" {
				return filepath.SkipDir
			}
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
				b, err = io.ReadAll(z)
			}
		}
		if err != nil || len(b) < 100000 {
			return err
		}
		n++
		t.Run(strings.TrimPrefix(path, fixtures), func(t *testing.T) { fixture(t, filepath.Base(path), b) })
		return nil
	})
	if err != nil || n != 21 {
		t.Errorf("%d databases, %v", n, err)
	}
}

func fixture(t *testing.T, name string, b []byte) {
	in := esecheck.Input{Database: &esecheck.File{Name: name, R: bytes.NewReader(b), Size: int64(len(b))}, Depth: esecheck.Rows, LogsElsewhere: true}
	r, err := esecheck.Check(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if name == "SRUDB.dat.gz" {
		var pages []uint32
		for _, f := range r.Findings {
			if f.Severity != esecheck.Damage || f.Code != esecheck.BadPage || f.Error != -1018 || f.Offset != int64(f.Page+1)*4096 {
				t.Errorf("%+v", f)
			}
			pages = append(pages, f.Page)
		}
		if r.String() != "damaged: 16 findings" || len(pages) != 16 || pages[0] != 143 || pages[15] != 158 {
			t.Errorf("%v: %v", r, pages)
		}
		return
	}
	if r.Verdict != esecheck.Sound || findings.Serious(r) != "" || (r.Low == 0) != (len(r.Findings) == 0) {
		t.Errorf("%v\n%s", r, findings.All(r))
	}
	if r.Low == 0 {
		return
	}
	in.LogsElsewhere = false
	if r, err = esecheck.Check(t.Context(), in); err != nil || r.Verdict != esecheck.Damaged || findings.Serious(r) != "damage missing-log -543" {
		t.Errorf("%v, %v\n%s", r, err, findings.All(r))
	}
}

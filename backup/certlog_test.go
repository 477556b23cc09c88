package backup_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese/esetest"
)

func TestCertLog(t *testing.T) {
	g := newESECA(t)
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprint("clean ", clean), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "CertLog")
			if _, err := esetest.WriteLive(dir, esetest.FolderOptions{Stream: small}, clean, g.fill(eseRequests, nil)); err != nil {
				t.Fatal(err)
			}
			c, err := backup.FindCertLog(dir, "")
			if err != nil || c.Name() != "Example CA" || len(c.Logs) != 3 || filepath.Base(c.Logs[2]) != "edb.log" || filepath.Base(c.Checkpoint) != "edb.chk" {
				t.Fatalf("%+v, %v", c, err)
			}
			rep, err := c.Verify(t.Context(), backup.VerifyOptions{})
			if err != nil || !rep.OK || rep.Database == nil || rep.Database.Requests != eseRequests || rep.Database.Unreplayed == clean || rep.Sets[0].Last != 5 {
				t.Errorf("%v, %+v", err, rep)
			}
			if says(rep.Proven, "clean", "") != clean || says(rep.NotProven, "recovery", "") == clean {
				t.Errorf("%+v, %+v", rep.Proven, rep.NotProven)
			}
			if rep, err = c.Verify(t.Context(), backup.VerifyOptions{Level: backup.LevelContent}); err != nil || !rep.OK || rep.Database != nil || rep.Verdict == "" {
				t.Errorf("%v, %+v", err, rep)
			}
			edit("Example CA.edb", flipBits(8*7*4096+8000, 8*7*4096+8001))(t, dir)
			if rep, err = c.Verify(t.Context(), backup.VerifyOptions{}); err != nil || rep.OK || says(rep.Proven, "files", "") || !says(rep.NotProven, "recovery", "damage") || !says(rep.Proven, "rows", "") {
				t.Errorf("damaged: %v, %+v", err, rep)
			}
		})
	}
	// A log that recovery needs is missing.
	dir := filepath.Join(t.TempDir(), "CertLog")
	f, err := esetest.WriteLive(dir, esetest.FolderOptions{Stream: small}, false, g.fill(3, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(f.Logs[1]); err != nil {
		t.Fatal(err)
	}
	c, err := backup.FindCertLog(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if rep, err := c.Verify(t.Context(), backup.VerifyOptions{}); err != nil || rep.OK || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Code == cadb.CodeMissing }) {
		t.Errorf("%v, %+v", err, rep)
	}
	if _, err := backup.FindCertLog(t.TempDir(), ""); !errors.Is(err, backupset.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.edb"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.FindCertLog(dir, ""); !errors.Is(err, backupset.ErrAmbiguous) {
		t.Errorf("%v", err)
	}
}

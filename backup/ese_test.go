package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese/esetest"
)

// eseCA makes the requests of an authority of AD CS.
type eseCA struct {
	*esetest.Generator
	tb testing.TB
}

func newESECA(tb testing.TB) eseCA {
	tb.Helper()
	g, err := esetest.NewGenerator(3, time.Date(2026, 3, 14, 9, 15, 0, 0, time.UTC))
	if err != nil {
		tb.Fatal(err)
	}
	return eseCA{g, tb}
}

// fill writes n requests and a CRL, each request as change makes it.
func (g eseCA) fill(n int, change func(*esetest.Request)) func(*esetest.CA) error {
	return func(ca *esetest.CA) error {
		for i := range n {
			r, err := g.Request(uint32(i + 1))
			if err != nil {
				return err
			}
			if change != nil {
				change(&r)
			}
			if err := ca.AddRequest(r); err != nil {
				return err
			}
		}
		l, err := g.CRL(1)
		if err != nil {
			return err
		}
		return ca.AddCRL(l)
	}
}

const eseRequests = 60

// small keeps logs small: eight segments each.
func small(s *esetest.LogStream) {
	s.Sectors = 10
	s.Segments = map[uint32]int{5: 3}
}

// certutilSet is what "certutil -backupDB" leaves: logs 3 to 5, and no manifest.
func certutilSet(tb testing.TB, change func(*esetest.Request)) (dir string, f *esetest.Folder, g eseCA) {
	tb.Helper()
	g, dir = newESECA(tb), tb.TempDir()
	f, err := esetest.WriteBackup(filepath.Join(dir, "mon"), esetest.FolderOptions{Stream: small}, g.fill(eseRequests, change))
	if err != nil {
		tb.Fatal(err)
	}
	return dir, f, g
}

// increment is a folder of the logs from low to high of the same stream.
func increment(tb testing.TB, dir, name string, f *esetest.Folder, low, high uint32) {
	tb.Helper()
	data := filepath.Join(dir, name, dataBase)
	if err := os.MkdirAll(data, 0o700); err != nil {
		tb.Fatal(err)
	}
	for g := low; g <= high; g++ {
		if err := os.WriteFile(filepath.Join(data, esetest.LogName(g)), f.Stream.Log(g), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

func says(list []backup.Statement, code, text string) bool {
	return slices.ContainsFunc(list, func(s backup.Statement) bool { return s.Code == code && strings.Contains(s.Text, text) })
}

func TestVerifyESE(t *testing.T) {
	dir, f, g := certutilSet(t, nil)
	increment(t, dir, "tue", f, 6, 7)
	for _, level := range backup.Levels {
		rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "tue"), Level: level, Scratch: t.TempDir(), CACertificate: g.Authority()})
		if err != nil || !rep.OK || len(rep.Sets) != 2 {
			t.Fatalf("%s: %v, %+v", level, err, rep)
		}
		if level == backup.LevelContent && (!strings.Contains(rep.Verdict, "not replayed") || !says(rep.Proven, "content", "Every page") || !says(rep.NotProven, "recovery", "")) {
			t.Errorf("%+v", rep)
		}
		if level != backup.LevelDatabase {
			continue
		}
		d := rep.Database
		if d == nil || !d.Unreplayed || d.Requests != eseRequests || d.Generation != 7 || d.EarliestTarget != 5 || d.Signatures != int64(d.Dispositions[schema.Issued]+d.Dispositions[schema.Revoked]) ||
			d.NewestCRL != 1 || d.CAFrom != "the certificate given" || d.State == "" || d.Size == 0 {
			t.Errorf("%+v", d)
		}
		if !says(rep.Proven, "files", "page") || !says(rep.Proven, "chain", "recovery needs") || !says(rep.Proven, "signatures", "Example Issuing CA") || !says(rep.Proven, "verdict", "no fault found (logs not replayed)") ||
			!says(rep.NotProven, "recovery", "AD CS alone") || says(rep.Proven, "recovery", "") || says(rep.NotProven, "ca-certificate", "") {
			t.Errorf("proven %+v\nnot proven %+v", rep.Proven, rep.NotProven)
		}
		for _, f := range rep.Findings {
			if f.Severity != cadb.Note {
				t.Errorf("%v", f)
			}
		}
	}
}

func TestDrillESE(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	increment(t, dir, "tue", f, 6, 7)
	scratch := t.TempDir()
	rep, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "tue"), Scratch: scratch})
	if err != nil || !rep.OK || rep.Database.Requests != eseRequests || !says(rep.NotProven, "recovery", "AD CS alone") || !says(rep.NotProven, "ca-certificate", "") {
		t.Errorf("%v, %+v", err, rep)
	}
	if es, err := os.ReadDir(scratch); err != nil || len(es) > 0 {
		t.Errorf("left behind: %v, %v", es, err)
	}
	// Whole generations, and never less than the trailer says.
	for until, want := range map[uint32]uint32{4: 0, 5: 5, 6: 6, 7: 7, 8: 0} {
		rep, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "tue"), Scratch: scratch, Until: backup.Until{Generation: until}})
		var te *backup.TargetError
		if want == 0 {
			if !errors.As(err, &te) || te.Earliest != 5 || te.Latest != 7 {
				t.Errorf("until %d: %v", until, err)
			}
			continue
		}
		if err != nil || !rep.OK || rep.Database.Generation != want || says(rep.NotProven, "until", "") != (want < 7) {
			t.Errorf("until %d: %v, %+v", until, err, rep)
		}
	}
}

// Closed logs from the dead machine go on where the sets end; the open one is left to
// AD CS.
func TestDrillESEMoreLogs(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	more := t.TempDir()
	increment(t, more, "x", f, 6, 8)
	log := func(g uint32) string { return filepath.Join(more, "x", dataBase, esetest.LogName(g)) }
	o := backup.DrillOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), MoreLogs: []string{log(6), log(7)}}
	if rep, err := backup.Drill(t.Context(), o); err != nil || !rep.OK || rep.Database.Generation != 7 {
		t.Errorf("%v, %+v", err, rep)
	}
	o.MoreLogs = []string{log(7)}
	if rep, err := backup.Drill(t.Context(), o); err != nil || rep.OK {
		t.Errorf("a gap: %v, %+v", err, rep)
	}
	o.MoreLogs, o.OpenLog = []string{log(6)}, log(7)
	if _, err := backup.Drill(t.Context(), o); !errors.Is(err, cadb.ErrUnsupported) {
		t.Errorf("the open log: %v", err)
	}
}

// What the copy needs is what its trailer says, and not all that came along with it.
func TestUntilESETrailer(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	increment(t, dir, "mon", f, 6, 7)
	increment(t, dir, "mon", f, 2, 2) // certutil copies logs that are not needed
	for until, want := range map[uint32]uint32{4: 0, 5: 5, 6: 6} {
		rep, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), Until: backup.Until{Generation: until}})
		var te *backup.TargetError
		if want == 0 {
			if !errors.As(err, &te) || te.Earliest != 5 {
				t.Errorf("until %d: %v", until, err)
			}
			continue
		}
		if err != nil || !rep.OK || rep.Database.Generation != want || !says(rep.Proven, "files", fmt.Sprintf("%d logs", want-1)) {
			t.Errorf("until %d: %v, %+v", until, err, rep)
		}
	}
}

// What is kept of a drill can be read, and is what the set has.
func TestRecoverESE(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	r, err := backup.Recover(t.Context(), backup.RecoverOptions{Source: source(dir, ""), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if !r.Unreplayed || r.Checked == nil || r.Checked.Low != 3 || r.Checked.High != 5 || r.Recovered.Size != f.Info.Size {
		t.Errorf("%+v", r)
	}
	n := 0
	for q, err := range r.DB.Requests(t.Context(), cadb.Filter{Dispositions: []schema.Disposition{schema.Issued}}) {
		if err != nil || len(q.RawCertificate) == 0 {
			t.Fatal(q, err)
		}
		n++
	}
	if n < eseRequests/2 {
		t.Errorf("%d issued", n)
	}
	if info := r.DB.Info(); !info.Unrecovered || !strings.Contains(strings.Join(info.Notes, "\n"), "not replayed") {
		t.Errorf("%+v", info)
	}
}

// In a copy whose logs are not replayed, rows that do not go together are notes; what
// is wrong in itself is damage.
func TestVerifyESERows(t *testing.T) {
	var serial string
	for _, tt := range []struct {
		name   string
		change func(*esetest.Request)
		damage bool
		code   string
	}{
		{"certificate row is old", func(r *esetest.Request) {
			if r.ID == 5 {
				r.Certificate = nil
			}
		}, false, cadb.CodeMissing},
		{"request row is old", func(r *esetest.Request) {
			if r.ID == 5 {
				r.Disposition = schema.Pending
			}
		}, false, cadb.CodeUnexpected},
		{"extension is old", func(r *esetest.Request) {
			if r.ID == 5 {
				r.Certificate.Extensions[0].Value = []byte{1}
			}
		}, false, cadb.CodeMismatch},
		{"revocation is old", func(r *esetest.Request) {
			if r.ID == 9 {
				r.Disposition, r.Revoked, r.RevokedFrom = schema.Issued, time.Time{}, time.Time{}
			}
		}, false, cadb.CodeRevocation},
		{"serial number", func(r *esetest.Request) {
			if r.ID == 5 {
				r.Certificate.Serial = "01"
			}
		}, true, cadb.CodeMismatch},
		{"certificate does not parse", func(r *esetest.Request) {
			if r.ID == 5 {
				r.Certificate.Raw = []byte("0\x03abc")
			}
		}, true, cadb.CodeFormat},
		{"signature", func(r *esetest.Request) {
			if r.ID == 5 {
				r.Certificate.Raw = bytes.Clone(r.Certificate.Raw)
				r.Certificate.Raw[len(r.Certificate.Raw)-1] ^= 1
			}
		}, true, cadb.CodeSignature},
		{"serial number twice", func(r *esetest.Request) {
			if r.ID == 5 {
				serial = r.Certificate.Serial
			}
			if r.ID == 6 {
				r.Certificate.Serial = serial
			}
		}, true, cadb.CodeDuplicate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, _, g := certutilSet(t, tt.change)
			rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), CACertificate: g.Authority()})
			if err != nil {
				t.Fatal(err)
			}
			want := cadb.Note
			if tt.damage {
				want = cadb.Damage
			}
			if !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Code == tt.code && f.Severity == want }) || rep.OK == tt.damage {
				t.Errorf("ok %v, %v", rep.OK, rep.Findings)
			}
		})
	}
}

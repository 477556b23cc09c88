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
	"github.com/certkeep/certkeep/backupset"
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

func flipBits(bits ...int64) func([]byte) []byte {
	return func(b []byte) []byte {
		for _, bit := range bits {
			esetest.FlipBit(b, bit)
		}
		return b
	}
}

// Each damage gives its own finding, without a manifest, and neither recovery nor
// drill goes on with it.
func TestVerifyESEDamage(t *testing.T) {
	const db, log3, log4, log5 = "mon/DataBase/Example CA.edb", "mon/DataBase/edb00003.log", "mon/DataBase/edb00004.log", "mon/DataBase/edb00005.log"
	const page = 4096
	whole, f, g := certutilSet(t, nil)
	pages := f.Info.Size / page
	other, of := t.TempDir(), (*esetest.Folder)(nil)
	of, err := esetest.WriteBackup(other, esetest.FolderOptions{Stream: small, Options: esetest.Options{Seed: 99}}, g.fill(3, nil))
	if err != nil {
		t.Fatal(err)
	}
	foreign := func(g uint32) func([]byte) []byte {
		return func([]byte) []byte { return of.Stream.Log(g) }
	}
	swap := func(t *testing.T, dir string) {
		a, b := filepath.Join(dir, log3), filepath.Join(dir, log4)
		for _, x := range [][2]string{{a, a + ".x"}, {b, a}, {a + ".x", b}} {
			if err := os.Rename(x[0], x[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name     string
		damage   func(*testing.T, string)
		severity cadb.Severity
		code     string
		says     string
	}{
		{"two bits of a page", edit(db, flipBits(8*7*page+8000, 8*7*page+8001)), cadb.Damage, cadb.CodeHash, "page 6, offset 28672"},
		{"a bit of a page", edit(db, flipBits(8*7*page+8000)), cadb.Warning, cadb.CodeHash, "page 6, offset 28672"},
		{"header", edit(db, flipBits(8*300)), cadb.Warning, cadb.CodeHash, "its shadow is good"},
		{"header and shadow", edit(db, flipBits(8*300, 8*(page+300))), cadb.Damage, cadb.CodeFormat, "header"},
		{"trailer", edit(db, flipBits(8*((pages-1)*page+50))), cadb.Damage, cadb.CodeFormat, "JET_errBadPatchPage"},
		{"trailer lost", edit(db, func(b []byte) []byte { return b[:len(b)-page] }), cadb.Damage, cadb.CodeFormat, "JET_errBadPatchPage"},
		{"half a page lost", edit(db, func(b []byte) []byte { return b[:len(b)-page/2] }), cadb.Damage, cadb.CodeSize, ""},
		{"pages swapped", edit(db, func(b []byte) []byte { esetest.SwapPages(b, page, 5, 6); return b }), cadb.Damage, cadb.CodeHash, "page 5"},
		{"log header", edit(log4, flipBits(8*100)), cadb.Damage, cadb.CodeFormat, "edb00004.log"},
		{"log segment", edit(log4, flipBits(8*(2*page+100), 8*(2*page+200))), cadb.Damage, cadb.CodeHash, "segment 2"},
		{"a bit of a log segment", edit(log4, flipBits(8*(2*page+100))), cadb.Warning, cadb.CodeHash, "segment 2"},
		{"log cut short", edit(log4, func(b []byte) []byte { return b[:len(b)-page] }), cadb.Damage, cadb.CodeSize, "edb00004.log"},
		{"torn log", edit(log5, func(b []byte) []byte { _ = esetest.TearLog(b); return b }), cadb.Damage, cadb.CodeHash, "JET_errLogTornWriteDuringHardRestore"},
		{"log of another authority", edit(log4, foreign(4)), cadb.Damage, cadb.CodeForeign, "JET_errBadLogSignature"},
		{"log of another generation", edit(log4, func([]byte) []byte { return f.Stream.Log(6) }), cadb.Damage, cadb.CodeChain, "generation"},
		{"logs swapped", swap, cadb.Damage, cadb.CodeChain, "JET_errLogGenerationMismatch"},
		{"first log missing", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, log3)) }, cadb.Damage, cadb.CodeMissing, "logs 3 are missing"},
		{"log missing", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, log4)) }, cadb.Damage, cadb.CodeMissing, "logs 4 are missing"},
		{"last log missing", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, log5)) }, cadb.Damage, cadb.CodeMissing, "logs 5 are missing"},
		{"all logs missing", func(t *testing.T, dir string) {
			for _, l := range []string{log3, log4, log5} {
				os.Remove(filepath.Join(dir, l))
			}
		}, cadb.Damage, cadb.CodeMissing, "logs 3 to 5 are missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			copyTree(t, whole, dir)
			tt.damage(t, dir)
			rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Level: backup.LevelContent})
			if err != nil {
				t.Fatal(err)
			}
			found := slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool {
				return f.Severity == tt.severity && f.Code == tt.code && strings.Contains(f.String(), tt.says)
			})
			if !found || rep.OK != (tt.severity != cadb.Damage) {
				t.Errorf("ok %v, verdict %q, findings %v", rep.OK, rep.Verdict, rep.Findings)
			}
			drill, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), CACertificate: g.Authority()})
			if err != nil || drill.OK != rep.OK {
				t.Errorf("drill: %v, %v", err, drill.Findings)
			}
		})
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

// Every bit of header, trailer, log and of a page of each kind is guarded. The heavy run
// goes through more of them.
func TestFlipESE(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	step := int64(9973)
	if os.Getenv("CERTKEEP_TEST_HEAVY") != "" {
		step = 997
	}
	for _, path := range []string{f.Database, f.Logs[0], f.Logs[2]} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var bits []int64
		for bit := int64(0); bit < int64(len(whole))*8; bit += step * max(1, int64(len(whole))/50000) {
			bits = append(bits, bit)
		}
		for bit := int64(0); bit < 8*800; bit += 501 { // header
			bits = append(bits, bit, int64(len(whole)-4096)*8+bit)
		}
		for _, bit := range bits {
			b := bytes.Clone(whole)
			esetest.FlipBit(b, bit)
			if unusedPage(whole, bit) || unusedSegment(path, whole, bit) {
				continue // a page that was never used has no checksum
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Level: backup.LevelContent})
			if err != nil || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Severity != cadb.Note }) {
				t.Errorf("%s: bit %d was not noticed: %v", filepath.Base(path), bit, err)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func unusedPage(b []byte, bit int64) bool {
	at := bit / 8 / 4096 * 4096
	return len(bytes.Trim(b[at:at+4096], "\x00")) == 0
}

// unusedSegment says that a flip there would not be of anything that was written.
func unusedSegment(path string, b []byte, bit int64) bool {
	return strings.HasSuffix(path, ".log") && unusedPage(b, bit)
}

func TestDiffESE(t *testing.T) {
	dir, _, _ := certutilSet(t, func(r *esetest.Request) {
		if r.ID == 9 { // not yet
			r.Disposition, r.Revoked, r.RevokedFrom = schema.Issued, time.Time{}, time.Time{}
		}
	})
	g := newESECA(t)
	if _, err := esetest.WriteBackup(filepath.Join(dir, "tue"), esetest.FolderOptions{Stream: small, Low: 6, High: 7}, func(ca *esetest.CA) error {
		if err := g.fill(eseRequests+10, func(r *esetest.Request) {
			switch r.ID {
			case 17: // was pending
				issued, err := g.Request(1017)
				if err != nil {
					t.Fatal(err)
				}
				r.Disposition, r.Certificate = schema.Issued, issued.Certificate
			}
		})(ca); err != nil {
			return err
		}
		l, err := g.CRL(2)
		if err != nil {
			return err
		}
		return ca.AddCRL(l)
	}); err != nil {
		t.Fatal(err)
	}
	side := func(id string) backup.DiffSide { return backup.DiffSide{Source: source(dir, id)} }
	rep, err := backup.Diff(t.Context(), backup.DiffOptions{Old: side("mon"), New: side("tue"), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	list := func(l backup.DiffList) (ids []int64) {
		if l.Count != len(l.List) {
			t.Errorf("%d of %d listed", len(l.List), l.Count)
		}
		for _, c := range l.List {
			ids = append(ids, c.RequestID)
		}
		return ids
	}
	for _, x := range []struct {
		name string
		l    backup.DiffList
		want []int64
	}{
		{"issued", rep.Issued, []int64{17, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70}},
		{"revoked", rep.Revoked, []int64{9, 69}}, {"resolved", rep.Resolved, []int64{17}}, {"pending", rep.Pending, nil},
		{"released", rep.Released, nil}, {"gone", rep.Gone, nil}, {"other", rep.Other, nil},
	} {
		if got := list(x.l); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", x.name, got, x.want)
		}
	}
	if len(rep.CRLs) != 1 || rep.CRLs[0].Number != 2 || len(rep.CRLsGone) > 0 || rep.Same() || len(rep.Notes) != 2 || !rep.Old.Unreplayed || rep.New.Requests != eseRequests+10 || rep.New.NewestCRL != 2 {
		t.Errorf("%+v", rep)
	}
	c := rep.Revoked.List[0]
	if c.Was != schema.Issued || c.Is != schema.Revoked || *c.Reason != schema.KeyCompromise || c.RevokedWhen == nil || c.Serial == "" || c.CommonName == "" || c.NotAfter == nil {
		t.Errorf("%+v", c)
	}
	// The other way round, and with itself; a limit does not change the counts.
	if rep, err = backup.Diff(t.Context(), backup.DiffOptions{Old: side("tue"), New: side("mon"), Limit: 3, Scratch: t.TempDir()}); err != nil || rep.Gone.Count != 10 || len(rep.Gone.List) != 3 ||
		!slices.Equal(list(rep.Released), []int64{9}) || len(rep.CRLsGone) != 1 || rep.Pending.Count+rep.Other.Count != 1 {
		t.Errorf("%v, %+v", err, rep)
	}
	if rep, err = backup.Diff(t.Context(), backup.DiffOptions{Old: side("mon"), New: backup.DiffSide{Database: filepath.Join(dir, "mon", dataBase, "Example CA.edb")}, Scratch: t.TempDir()}); err != nil || !rep.Same() {
		t.Errorf("%v, %+v", err, rep)
	}
}

func TestDiffSQLite(t *testing.T) {
	s, dir := standardChain(t)
	side := func(id string) backup.DiffSide { return backup.DiffSide{Source: source(dir, id)} }
	rep, err := backup.Diff(t.Context(), backup.DiffOptions{Old: side("full"), New: side("inc2"), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Issued.Count != s.counts[2]-s.counts[0] || rep.Revoked.Count != 1 || len(rep.CRLs) != 1 || rep.Gone.Count+rep.Other.Count > 0 || len(rep.Notes) > 0 || rep.New.Generation != s.gens[2][1] {
		t.Errorf("%+v", rep)
	}
}

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

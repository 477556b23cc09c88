package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
)

func drill(t *testing.T, o backup.DrillOptions) *backup.DrillReport {
	t.Helper()
	if o.Scratch == "" {
		o.Scratch = t.TempDir()
	}
	rep, err := backup.Drill(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(o.Scratch); len(left) > 0 != o.Keep {
		t.Errorf("in scratch: %v", left)
	}
	return rep
}

func statement(list []backup.Statement, code string) string {
	for _, s := range list {
		if s.Code == code {
			return s.Text
		}
	}
	return ""
}

func TestDrill(t *testing.T) {
	s, dir := standardChain(t)
	before := treeState(t, dir)
	rep := drill(t, backup.DrillOptions{Source: source(dir, "")})
	if !rep.OK || rep.Database == nil {
		t.Fatalf("%+v", rep)
	}
	d := rep.Database
	if d.Dispositions[schema.Revoked] != 2 || d.Dispositions[schema.Issued] != s.counts[2]-2 || d.Dispositions[schema.Pending] != 1 ||
		int(d.Signatures) != s.counts[2] || d.NewestCRL != 3 || d.Generation != s.gens[2][1] || d.EarliestTarget != s.least {
		t.Errorf("%+v", d)
	}
	for _, code := range []string{"files", "chain", "recovery", "rows", "certificates", "signatures", "crl"} {
		if statement(rep.Proven, code) == "" {
			t.Errorf("%s is not among what was proven: %v", code, rep.Proven)
		}
	}
	if s := statement(rep.NotProven, "completeness"); !strings.Contains(s, "private key (absent)") || !strings.Contains(s, "CAPolicy (not attempted)") || strings.Contains(s, "database") {
		t.Errorf("completeness: %q", s)
	}
	if statement(rep.NotProven, "later") == "" || statement(rep.NotProven, "no-manifest") != "" {
		t.Errorf("not proven: %v", rep.NotProven)
	}
	var back map[string]any
	raw, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &back); err != nil || back["schema"] != 1.0 || back["ok"] != true {
		t.Errorf("%s, %v", raw, err)
	}
	sameTree(t, "a drill", before, treeState(t, dir))
}

func TestDrillDamage(t *testing.T) {
	s, dir := standardChain(t)
	flip(logOf("inc1", s.gens[1][0]), 9000)(t, dir)
	rep := drill(t, backup.DrillOptions{Source: source(dir, "inc2")})
	if rep.OK || len(damageIn(rep.Findings, logName(s.gens[1][0]))) == 0 || statement(rep.NotProven, "recovery") == "" || len(rep.Proven) > 0 {
		t.Errorf("%+v", rep)
	}
	// What lies before the damage can still be had.
	rep = drill(t, backup.DrillOptions{Source: source(dir, "inc2"), Until: backup.Until{Generation: s.gens[0][1]}})
	if !rep.OK || rep.Database.Generation != s.gens[0][1] {
		t.Errorf("%+v", rep)
	}
}

func TestDrillUnconfirmedAndWithoutManifest(t *testing.T) {
	_, dir := standardChain(t)
	remove("inc1/"+receipt)(t, dir)
	rep := drill(t, backup.DrillOptions{Source: source(dir, "inc2")})
	if !rep.OK || !strings.Contains(statement(rep.NotProven, "unconfirmed"), "inc1") {
		t.Errorf("%v", rep.NotProven)
	}
	forgetManifests(t, dir)
	rep = drill(t, backup.DrillOptions{Source: source(dir, "inc2")})
	if !rep.OK || statement(rep.NotProven, "no-manifest") == "" || statement(rep.NotProven, "ca-certificate") == "" {
		t.Errorf("%v", rep.NotProven)
	}
	// With the certificate at hand that doubt is gone; with another one nothing is right.
	rep = drill(t, backup.DrillOptions{Source: source(dir, "inc2"), CACertificate: standardSet.ca.Cert})
	if !rep.OK || statement(rep.NotProven, "ca-certificate") != "" {
		t.Errorf("%v", rep.NotProven)
	}
	rep = drill(t, backup.DrillOptions{Source: source(dir, "inc2"), CACertificate: cadbtest.New(t, caName).Cert})
	if rep.OK || statement(rep.Proven, "signatures") != "" {
		t.Errorf("another authority's certificate: %+v", rep)
	}
}

func TestDrillKeep(t *testing.T) {
	s, dir := standardChain(t)
	rep := drill(t, backup.DrillOptions{Source: source(dir, "full"), Keep: true})
	db, err := cadb.Open(t.Context(), rep.Kept)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n := len(serials(t, db)); n != s.counts[0] {
		t.Errorf("%d certificates, want %d", n, s.counts[0])
	}
}

// Canceled at any of several moments, nothing is left behind.
func TestDrillCanceled(t *testing.T) {
	_, dir := standardChain(t)
	for at := 1; ; at++ {
		tmp := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err := backup.Drill(ctx, backup.DrillOptions{Source: source(dir, "inc2"), Scratch: tmp, Progress: func(backup.Progress) {
			if n++; n == at {
				cancel()
			}
		}})
		canceled := ctx.Err() != nil
		cancel()
		if left, _ := os.ReadDir(tmp); len(left) > 0 {
			t.Fatalf("canceled at %d: left behind %v", at, left)
		}
		if !canceled {
			if err != nil || at < 5 {
				t.Errorf("after %d steps: %v", at, err)
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled at %d: %v", at, err)
		}
	}
}

// A set whose rows are wrong is what hashes cannot tell: it was backed up so.
func TestDrillWrongRows(t *testing.T) {
	w := newWorld(t, 2)
	w.write(func(tx *sqlTx) error {
		_, err := tx.Exec("UPDATE Certificates SET NotAfter = NotAfter + 10000000 WHERE RequestID = 3")
		return err
	})
	w.full("full", nil)
	rep := drill(t, backup.DrillOptions{Source: source(w.sets(), "full")})
	if rep.OK || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool {
		return f.Severity == cadb.Damage && strings.Contains(f.File, dbName) && strings.Contains(f.Where, "request 3, Certificates.NotAfter")
	}) {
		t.Errorf("%v", rep.Findings)
	}
	if statement(rep.Proven, "rows") == "" || statement(rep.Proven, "certificates") != "" {
		t.Errorf("proven: %v", rep.Proven)
	}
}

func TestUntilTime(t *testing.T) {
	s, dir := standardChain(t)
	all, err := backup.Recover(t.Context(), backup.RecoverOptions{Source: source(dir, "inc2"), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	for _, l := range all.Logs {
		for _, c := range []struct {
			at   time.Time
			want uint32
		}{{l.Closed, l.Generation}, {l.Closed.Add(-time.Nanosecond), l.Generation - 1}} {
			r, err := backup.Recover(t.Context(), backup.RecoverOptions{Source: source(dir, "inc2"), Scratch: t.TempDir(), Until: backup.Until{Time: c.at}})
			if c.want < s.least {
				var te *backup.TargetError
				if !errors.As(err, &te) || te.Earliest != s.least || !strings.Contains(te.Hint(), te.EarliestClosed.Format(time.RFC3339Nano)) {
					t.Errorf("until %v: %v", c.at, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("until %v: %v", c.at, err)
			}
			if r.Target.Generation != c.want {
				t.Errorf("until %v: generation %d, want %d", c.at, r.Target.Generation, c.want)
			}
			r.Close()
		}
	}
}

func TestParseUntil(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 15, 0, 0, time.UTC)
	for in, want := range map[string]backup.Until{
		"": {}, "26": {Generation: 26}, "0001a": {Generation: 26}, "0x1A": {Generation: 26}, "log0001a.log": {Generation: 26},
		"00012": {Generation: 18}, "1048576": {Generation: 0x100000}, "00100000": {Generation: 0x100000}, "edb00100000.log": {Generation: 0x100000},
		"100000": {Generation: 100000}, "12345678": {Generation: 12345678}, "2026-03-14T09:15:00Z": {Time: at}, "2026-03-14T10:15:00+01:00": {Time: at}, "2026-03-14 09:15": {Time: at},
	} {
		if got, err := backup.ParseUntil(in); err != nil || got.Generation != want.Generation || !got.Time.Equal(want.Time) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"0", "-1", "2147483648", "0x80000000", "20260314", "00000000", "2026-03-14", "yesterday", "00000", "log00000.log"} {
		if got, err := backup.ParseUntil(in); err == nil {
			t.Errorf("%q accepted as %v", in, got)
		}
	}
}

func FuzzParseUntil(f *testing.F) {
	for _, s := range []string{"26", "0x1a", "0001a", "2026-03-14T09:15:00Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := backup.ParseUntil(s)
		if err == nil && u.Generation != 0 && (!u.Time.IsZero() || u.Generation > certadm.MaxLogGeneration) {
			t.Fatalf("%q: %+v", s, u)
		}
	})
}

// Logs that were not truncated are in several sets; one whole copy is enough.
func TestLogInTwoSets(t *testing.T) {
	w := newWorld(t, 1)
	full := w.full("full", nil)
	w.issue(1)
	w.roll()
	w.incremental("inc1", 0)
	w.issue(1)
	m := w.incremental("inc2", full.LastGeneration+1) // with the logs of inc1 again
	both := full.LastGeneration + 1
	for _, set := range []string{"inc1", "inc2"} {
		for _, manifests := range []bool{true, false} {
			dir := filepath.Join(t.TempDir(), "sets")
			copyTree(t, w.sets(), dir)
			if !manifests {
				forgetManifests(t, dir)
			}
			flip(logOf(set, both), 9000)(t, dir)
			if v := verify(t, dir, "inc2", backup.LevelDatabase); v.OK && manifests {
				t.Errorf("damage in %s is not found", set)
			}
			target := newTarget(t, w.ca.Cert.Raw)
			o := restoreOptions(t, dir, "inc2", target)
			rep, err := backup.Restore(t.Context(), o)
			if err != nil {
				if !manifests && set == "inc2" { // then inc1 is not part of the chain
					continue
				}
				t.Errorf("%s damaged (manifests %v): %v", set, manifests, err)
				continue
			}
			if rep.Database.Generation != m.LastGeneration || len(serials(t, target.start())) != len(w.ca.Issued) {
				t.Errorf("%+v", rep.Database)
			}
		}
	}
}

// The log that was open when the machine died takes the restore to the last
// acknowledged certificate.
func TestOpenLog(t *testing.T) {
	w := newWorld(t, 1)
	w.full("full", nil)
	w.issue(1)
	m := w.incremental("inc1", 0)
	w.issue(2)
	w.revoke(1)
	database, _ := w.crash(t.TempDir())
	src := source(w.sets(), "inc1")

	rep := drill(t, backup.DrillOptions{Source: src})
	if int(rep.Database.Signatures) != len(w.ca.Issued)-2 {
		t.Fatalf("the test's own set holds what it should not: %+v", rep.Database)
	}
	rep = drill(t, backup.DrillOptions{Source: src, OpenLog: database + "-wal"})
	if !rep.OK || int(rep.Database.Signatures) != len(w.ca.Issued) || rep.Database.Generation != m.LastGeneration+1 {
		t.Errorf("%+v %v", rep.Database, rep.Findings)
	}
	target := newTarget(t, w.ca.Cert.Raw)
	o := restoreOptions(t, w.sets(), "inc1", target)
	o.OpenLog = database + "-wal"
	before := treeState(t, filepath.Dir(database))
	if _, err := backup.Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	sameTree(t, "restoring", before, treeState(t, filepath.Dir(database)))
	got := serials(t, target.start())
	for _, c := range w.ca.Issued {
		if (got[c.Serial] == schema.Revoked) != c.Revoked || got[c.Serial] == 0 {
			t.Errorf("%s is %v", c.Serial, got[c.Serial])
		}
	}
	// Damage in the middle of it costs what came after, and is said.
	damaged := filepath.Join(t.TempDir(), "open-wal")
	copyFile(t, database+"-wal", damaged)
	fi, err := os.Stat(damaged)
	if err != nil {
		t.Fatal(err)
	}
	flip("open-wal", int(fi.Size()/2))(t, filepath.Dir(damaged))
	rep = drill(t, backup.DrillOptions{Source: src, OpenLog: damaged})
	if rep.OK || rep.Database == nil || int(rep.Database.Signatures) > len(w.ca.Issued) || len(damageIn(rep.Findings, "open-wal")) == 0 {
		t.Errorf("%+v %v", rep.Database, rep.Findings)
	}
	flip("open-wal", 100)(t, filepath.Dir(damaged)) // in the first commit: nothing is left of it
	if rep = drill(t, backup.DrillOptions{Source: src, OpenLog: damaged}); rep.OK || len(damageIn(rep.Findings, "open-wal")) == 0 {
		t.Errorf("%v", rep.Findings)
	}
	// An empty one is none at all.
	if err := os.Truncate(damaged, 0); err != nil {
		t.Fatal(err)
	}
	if rep = drill(t, backup.DrillOptions{Source: src, OpenLog: damaged}); !rep.OK || len(rep.Findings) != 1 || rep.Database.Generation != m.LastGeneration {
		t.Errorf("%v", rep.Findings)
	}
	// Until a generation of the sets, it is not used.
	rep = drill(t, backup.DrillOptions{Source: src, OpenLog: database + "-wal", Until: backup.Until{Generation: m.LastGeneration}})
	if rep.Database.Generation != m.LastGeneration {
		t.Errorf("%+v", rep.Database)
	}

	// Generations closed after the last set are needed as well.
	w.roll()
	w.issue(1)
	database, logs := w.crash(t.TempDir())
	if rep := drill(t, backup.DrillOptions{Source: src, OpenLog: database + "-wal"}); rep.OK || len(damageIn(rep.Findings, "-wal")) == 0 {
		t.Errorf("an open log that does not follow: %v", rep.Findings)
	}
	entries, err := os.ReadDir(logs)
	if err != nil {
		t.Fatal(err)
	}
	var more []string
	for _, e := range entries {
		more = append(more, filepath.Join(logs, e.Name()))
	}
	slices.Reverse(more)
	rep = drill(t, backup.DrillOptions{Source: src, OpenLog: database + "-wal", MoreLogs: more})
	if !rep.OK || int(rep.Database.Signatures) != len(w.ca.Issued) {
		t.Errorf("%+v %v", rep.Database, rep.Findings)
	}
	flip("log/"+logName(m.LastGeneration+1), 9000)(t, filepath.Dir(logs))
	if rep := drill(t, backup.DrillOptions{Source: src, MoreLogs: more}); rep.OK || len(damageIn(rep.Findings, logName(m.LastGeneration+1))) == 0 {
		t.Errorf("a damaged log from outside: %v", rep.Findings)
	}

	// Nor is a closed log of another database, though it has the right number.
	stranger := newWorld(t, 1)
	for stranger.roll() < m.LastGeneration+1 {
		stranger.issue(1)
	}
	_, strange := stranger.crash(t.TempDir())
	path := filepath.Join(strange, logName(m.LastGeneration+1))
	if rep := drill(t, backup.DrillOptions{Source: src, MoreLogs: []string{path}}); rep.OK || len(damageIn(rep.Findings, path)) == 0 {
		t.Errorf("a foreign log from outside: %v", rep.Findings)
	}

	// An open log of another authority is not taken.
	other := newWorld(t, 1)
	other.issue(1)
	foreign, _ := other.crash(t.TempDir())
	if rep := drill(t, backup.DrillOptions{Source: src, OpenLog: foreign + "-wal"}); rep.OK || len(damageIn(rep.Findings, foreign)) == 0 {
		t.Errorf("a foreign open log: %v", rep.Findings)
	}
}

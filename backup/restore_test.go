package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
)

func restoreOptions(t *testing.T, dir, id string, target backup.Target) backup.RestoreOptions {
	return backup.RestoreOptions{Source: source(dir, id), Target: target, Scratch: t.TempDir()}
}

// serials is the state of each serial number in a database.
func serials(t *testing.T, db *cadb.DB) map[string]schema.Disposition {
	t.Helper()
	m := make(map[string]schema.Disposition)
	for r, err := range db.Requests(t.Context(), cadb.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Serial != "" && r.Disposition != schema.CACert {
			m[r.Serial] = r.Disposition
		}
	}
	return m
}

func TestRestore(t *testing.T) {
	s, dir := standardChain(t)
	before := treeState(t, dir)
	target := newTarget(t, s.ca.Cert.Raw)
	if err := os.WriteFile(filepath.Join(target.dir, "log", "log00099.log"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	var traced []string
	o := restoreOptions(t, dir, "inc2", target)
	o.Observe = func(c backup.Call) { traced = append(traced, c.Op) }
	rep, err := backup.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	g := s.gens
	want := []string{"RestorePrepare", "RecordGap", "SetAside",
		register(g[0][0], g[0][1], 1), "RegisterComplete true",
		register(g[1][0], g[1][1], 0), "RegisterComplete true",
		register(g[2][0], g[2][1], 0), "RegisterComplete true", "End"}
	if d := cmp.Diff(want, target.calls); d != "" {
		t.Errorf("calls: %s", d)
	}
	if len(traced) != 9 || traced[0] != "CertSrvIsServerOnline" || traced[8] != "CertSrvRestoreEnd" {
		t.Errorf("trace: %v", traced)
	}
	reg := target.regs[0]
	if reg.Map[0].Database != share+`\database\`+dbName || reg.Map[0].NewDatabase != newShare+`\database\`+dbName ||
		reg.CheckpointPath != newShare+`\system` || reg.LogPath != newShare+`\log` {
		t.Errorf("registration %+v", reg)
	}
	got := serials(t, target.start())
	if len(got) != s.counts[2] {
		t.Errorf("%d certificates, want %d", len(got), s.counts[2])
	}
	for _, c := range s.ca.Issued {
		if (got[c.Serial] == schema.Revoked) != c.Revoked {
			t.Errorf("%s is %v", c.Serial, got[c.Serial])
		}
	}
	if !rep.OK || rep.Plan || rep.Displaced.Dir == "" || !slices.Contains(rep.Displaced.Files, "log00099.log") {
		t.Errorf("report %+v", rep)
	}
	if old, err := os.ReadFile(filepath.Join(rep.Displaced.Dir, "log00099.log")); err != nil || string(old) != "old" {
		t.Errorf("what was displaced: %q %v", old, err)
	}
	for i, step := range rep.Steps {
		wantState := backup.StepDone
		if i == len(rep.Steps)-1 {
			wantState = backup.StepOpen
		}
		if step.Number != i || step.State != wantState {
			t.Errorf("step %+v", step)
		}
	}
	// The published files of the dead machine are back under the new name.
	crl, err := os.ReadFile(filepath.Join(target.dir, "published", crlName))
	if err != nil || len(crl) == 0 {
		t.Errorf("dynamic files: %v", err)
	}
	if rep.Gap.Open() || target.gap == nil || target.gap.CRLNumber != 3 {
		t.Errorf("gap %+v", rep.Gap)
	}
	if len(rep.Next) != 2 {
		t.Errorf("next: %v", rep.Next)
	}
	sameTree(t, "restore", before, treeState(t, dir))
	if left, _ := os.ReadDir(o.Scratch); len(left) > 0 {
		t.Errorf("left in scratch: %v", left)
	}
}

func register(low, high uint32, maps int) string {
	return strings.NewReplacer("L", num(low), "H", num(high), "M", num(uint32(maps))).Replace("Register L-H map M")
}

func num(n uint32) string { return string(appendNum(nil, n)) }

func appendNum(b []byte, n uint32) []byte {
	if n >= 10 {
		b = appendNum(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// A plan computes all of it and changes nothing.
func TestRestorePlan(t *testing.T) {
	s, dir := standardChain(t)
	target := newTarget(t, s.ca.Cert.Raw)
	before, sets := treeState(t, target.dir), treeState(t, dir)
	o := restoreOptions(t, dir, "", target)
	o.PlanOnly = true
	rep, err := backup.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(target.calls) != 0 {
		t.Errorf("a plan called %v", target.calls)
	}
	sameTree(t, "a plan", before, treeState(t, target.dir))
	sameTree(t, "a plan", sets, treeState(t, dir))
	if !rep.Plan || len(rep.Steps) != 15 || rep.Steps[7].State != backup.StepPlanned || rep.Gap == nil || rep.Database == nil {
		t.Errorf("%+v", rep)
	}
	text := ""
	for _, st := range rep.Steps {
		text += st.Title + ": " + strings.Join(st.Detail, "; ") + "\n"
	}
	for _, want := range []string{newShare + `\database\` + dbName, "set inc1", "CertSrvRestoreRegister", filepath.Join(target.dir, "published", crlName)} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan does not say %q:\n%s", want, text)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	s, dir := standardChain(t)
	other := cadbtest.New(t, caName)
	for _, c := range []struct {
		name   string
		change func(*fakeTarget, *backup.RestoreOptions)
		is     error
		hint   string
	}{
		{"online", func(f *fakeTarget, _ *backup.RestoreOptions) { f.online = true }, certadm.ErrorSharingViolation, ""},
		{"another authority", func(f *fakeTarget, o *backup.RestoreOptions) {
			f.id.Certificate = other.Cert.Raw
			o.Scratch = "/no/such/directory" // the manifest is enough to know
		}, backup.ErrOtherAuthority, "key and certificate"},
		{"another authority, no manifest", func(f *fakeTarget, _ *backup.RestoreOptions) {
			f.id.Certificate = other.Cert.Raw
			forgetManifests(t, dir)
		}, backup.ErrOtherAuthority, "key and certificate"},
		{"no certificate", func(f *fakeTarget, _ *backup.RestoreOptions) { f.id.Certificate = nil }, nil, "restore the authority's key"},
		{"no such set", func(_ *fakeTarget, o *backup.RestoreOptions) { o.ID = "nosuch" }, backupset.ErrNotFound, ""},
		{"damaged", func(*fakeTarget, *backup.RestoreOptions) { flip(logOf("inc1", s.gens[1][0]), 9000)(t, dir) }, backupset.ErrDamaged, ""},
		{"too early", func(_ *fakeTarget, o *backup.RestoreOptions) { o.Until.Generation = s.least - 1 }, nil, "earliest target"},
		{"too late", func(_ *fakeTarget, o *backup.RestoreOptions) { o.Until.Generation = 99 }, nil, "earliest target"},
		{"no privilege", func(f *fakeTarget, _ *backup.RestoreOptions) {
			f.fail["RestorePrepare"] = &certadm.Error{Op: "x", Code: certadm.EAccessDenied}
		}, certadm.EAccessDenied, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, dir = standardChain(t)
			target := newTarget(t, s.ca.Cert.Raw)
			o := restoreOptions(t, dir, "inc2", target)
			c.change(target, &o)
			before := treeState(t, target.dir)
			_, err := backup.Restore(t.Context(), o)
			if err == nil {
				t.Fatal("not refused")
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v", err)
			}
			var h interface{ Hint() string }
			if c.hint != "" && (!errors.As(err, &h) || !strings.Contains(h.Hint(), c.hint)) {
				t.Errorf("no hint %q: %v", c.hint, err)
			}
			if slices.Contains(target.calls, "SetAside") || target.gap != nil {
				t.Errorf("the target was touched: %v", target.calls)
			}
			sameTree(t, "a refused restore", before, treeState(t, target.dir))
		})
	}
}

// Whatever fails, nothing half registered remains, the session is ended, and
// the error says where the displaced files are.
func TestRestoreFails(t *testing.T) {
	s, _ := standardChain(t)
	boom := &certadm.Error{Op: "x", Code: certadm.HrError, Err: errors.New("boom")}
	for _, call := range []string{"RecordGap", "SetAside", "Register", "RegisterComplete", "End"} {
		t.Run(call, func(t *testing.T) {
			_, dir := standardChain(t)
			target := newTarget(t, s.ca.Cert.Raw)
			if err := os.WriteFile(filepath.Join(target.dir, "database", "old.db"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			target.fail[call] = boom
			_, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
			var re *backup.RestoreError
			if !errors.As(err, &re) || !errors.Is(err, certadm.HrError) {
				t.Fatalf("%v", err)
			}
			if target.ended != 1 {
				t.Errorf("ended %d times: %v", target.ended, target.calls)
			}
			if call != "End" && target.state != "" {
				t.Errorf("state %q is left", target.state)
			}
			if call == "Register" || call == "RegisterComplete" {
				if hint := re.Hint(); !strings.Contains(hint, filepath.Join(target.dir, "aside")) || !strings.Contains(hint, "old.db") {
					t.Errorf("hint %q", hint)
				}
			}
		})
	}
	t.Run("second register", func(t *testing.T) {
		_, dir := standardChain(t)
		target := newTarget(t, s.ca.Cert.Raw)
		n := 0
		target.before["Register"] = func() {
			if n++; n == 2 {
				target.fail["Register"] = boom
			}
		}
		if _, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target)); err == nil {
			t.Fatal("no error")
		}
		if target.state != "" || target.ended != 1 {
			t.Errorf("the full set stays registered: %v", target.calls)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		_, dir := standardChain(t)
		target := newTarget(t, s.ca.Cert.Raw)
		ctx, cancel := context.WithCancel(t.Context())
		target.before["RegisterComplete"] = cancel
		if _, err := backup.Restore(ctx, restoreOptions(t, dir, "inc2", target)); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
		if target.state != "" || target.ended != 1 {
			t.Errorf("after cancellation: %q, %v", target.state, target.calls)
		}
	})
	t.Run("panic", func(t *testing.T) {
		_, dir := standardChain(t)
		target := newTarget(t, s.ca.Cert.Raw)
		target.before["RegisterComplete"] = func() {
			target.before = nil
			panic("boom")
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
		}()
		if target.state != "" || target.ended != 1 {
			t.Errorf("after a panic: %q, %v", target.state, target.calls)
		}
	})
}

// The database changes in the set between its verification and its copying.
func TestRestoreSetChanges(t *testing.T) {
	s, dir := standardChain(t)
	target := newTarget(t, s.ca.Cert.Raw)
	target.before["SetAside"] = func() { flip("full/"+dataBase+"/"+dbName, 5000)(t, dir) }
	_, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	if !errors.Is(err, backupset.ErrDamaged) || target.state != "" {
		t.Errorf("%v, state %q", err, target.state)
	}
	if left, _ := os.ReadDir(filepath.Join(target.dir, "database")); len(left) > 0 {
		t.Errorf("an unverified database lies in place: %v", left)
	}
}

// Something that was not set aside is not overwritten.
func TestRestoreOverwritesNothing(t *testing.T) {
	s, dir := standardChain(t)
	target := newTarget(t, s.ca.Cert.Raw)
	target.setAsideNothing = true
	old := filepath.Join(target.dir, "log", logName(s.gens[0][0]))
	if err := os.WriteFile(old, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := backup.Restore(t.Context(), restoreOptions(t, dir, "full", target))
	if err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(old); string(b) != "precious" {
		t.Errorf("overwritten: %q", b)
	}
}

func TestRestoreThroughFile(t *testing.T) {
	s, dir := standardChain(t)
	target := newTarget(t, s.ca.Cert.Raw)
	target.fail["Register"] = &certadm.Error{Op: "CertSrvRestoreRegister", Code: certadm.EAccessDenied}
	if _, err := backup.Restore(t.Context(), restoreOptions(t, dir, "full", target)); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(target.calls, func(c string) bool { return strings.HasPrefix(c, "RegisterThroughFile") }) {
		t.Errorf("%v", target.calls)
	}
}

// Every generation from the earliest target on can be restored to.
func TestRestoreUntil(t *testing.T) {
	s, dir := standardChain(t)
	seen := map[int]bool{}
	for g := s.least; g <= s.gens[2][1]; g++ {
		target := newTarget(t, s.ca.Cert.Raw)
		o := restoreOptions(t, dir, "inc2", target)
		o.Until.Generation = g
		rep, err := backup.Restore(t.Context(), o)
		if err != nil {
			t.Fatalf("generation %d: %v", g, err)
		}
		db := target.start()
		n := len(serials(t, db))
		seen[n] = true
		if rep.Database.Generation != g || n != rep.Database.Dispositions[schema.Issued]+rep.Database.Dispositions[schema.Revoked] {
			t.Errorf("generation %d: %d certificates, %+v", g, n, rep.Database)
		}
		// What the rest of the chain knows is the gap.
		if missing := s.counts[2] - n; len(rep.Gap.Issued) != missing {
			t.Errorf("generation %d: %d certificates issued after it, the gap lists %d", g, missing, len(rep.Gap.Issued))
		}
	}
	if len(seen) < 3 {
		t.Errorf("the targets do not differ: %v", seen)
	}
}

func TestRestoreFromCertutilFolder(t *testing.T) {
	s, dir := standardChain(t)
	forgetManifests(t, dir)
	target := newTarget(t, s.ca.Cert.Raw)
	if _, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target)); err != nil {
		t.Fatal(err)
	}
	if n := len(serials(t, target.start())); n != s.counts[2] {
		t.Errorf("%d certificates, want %d", n, s.counts[2])
	}
}

// Damage that a restore can do without does not stop it.
func TestRestoreDespiteDamage(t *testing.T) {
	s, dir := standardChain(t)
	flip("full/"+dataBase+"/"+locations, 30)(t, dir)
	flip("inc2/DynamicFiles/"+crlName, 30)(t, dir)
	target := newTarget(t, s.ca.Cert.Raw)
	rep, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{locations, crlName} {
		if !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Severity == cadb.Warning && strings.Contains(f.File, name) }) {
			t.Errorf("damage of %s is not said: %v", name, rep.Findings)
		}
	}
	target.start()
}

func TestMerge(t *testing.T) {
	s, dir := standardChain(t)
	out := t.TempDir()
	store := folder.Root(out, folder.Options{})
	opts := func() backup.MergeOptions {
		return backup.MergeOptions{Source: source(dir, "inc2"), To: store, Name: "merged", Tool: "test", Scratch: t.TempDir()}
	}
	plan := opts()
	plan.PlanOnly = true
	if _, err := backup.Merge(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("a plan wrote %v", left)
	}
	rep, err := backup.Merge(t.Context(), opts())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(out, "merged", dataBase))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{dbName, locations}
	for g := s.gens[0][0]; g <= s.gens[2][1]; g++ {
		want = append(want, logName(g))
	}
	slices.Sort(want)
	slices.Sort(names)
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	if rep.Manifest.Type != backupset.Full || rep.Manifest.LastGeneration != s.gens[2][1] {
		t.Errorf("%+v", rep.Manifest)
	}
	// It stands alone: verified, and restored from, with and without a manifest.
	for range 2 {
		if v := verify(t, out, "merged", backup.LevelDatabase); !v.OK || v.Database.Generation != s.gens[2][1] {
			t.Errorf("%+v", v)
		}
		target := newTarget(t, s.ca.Cert.Raw)
		if _, err := backup.Restore(t.Context(), restoreOptions(t, out, "merged", target)); err != nil {
			t.Fatal(err)
		}
		if n := len(serials(t, target.start())); n != s.counts[2] {
			t.Errorf("%d certificates", n)
		}
		forgetManifests(t, out)
	}
	if _, err := backup.Merge(t.Context(), opts()); !errors.Is(err, certadm.ErrorDirNotEmpty) && !errors.Is(err, backupset.ErrExists) {
		t.Errorf("overwrote a set: %v", err)
	}
	o := opts()
	o.Name, o.To = "changed", &hookedStore{store, func() { flip("full/"+dataBase+"/"+dbName, 5000)(t, dir) }}
	if _, err := backup.Merge(t.Context(), o); !errors.Is(err, backupset.ErrDamaged) {
		t.Errorf("merged what was not verified: %v", err)
	}
	flip("full/"+dataBase+"/"+dbName, 5000)(t, dir)
	if _, err := os.Stat(filepath.Join(out, "changed")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part of it is left: %v", err)
	}
	// A folder cannot say "not so far".
	o = opts()
	o.Name, o.Until.Generation = "early", s.least
	var te *backup.TargetError
	if _, err := backup.Merge(t.Context(), o); s.least < s.gens[0][1] && !errors.As(err, &te) {
		t.Errorf("%v", err)
	}
}

// hookedStore calls f when a set is begun.
type hookedStore struct {
	backupset.Store
	f func()
}

func (s *hookedStore) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	s.f()
	return s.Store.Create(ctx, o)
}

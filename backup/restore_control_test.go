package backup_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
)

// controlled is a target whose service a restore stops and starts.
type controlled struct{ *fakeTarget }

func newControlled(tb testing.TB, cert []byte) controlled {
	t := newTarget(tb, cert)
	t.online = true
	return controlled{t}
}

func (c controlled) Withhold(context.Context) (backup.Withheld, error) {
	return backup.Withheld{What: []string{"CRLs"}, Undo: []string{"reg import again.reg"}}, c.call("Withhold")
}
func (c controlled) Release(context.Context) error { return c.call("Release") }

func (c controlled) StopService(context.Context) error {
	err := c.call("StopService")
	if err == nil {
		c.online = false
	}
	return err
}

func (c controlled) StartService(context.Context) error {
	err := c.call("StartService")
	c.online = err == nil
	return err
}

func (c controlled) NewerLogs(_ context.Context, d backup.Displaced, after uint32) (paths []string, stopped string, err error) {
	for _, name := range d.Files {
		if g, ok := certadm.ParseLogGeneration(name); ok && g > after || name == "edb.log" {
			paths = append(paths, filepath.Join(d.Dir, name))
		}
	}
	slices.Sort(paths)
	slices.SortStableFunc(paths, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // edb.log last
	return paths, "", c.call("NewerLogs %d", after)
}

// LocationsLike keeps the saved name of the log directory.
func (c controlled) LocationsLike(ctx context.Context, saved certadm.RestoreMap) (certadm.FileList, error) {
	l, err := c.Locations(ctx)
	c.saved = saved
	return l, err
}

func TestRestoreControlled(t *testing.T) {
	s, dir := standardChain(t)
	target := newControlled(t, s.ca.Cert.Raw)
	rep, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	if err != nil {
		t.Fatal(err)
	}
	g := s.gens
	want := []string{"Withhold", "StopService", "RestorePrepare", "RecordGap", "SetAside",
		register(g[0][0], g[0][1], 1), "RegisterComplete true",
		register(g[1][0], g[1][1], 0), "RegisterComplete true",
		register(g[2][0], g[2][1], 0), "RegisterComplete true", "End", "Release", "StartService"}
	if d := gocmp.Diff(want, target.calls); d != "" {
		t.Errorf("calls: %s", d)
	}
	if target.saved.LogDir != share+`\log` {
		t.Errorf("asked for places like %+v", target.saved)
	}
	if rep.Withheld != nil || len(rep.WayBack) > 0 {
		t.Errorf("withheld %+v, way back %q", rep.Withheld, rep.WayBack)
	}
	for _, step := range rep.Steps {
		if step.State != backup.StepDone {
			t.Errorf("step %+v", step)
		}
	}
	if !strings.Contains(strings.Join(rep.Next, "\n"), "full backup") {
		t.Errorf("next: %q", rep.Next)
	}
}

// What is revoked in a newer CRL keeps the authority from publishing.
func TestRestoreControlledGap(t *testing.T) {
	s, dir := standardChain(t)
	target := newControlled(t, s.ca.Cert.Raw)
	o := restoreOptions(t, dir, "inc2", target)
	o.CRLs = []backup.CRLFile{{Name: "newest.crl", Raw: newCRL(t, s.ca, 99, big.NewInt(0x1234))}}
	rep, err := backup.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(target.calls, "Release") || !target.online || rep.Withheld == nil {
		t.Errorf("calls %q, withheld %+v", target.calls, rep.Withheld)
	}
	next := strings.Join(rep.Next, "\n")
	if !strings.Contains(next, "certutil -revoke") || !strings.Contains(next, "reg import again.reg") {
		t.Errorf("next: %s", next)
	}
	// Who accepts the gap has decided.
	_, dir = standardChain(t)
	target = newControlled(t, s.ca.Cert.Raw)
	o = restoreOptions(t, dir, "inc2", target)
	o.CRLs, o.AcceptGap = []backup.CRLFile{{Name: "newest.crl", Raw: newCRL(t, s.ca, 99, big.NewInt(0x1234))}}, true
	if _, err := backup.Restore(t.Context(), o); err != nil || !slices.Contains(target.calls, "Release") {
		t.Errorf("accepted: %v, %q", err, target.calls)
	}
}

func newCRL(t *testing.T, a *cadbtest.Authority, number int64, serials ...*big.Int) []byte {
	t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	}
	raw, err := x509.CreateRevocationList(rand.Reader, tmpl, a.Cert, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestRestoreControlledPlan(t *testing.T) {
	s, dir := standardChain(t)
	target := newControlled(t, s.ca.Cert.Raw)
	o := restoreOptions(t, dir, "inc2", target)
	o.PlanOnly = true
	rep, err := backup.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(target.calls) > 0 || !target.online {
		t.Errorf("a plan called %q", target.calls)
	}
	if len(rep.WayBack) == 0 || rep.Steps[3].State != backup.StepPlanned || rep.Steps[14].State != backup.StepPlanned ||
		!strings.Contains(strings.Join(rep.Steps[3].Detail, "\n"), "stop the service") {
		t.Errorf("plan: %+v, way back %q", rep.Steps, rep.WayBack)
	}
}

// Whichever step fails, the report has the way back, and it names what was set
// aside.
func TestRestoreControlledFails(t *testing.T) {
	s, _ := standardChain(t)
	for _, call := range []string{"Withhold", "StopService", "SetAside", "Register", "End", "StartService"} {
		t.Run(call, func(t *testing.T) {
			_, dir := standardChain(t)
			target := newControlled(t, s.ca.Cert.Raw)
			if err := os.WriteFile(filepath.Join(target.dir, "log", "log00099.log"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			target.fail[call] = &certadm.Error{Op: "x", Code: certadm.HrError}
			rep, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
			var re *backup.RestoreError
			if !errors.As(err, &re) || !errors.Is(err, certadm.HrError) || rep.OK {
				t.Fatalf("%v", err)
			}
			back := strings.Join(rep.WayBack, "\n")
			// Once it has been released there is nothing to undo.
			if strings.Contains(back, "reg import again.reg") == (call == "StartService") || !strings.Contains(re.Hint(), "way back") {
				t.Errorf("the way back: %s\nhint: %s", back, re.Hint())
			}
			aside := slices.Contains([]string{"Register", "End", "StartService"}, call)
			if strings.Contains(back, filepath.Join(target.dir, "aside")) != aside {
				t.Errorf("the way back: %s", back)
			}
			if call != "StartService" && slices.Contains(target.calls, "StartService") {
				t.Error("started after a failure")
			}
			if begun := slices.Contains(target.calls, "RestorePrepare"); begun == slices.Contains([]string{"Withhold", "StopService"}, call) {
				t.Errorf("calls %q", target.calls)
			}
		})
	}
}

// remarking has something to say, and services that it stopped.
type remarking struct{ controlled }

func (remarking) Remarks() []string           { return []string{"W3SVC did not start"} }
func (remarking) StoppedDependents() []string { return []string{"W3SVC", "other"} }

func TestRestoreControlledRemarks(t *testing.T) {
	s, dir := standardChain(t)
	target := remarking{newControlled(t, s.ca.Cert.Raw)}
	rep, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	if err != nil || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Message == "W3SVC did not start" }) {
		t.Errorf("%v, findings %v", err, rep.Findings)
	}
	target = remarking{newControlled(t, s.ca.Cert.Raw)}
	target.fail["Register"] = certadm.HrError
	rep, err = backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	if err == nil || !strings.Contains(strings.Join(rep.WayBack, "\n"), "net start W3SVC; net start other") {
		t.Errorf("%v, way back %q", err, rep.WayBack)
	}
}

// What an earlier run has registered, and the service never carried out, does not
// stand in the way of the next; and it can be taken back.
func TestRestoreControlledAgain(t *testing.T) {
	s, dir := standardChain(t)
	target := newControlled(t, s.ca.Cert.Raw)
	target.fail["StartService"] = &certadm.Error{Op: "x", Code: certadm.HrError}
	rep, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	var re *backup.RestoreError
	if !errors.As(err, &re) || !re.Registered || !strings.Contains(re.Hint(), "stays registered") || target.state != "complete" ||
		!strings.Contains(strings.Join(rep.WayBack, "\n"), "--take-back") {
		t.Fatalf("%v, state %q, way back %q", err, target.state, rep.WayBack)
	}
	target.calls, target.regs = nil, nil
	if _, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target)); err == nil {
		t.Fatal("it starts?")
	}
	g := s.gens
	want := []string{register(g[0][0], g[0][1], 1), "RegisterComplete false", register(g[0][0], g[0][1], 1), "RegisterComplete true"}
	if i := slices.Index(target.calls, want[0]); i < 0 || !slices.Equal(target.calls[i:i+4], want) {
		t.Errorf("calls %q", target.calls)
	}
	if err := backup.TakeBack(t.Context(), target.Service()); err != nil || target.state != "" {
		t.Errorf("%v, state %q", err, target.state)
	}
	delete(target.fail, "StartService")
	target.regs = nil
	if _, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target)); err != nil {
		t.Error(err)
	}
}

// The hint does not say that anything was taken back when it was not.
func TestRestoreNotTakenBack(t *testing.T) {
	s, dir := standardChain(t)
	target := newTarget(t, s.ca.Cert.Raw)
	target.fail["End"] = &certadm.Error{Op: "x", Code: certadm.HrError}
	_, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	var re *backup.RestoreError
	if !errors.As(err, &re) || !re.Registered || !strings.Contains(re.Hint(), "stays registered") {
		t.Errorf("%v", err)
	}
	target = newTarget(t, s.ca.Cert.Raw)
	target.fail["RegisterComplete"] = &certadm.Error{Op: "x", Code: certadm.HrError}
	_, err = backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	if !errors.As(err, &re) || re.Registered || !strings.Contains(re.Hint(), "nothing stays registered") {
		t.Errorf("%v", err)
	}
}

// An authority that stays silent is better than one that does not run.
func TestRestoreControlledNotReleased(t *testing.T) {
	s, dir := standardChain(t)
	target := newControlled(t, s.ca.Cert.Raw)
	target.fail["Release"] = errors.New("changed by somebody")
	rep, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc2", target))
	if err != nil || !target.online || rep.Withheld == nil {
		t.Errorf("%v, online %v, withheld %+v", err, target.online, rep.Withheld)
	}
	if !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return strings.Contains(f.Message, "changed by somebody") }) {
		t.Errorf("findings %v", rep.Findings)
	}
}

// adcsChain is a full and an incremental set of AD CS: logs 5 to 6, and 7 to 8.
func adcsChain(t *testing.T, ca *cadbtest.Authority) (dir string) {
	t.Helper()
	dir = t.TempDir()
	svc := &adcs{signature: 1, first: 5, last: 6}
	crl := newCRL(t, ca, 7, big.NewInt(1))
	for _, name := range []string{"full", "inc"} {
		_, err := backup.Take(t.Context(), backup.TakeOptions{Service: svc, Store: folder.Root(dir, folder.Options{}), Name: name,
			Companions: []backup.Companion{{Name: caName + ".crt", Data: ca.Cert.Raw}, {Name: caName + ".crl", Data: crl}}})
		if err != nil {
			t.Fatal(err)
		}
		svc.first, svc.last = 7, 8
		crl = newCRL(t, ca, 8, big.NewInt(1), big.NewInt(8))
	}
	return dir
}

// eseTarget is a target of AD CS, whose log directory has newer logs.
func eseTarget(t *testing.T, ca *cadbtest.Authority) controlled {
	t.Helper()
	target := newControlled(t, ca.Cert.Raw)
	target.id.Engine = "ese"
	target.logName = "edb%05X.log"
	svc := &adcs{signature: 1}
	for name, g := range map[string]uint32{"edb00008.log": 8, "edb00009.log": 9, "edb.log": 10, "edb.chk": 0} {
		log := make([]byte, 8192)
		(&adcsBackup{adcs: svc}).log(log, g)
		if err := os.WriteFile(filepath.Join(target.dir, "log", name), log, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return target
}

func logsOf(t *testing.T, target controlled) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(target.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestRestoreADCS(t *testing.T) {
	ca := cadbtest.New(t, caName)
	dir := adcsChain(t, ca)
	target := eseTarget(t, ca)
	o := restoreOptions(t, dir, "inc", target)
	o.CRLs = []backup.CRLFile{{Name: "newest.crl", Raw: newCRL(t, ca, 9, big.NewInt(1), big.NewInt(2))}}
	rep, err := backup.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Withhold", "StopService", "RestorePrepare", "RecordGap", "SetAside", "NewerLogs 8",
		register(5, 6, 1), "RegisterComplete true", register(7, 8, 0), "RegisterComplete true", "End", "StartService"}
	if d := gocmp.Diff(want, target.calls); d != "" {
		t.Errorf("calls: %s", d)
	}
	if d := gocmp.Diff([]string{"edb.log", "edb00005.log", "edb00006.log", "edb00007.log", "edb00008.log", "edb00009.log"}, logsOf(t, target)); d != "" {
		t.Errorf("logs: %s", d)
	}
	if d := gocmp.Diff([]string{"edb00009.log", "edb.log"}, rep.NewerLogs); d != "" {
		t.Errorf("newer logs: %s", d)
	}
	// Only what the set's own CRL does not have is missing, and nobody can tell
	// what else is: the database was not read.
	if g := rep.Gap; !g.Blind || len(g.Revoked) != 1 || g.Revoked[0].Serial != "02" || g.CRLNumber != 9 || rep.Withheld == nil {
		t.Errorf("gap %+v, withheld %+v", g, rep.Withheld)
	}
	proven := func(list []backup.Statement, code string) bool {
		return slices.ContainsFunc(list, func(s backup.Statement) bool { return s.Code == code })
	}
	if !proven(rep.Proven, "files") || !proven(rep.Proven, "chain") || !proven(rep.NotProven, "recovery") || proven(rep.NotProven, "authority") {
		t.Errorf("proven %v, not %v", rep.Proven, rep.NotProven)
	}
}

func TestRestoreADCSLogs(t *testing.T) {
	ca := cadbtest.New(t, caName)
	for _, tt := range []struct {
		name   string
		change func(*backup.RestoreOptions)
		want   []string
	}{
		{"clear logs", func(o *backup.RestoreOptions) { o.ClearLogs = true },
			[]string{"edb00005.log", "edb00006.log", "edb00007.log", "edb00008.log"}},
		{"until a generation", func(o *backup.RestoreOptions) { o.Until.Generation = 7 },
			[]string{"edb00005.log", "edb00006.log", "edb00007.log"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := eseTarget(t, ca)
			o := restoreOptions(t, adcsChain(t, ca), "inc", target)
			tt.change(&o)
			if _, err := backup.Restore(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(tt.want, logsOf(t, target)); d != "" {
				t.Error(d)
			}
		})
	}
	// Logs that do not go on where the sets end are left where they are.
	foreign := eseTarget(t, ca)
	log := make([]byte, 8192)
	(&adcsBackup{adcs: &adcs{signature: 2}}).log(log, 9)
	if err := os.WriteFile(filepath.Join(foreign.dir, "log", "edb00009.log"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	rep, err := backup.Restore(t.Context(), restoreOptions(t, adcsChain(t, ca), "inc", foreign))
	if err != nil || len(rep.NewerLogs) > 0 || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Code == cadb.CodeChain && f.Severity == cadb.Warning }) {
		t.Errorf("%v, newer %q, findings %v", err, rep.NewerLogs, rep.Findings)
	}
	// Less than the full set's own logs would leave the copy inconsistent.
	target := eseTarget(t, ca)
	o := restoreOptions(t, adcsChain(t, ca), "inc", target)
	o.Until.Generation = 5
	var te *backup.TargetError
	if _, err := backup.Restore(t.Context(), o); !errors.As(err, &te) || te.Earliest != 6 || len(target.calls) > 0 {
		t.Errorf("until 5: %v, calls %q", err, target.calls)
	}
}

// A set that the target cuts short knows of revocations from after the target.
func TestRestoreADCSUntilInsideSet(t *testing.T) {
	ca := cadbtest.New(t, caName)
	target := eseTarget(t, ca)
	o := restoreOptions(t, adcsChain(t, ca), "inc", target)
	o.Until.Generation = 7
	rep, err := backup.Restore(t.Context(), o)
	if err != nil || !slices.ContainsFunc(rep.Gap.Revoked, func(r backup.GapRevocation) bool { return r.Serial == "08" }) {
		t.Errorf("%v, gap %+v", err, rep.Gap)
	}
}

// renewed is an authority that had another key before.
type renewed struct {
	controlled
	before []byte
}

func (r renewed) Certificates(context.Context) ([][]byte, error) {
	return [][]byte{r.before, r.id.Certificate}, nil
}

func TestRestoreRenewed(t *testing.T) {
	old, now := cadbtest.New(t, caName), cadbtest.New(t, caName)
	target := renewed{eseTarget(t, now), old.Cert.Raw}
	target.id.Name, target.id.SanitizedName = "not the set's name", "not the set's name" // its certificate has to do
	o := restoreOptions(t, adcsChain(t, old), "inc", target)
	o.CRLs = []backup.CRLFile{{Name: "old key's.crl", Raw: newCRL(t, old, 9, big.NewInt(3))}, {Name: "new key's.crl", Raw: newCRL(t, now, 9, big.NewInt(4))}}
	rep, err := backup.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var serials []string
	for _, r := range rep.Gap.Revoked {
		serials = append(serials, r.Serial)
	}
	if !slices.Contains(serials, "03") || !slices.Contains(serials, "04") {
		t.Errorf("gap %v", serials)
	}
	o.CRLs[0].Raw = newCRL(t, cadbtest.New(t, caName), 9, big.NewInt(3))
	if _, err := backup.Restore(t.Context(), o); !errors.Is(err, backup.ErrForeignCRL) {
		t.Errorf("a third key's CRL: %v", err)
	}
}

func TestRestoreADCSRefuses(t *testing.T) {
	ca, other := cadbtest.New(t, caName), cadbtest.New(t, caName)
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir string, target controlled)
		want   error
	}{
		{"a log that changed", func(t *testing.T, dir string, _ controlled) { flip("inc/"+dataBase+"/edb00007.log", 5000)(t, dir) }, backupset.ErrDamaged},
		{"a database that changed", func(t *testing.T, dir string, _ controlled) { flip("full/"+dataBase+"/Corp CA.edb", 5000)(t, dir) }, backupset.ErrDamaged},
		{"a log that is missing", func(t *testing.T, dir string, _ controlled) {
			if err := os.Remove(filepath.Join(dir, "full", dataBase, "edb00006.log")); err != nil {
				t.Fatal(err)
			}
		}, backupset.ErrDamaged},
		{"another authority", func(_ *testing.T, _ string, target controlled) {
			target.id.Certificate, target.id.Name, target.id.SanitizedName = other.Cert.Raw, "Third CA", "Third CA"
		}, backup.ErrOtherAuthority},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := eseTarget(t, ca)
			dir := adcsChain(t, ca)
			tt.change(t, dir, target)
			_, err := backup.Restore(t.Context(), restoreOptions(t, dir, "inc", target))
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if len(target.calls) > 0 || !target.online {
				t.Errorf("the target was touched: %q", target.calls)
			}
		})
	}
}

// A chain of AD CS becomes one folder for certutil -restoreDB.
func TestMergeADCS(t *testing.T) {
	ca := cadbtest.New(t, caName)
	dir, to := adcsChain(t, ca), t.TempDir()
	rep, err := backup.Merge(t.Context(), backup.MergeOptions{Source: source(dir, "inc"), To: folder.Root(to, folder.Options{}), Name: "merged", Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(to, "merged", dataBase))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if d := gocmp.Diff([]string{"Corp CA.edb", "certbkxp.dat", "edb00005.log", "edb00006.log", "edb00007.log", "edb00008.log"}, names); d != "" {
		t.Error(d)
	}
	if m := rep.Manifest; m.FirstGeneration != 5 || m.LastGeneration != 8 || m.EarliestTarget != 6 || m.Engine != "ese" || rep.Database != nil || len(rep.NotProven) == 0 {
		t.Errorf("%+v", m)
	}
	// It is a set like any other.
	v, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(to, "merged"), Level: backup.LevelSealed})
	if err != nil || !v.OK {
		t.Errorf("%v, %+v", err, v)
	}
}

package certadmtest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The checklist is whole: every number once, every part with a name of its own.
func TestItems(t *testing.T) {
	want := 1
	for _, it := range items() {
		if it.number != want {
			t.Errorf("item %d where item %d should be", it.number, want)
		}
		want = it.number + 1
		names := make(map[string]bool)
		for _, pt := range it.parts {
			if pt.name == "" || strings.Contains(pt.name, "/") || names[pt.name] || pt.run == nil {
				t.Errorf("item %d has a part named %q", it.number, pt.name)
			}
			names[pt.name] = true
		}
		if len(names) == 0 {
			t.Errorf("item %d has no parts", it.number)
		}
	}
	if want != lastItem+1 {
		t.Errorf("the last item is %d, want %d", want-1, lastItem)
	}
}

func TestCheckSkip(t *testing.T) {
	if got := checkSkip(map[int]string{1: "reason", lastItem: "reason"}); len(got) != 0 {
		t.Errorf("a good list: %q", got)
	}
	for _, tt := range []struct {
		skip map[int]string
		want string
	}{
		{map[int]string{0: "reason"}, "item 0 is listed as skipped, but there are only items 1 to 71"},
		{map[int]string{72: "reason"}, "item 72 is listed as skipped, but there are only items 1 to 71"},
		{map[int]string{-1: "reason"}, "item -1"},
		{map[int]string{12: " "}, "item 12 is listed as skipped, but without a reason"},
	} {
		if got := checkSkip(tt.skip); len(got) != 1 || !strings.Contains(got[0], tt.want) {
			t.Errorf("checkSkip(%v) = %q, want %q", tt.skip, got, tt.want)
		}
	}
}

func TestJudge(t *testing.T) {
	pass, fail, lack := result{part: "a"}, result{part: "b", failures: []string{"broken"}}, result{part: "c", unsupported: "no ability"}
	for _, tt := range []struct {
		name     string
		results  []result
		failures []string // parts of each
		logs     []string
	}{
		{"everything passes", []result{pass, pass}, []string{"strike it from the list"}, nil},
		{"nothing can run", []result{lack, lack}, nil, []string{"item 9 is skipped in part: the reason", "c: no ability", "c: no ability"}},
		{"what can run passes", []result{pass, lack}, nil, []string{"item 9 is skipped in part: the reason", "c: no ability"}},
		{"what can run fails", []result{fail, lack}, []string{"b: broken"}, []string{"item 9 is skipped in part: the reason", "c: no ability"}},
		{"known deviation", []result{pass, fail}, nil, []string{"item 9 is a known deviation: the reason", "b: broken"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			failures, logs := judge(item{number: 9}, tt.results, "the reason")
			match := func(what string, got, want []string) {
				if !slices.EqualFunc(got, want, strings.Contains) {
					t.Errorf("%s %q, want %q", what, got, want)
				}
			}
			match("failures", failures, tt.failures)
			match("logs", logs, tt.logs)
		})
	}
}

// recorder is a testing.TB that only notes errors.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Error(args ...any)            { r.errors = append(r.errors, fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.Error(fmt.Sprintf(f, args...)) }

// What an item that is not listed has to do.
func TestReport(t *testing.T) {
	for _, tt := range []struct {
		r    result
		want []string
	}{
		{result{}, nil},
		{result{failures: []string{"one", "two"}}, []string{"one", "two"}},
		{result{unsupported: "no ability"}, []string{"cannot run here (no ability), and the item is not listed as skipped"}},
	} {
		var rec recorder
		tt.r.report(&rec)
		if !slices.Equal(rec.errors, tt.want) {
			t.Errorf("%+v reports %q, want %q", tt.r, rec.errors, tt.want)
		}
	}
}

func TestRunPart(t *testing.T) {
	run := func(fn func(p *probe)) result {
		return runPart(t, func(t *testing.T) Env { return newFake(t) }, &abilities{}, part{"part", fn})
	}
	cleaned := false
	r := run(func(p *probe) {
		p.cleanup = append(p.cleanup, func() { cleaned = true })
		p.Errorf("first")
		p.Fatalf("second")
		p.Errorf("not reached")
	})
	if !slices.Equal(r.failures, []string{"first", "second"}) || r.unsupported != "" || !cleaned {
		t.Errorf("%+v, cleaned up %v", r, cleaned)
	}
	r = run(func(p *probe) { panic("the service crashed") })
	if len(r.failures) != 1 || !strings.HasPrefix(r.failures[0], "panic: the service crashed") {
		t.Errorf("%+v", r)
	}
	r = run(func(p *probe) { ability[interface{ Impossible() }](p) })
	if r.unsupported == "" || len(r.failures) != 0 {
		t.Errorf("%+v", r)
	}
	r = run(func(p *probe) {
		p.cleanup = append(p.cleanup, func() { panic("while cleaning up") })
	})
	if len(r.failures) != 1 || !strings.HasPrefix(r.failures[0], "panic: while cleaning up") {
		t.Errorf("%+v", r)
	}
}

// plain is the fake without its abilities.
type plain struct{ Env }

// plainSkip are the items that need more than an Env must have.
func plainSkip() map[int]string {
	skip := make(map[int]string)
	for _, n := range []int{
		12, 15, 17, 18, 19, 23, 24, 25, 26, 27, 35, 36, 38, 39, 41, 44, 48, 51, 52, 54, 55,
		58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71,
	} {
		skip[n] = "the Env has no abilities"
	}
	return skip
}

// An Env that can do the necessary only passes with the right list.
func TestPlainEnv(t *testing.T) {
	Run(t, func(t *testing.T) Env { return plain{newFake(t)} }, plainSkip())
}

// selfVariable chooses what TestSelf, run by TestRun, does.
const selfVariable = "CERTADMTEST_SELF"

// TestSelf runs the suite on what selfVariable says.
func TestSelf(t *testing.T) {
	kind := os.Getenv(selfVariable)
	if kind == "" {
		t.Skip("is run by TestRun")
	}
	newEnv := func(t *testing.T) Env { return newFake(t) }
	skip := map[int]string{35: "needs too long"}
	switch kind {
	case "good":
	case "mutant":
		newEnv = func(t *testing.T) Env { return newFake(t, "incremental before full") }
	case "deviation":
		newEnv = func(t *testing.T) Env { return newFake(t, "incremental before full") }
		skip[22] = "the server does as it likes"
	case "plain":
		newEnv = func(t *testing.T) Env { return plain{newFake(t)} }
	case "plain mutant":
		newEnv = func(t *testing.T) Env { return plain{newFake(t, "never online")} }
		skip = plainSkip()
	case "skipping":
		newEnv = func(t *testing.T) Env { t.Skip("not today"); return nil }
	case "stale":
		skip[22] = "was true once"
	case "number":
		skip[72] = "there is no such item"
	case "reason":
		skip[12] = ""
	}
	Run(t, newEnv, skip)
}

// Run fails the test when it must, and only then.
func TestRun(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind, run string
		want      []string // in the output; without any, the test passes
	}{
		{"good", "item22", nil},
		{"deviation", "item22", nil},
		{"mutant", "item22", []string{"--- FAIL: TestSelf/item22/no_full_backup_yet", "items_prepare.go:"}},
		{"mutant", "item21", nil},
		{"plain", "item12", []string{"--- PASS: TestSelf/item12/running", "--- FAIL: TestSelf/item12/suspended", "cannot run here (the Env is no Suspender), and the item is not listed"}},
		{"plain mutant", "item12", []string{"--- SKIP: TestSelf/item12/suspended", "--- FAIL: TestSelf/item12", "running: items_online.go:"}},
		{"skipping", "item22", []string{"--- FAIL: TestSelf/item22/no_full_backup_yet", "ended before the part was done"}},
		{"stale", "item22", []string{"--- FAIL: TestSelf/item22", "strike it from the list"}},
		{"number", "item01", []string{"item 72 is listed as skipped, but there are only items 1 to 71"}},
		{"reason", "item01", []string{"item 12 is listed as skipped, but without a reason"}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			cmd := exec.Command(exe, "-test.v", "-test.run=^TestSelf$/^"+tt.run)
			cmd.Env = append(os.Environ(), selfVariable+"="+tt.kind)
			out, err := cmd.CombinedOutput()
			if (err != nil) != (tt.want != nil) {
				t.Errorf("%v, want a failure: %v\n%s", err, tt.want != nil, out)
			}
			for _, s := range tt.want {
				if !strings.Contains(string(out), s) {
					t.Errorf("%q is not in the output:\n%s", s, out)
				}
			}
		})
	}
}

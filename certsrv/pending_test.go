package certsrv

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
)

func testPending() *pendingRestore {
	return &pendingRestore{
		Schema: 1, State: restoreRegistered, By: "alice", Time: time.Unix(1700000000, 0).UTC(),
		Sets: []pendingSet{{Database: "database/a.db", Saved: `\\x\y$\a.db`, LogDir: "log", Low: 1, High: 3}},
	}
}

// A power loss while the instruction is written, advanced or taken back leaves
// the old one or the new one, and the new one once the call has returned.
func TestPendingSurvivesPowerLoss(t *testing.T) {
	at := layout{"/ca"}
	d := durabletest.New()
	for _, name := range []string{"/ca", "/ca/system"} {
		if err := d.Mkdir(name, dirMode); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	steps := []pendingState{restoreRegistered, restoreComplete, restoreReplayed, restoreAdopted}
	p := testPending()
	for _, st := range steps {
		p.State = st
		if st == restoreReplayed {
			p.Aside, p.Replayed = "aside/displaced/x", &replayed{Through: 3}
		}
		if err := writePending(d, at, p); err != nil {
			t.Fatal(err)
		}
		d.Mark(string(st))
	}
	if err := removePending(d, at); err != nil {
		t.Fatal(err)
	}
	d.Mark("removed")
	n := d.CrashStates(func(s durabletest.State) {
		got, err := readPending(s.Disk(), at)
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		reached := 0
		for i, st := range steps {
			if s.Reached(string(st)) {
				reached = i + 1
			}
		}
		switch {
		case s.Reached("removed"):
			if got != nil {
				t.Fatalf("%v: taken back, and there again", s)
			}
		case got == nil:
			if reached > 0 && reached < len(steps) {
				t.Fatalf("%v: gone after state %s", s, steps[reached-1])
			}
		case got.State != steps[max(reached-1, 0)] && (reached == len(steps) || got.State != steps[reached]):
			t.Fatalf("%v: state %s", s, got.State)
		}
	})
	t.Logf("%d states", n)
}

func TestPendingRefusesNonsense(t *testing.T) {
	for what, change := range map[string]func(*pendingRestore){
		"schema":       func(p *pendingRestore) { p.Schema = 2 },
		"state":        func(p *pendingRestore) { p.State = "done" },
		"no sets":      func(p *pendingRestore) { p.Sets = nil },
		"no full set":  func(p *pendingRestore) { p.Sets[0].Database = "" },
		"two full":     func(p *pendingRestore) { p.Sets = append(p.Sets, p.Sets[0]) },
		"key":          func(p *pendingRestore) { p.Sets[0].Database = "private/ca.key" },
		"traversal":    func(p *pendingRestore) { p.Sets[0].LogDir = "../log" },
		"range":        func(p *pendingRestore) { p.Sets[0].Low = 4 },
		"zero":         func(p *pendingRestore) { p.Sets[0].Low = 0 },
		"too high":     func(p *pendingRestore) { p.Sets[0].High = 0x100000 },
		"aside":        func(p *pendingRestore) { p.Aside = "/etc" },
		"bare replay":  func(p *pendingRestore) { p.State = restoreReplayed },
		"bare adopted": func(p *pendingRestore) { p.State, p.Aside = restoreAdopted, "aside/x" },
	} {
		p := testPending()
		change(p)
		if err := p.check(); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if err := testPending().check(); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func FuzzPending(f *testing.F) {
	b, _ := json.Marshal(testPending())
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		at := layout{"/"}
		d := durabletest.New()
		if err := d.Mkdir("/system", dirMode); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteFile(d, at.path(pendingName), b, fileMode); err != nil {
			t.Fatal(err)
		}
		p, err := readPending(d, at)
		if err != nil || p == nil {
			return
		}
		p.full()
		if err := writePending(d, at, p); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}

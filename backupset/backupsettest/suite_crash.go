package backupsettest

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
	"github.com/certkeep/certkeep/internal/need"
)

// scene is a Store with a set in it, on a disk that records.
type scene struct {
	disk *durabletest.Disk
	old  *Sample // there, confirmed
	new  *Sample // to be written
	o    backupset.CreateOptions
}

func (s suite) scene(t testing.TB, replacing bool) *scene {
	t.Helper()
	if s.OnFS == nil {
		t.Skip("it cannot be put on a file system of the suite's")
	}
	sc := &scene{disk: durabletest.New(), old: Full(1, 2, 60), o: backupset.CreateOptions{Name: "new"}}
	sc.new = Incremental(sc.old, 4, 40)
	if replacing {
		sc.new = Full(1, 4, 60) // with fewer parts
		sc.new.Manifest.Files = sc.new.Manifest.Files[:len(sc.new.Manifest.Files)-1]
		sc.o = backupset.CreateOptions{Name: "old", Force: true}
	}
	store := s.OnFS(sc.disk)
	must(t, sc.old.Put(t.Context(), store, backupset.CreateOptions{Name: "old"}),
		store.PutReceipt(t.Context(), sc.old.Manifest.ID, sc.old.Receipt(true)), sc.disk.Settle())
	return sc
}

// take writes the new set and its receipt, with marks for what has returned.
func (sc *scene) take(t testing.TB, store backupset.Store) error {
	if err := sc.new.Put(t.Context(), store, sc.o); err != nil {
		return err
	}
	sc.disk.Mark("committed")
	if err := store.PutReceipt(t.Context(), sc.new.Manifest.ID, sc.new.Receipt(true)); err != nil {
		return err
	}
	sc.disk.Mark("confirmed")
	return nil
}

// check looks at a state: each set is whole, or not there; and there if that
// was promised.
func (sc *scene) check(t testing.TB, store backupset.Store, what any, replacing, committed, confirmed bool) {
	t.Helper()
	es, err := store.List(t.Context())
	if err != nil {
		t.Errorf("%v: list: %v", what, err)
		return
	}
	var haveOld, haveNew bool
	for _, e := range es {
		if e.Err != nil {
			t.Errorf("%v: %s: %v", what, e.Label(), e.Err)
			continue
		}
		sample := sc.new
		if e.ID == sc.old.Manifest.ID {
			sample, haveOld = sc.old, true
			if !e.Confirmed {
				t.Errorf("%v: the old set has lost its receipt", what)
			}
		} else {
			haveNew = true
			if confirmed && !e.Confirmed {
				t.Errorf("%v: the receipt is lost", what)
			}
		}
		set, err := store.Open(t.Context(), e.ID)
		if err == nil {
			err = sample.Same(t.Context(), set)
		}
		if err != nil {
			t.Errorf("%v: %s is not whole: %v", what, e.Label(), err)
		}
	}
	switch {
	case committed && !haveNew:
		t.Errorf("%v: the new set is lost", what)
	case !replacing && !haveOld:
		t.Errorf("%v: the old set is lost", what)
	case replacing && haveOld == haveNew:
		t.Errorf("%v: old set %v, new set %v", what, haveOld, haveNew)
	}
}

func (s suite) powerLoss(t *testing.T)          { s.powerLost(t, false) }
func (s suite) powerLossReplacing(t *testing.T) { s.powerLost(t, true) }

// powerLost tries every state that a power loss may leave, and goes on from
// some of them.
func (s suite) powerLost(t *testing.T, replacing bool) {
	if replacing && !s.Named {
		t.Skip("its sets have no names")
	}
	sc := s.scene(t, replacing)
	must(t, sc.take(t, s.OnFS(sc.disk)))
	last := -1
	n := sc.disk.CrashStates(func(st durabletest.State) {
		d := st.Disk()
		store := s.OnFS(d)
		sc.check(t, store, st, replacing, st.Reached("committed"), st.Reached("confirmed"))
		if len(d.Ops()) == 0 {
			t.Fatal("nothing was read")
		}
		for _, op := range d.Ops() {
			if op.Kind.Changes() {
				t.Fatalf("%v: reading did this: %v", st, op)
			}
		}
		if st.Ops == last && !need.Heavy() {
			return
		}
		last = st.Ops
		s.goOn(t, sc, d, st, replacing)
	})
	t.Logf("%d states", n)
}

// goOn writes receipts and then another set to what the power loss has left,
// either of which may have to finish what was begun, and looks again.
func (s suite) goOn(t testing.TB, sc *scene, d *durabletest.Disk, st durabletest.State, replacing bool) {
	next := Full(7, 7, 20)
	store := s.OnFS(d)
	es, err := store.List(t.Context())
	for _, e := range es {
		r := sc.new.Receipt(true)
		if err == nil && e.Err == nil {
			err = store.PutReceipt(t.Context(), e.ID, r)
		}
	}
	if err != nil {
		t.Errorf("%v: receipts: %v", st, err)
	}
	sc.check(t, store, fmt.Sprint(st, ", and then receipts"), replacing, false, len(es) > 1)
	name := "old" // also cleans up what the power loss has left there
	if err := next.Put(t.Context(), store, backupset.CreateOptions{Name: name, Force: true}); err != nil {
		t.Errorf("%v: the next set: %v", st, err)
		return
	}
	set, err := store.Open(t.Context(), next.Manifest.ID)
	if err == nil {
		err = next.Same(t.Context(), set)
	}
	if err == nil && s.Named {
		var extra []string
		if extra, err = set.Extra(t.Context()); len(extra) > 0 {
			err = fmt.Errorf("left there: %q", extra)
		}
	}
	if err != nil {
		t.Errorf("%v: the next set: %v", st, err)
	}
	es, err = store.List(t.Context())
	for _, e := range es {
		err = errors.Join(err, e.Err)
	}
	if err != nil {
		t.Errorf("%v: after the next set: %v", st, err)
	}
}

// faults fails each operation in turn.
func (s suite) faults(t *testing.T) {
	for _, replacing := range []bool{false, true} {
		if replacing && !s.Named {
			continue
		}
		for _, fault := range []durabletest.Fault{
			{Err: syscall.EIO},
			{Err: syscall.ENOSPC, Sticky: true, Short: true, Only: durabletest.NeedsSpace},
		} {
			for n := 1; ; n++ {
				sc := s.scene(t, replacing)
				fault.Op = n
				sc.disk.Inject(fault)
				err := sc.take(t, s.OnFS(sc.disk))
				if !sc.disk.Fired() {
					must(t, err)
					break
				}
				sc.disk.Heal()
				what := fmt.Sprintf("replacing %v, operation %d failed with %v, and the error was %v", replacing, n, fault.Err, err)
				committed, confirmed := marked(sc.disk, "committed"), marked(sc.disk, "confirmed")
				if err == nil && !confirmed || err != nil && !errors.Is(err, fault.Err) {
					t.Error(what)
				}
				sc.check(t, s.OnFS(sc.disk), what, replacing, committed, confirmed)
				if n%17 == 0 || need.Heavy() { // all of them take half a minute
					sc.disk.CrashStates(func(st durabletest.State) {
						sc.check(t, s.OnFS(st.Disk()), fmt.Sprint(what, "; ", st), replacing, st.Reached("committed"), st.Reached("confirmed"))
					})
				}
				s.goOn(t, sc, sc.disk, durabletest.State{Variant: what}, replacing)
			}
		}
	}
}

func marked(d *durabletest.Disk, mark string) bool {
	for _, o := range d.Ops() {
		if o.Kind == durabletest.OpMark && o.Name == mark {
			return true
		}
	}
	return false
}

package repo_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/mem"
)

// smallRepository has every kind of object: two sets of one authority, a receipt each, lists of
// their own, several packs, a moved segment, a note of a prune, and two recipients.
func smallRepository(t testing.TB) (*world, *mem.Store, []*backupsettest.Sample) {
	t.Helper()
	store, _ := newClocked()
	w := newWorld(t, store)
	r := w.open()
	full := backupsettest.Full(1, 1, 40<<10)
	sets := []*backupsettest.Sample{full, backupsettest.Incremental(full, 2, 5<<10)}
	// Long enough for a list of its own, and of one chunk many times over.
	sets[1].Add(backupset.RoleCompanion, "long.bin", make([]byte, 33*16<<10))
	mustPut(t, r, sets...)
	return w, store, sets
}

// noticed says whether a repository without any key shows that something is wrong: it does not
// open, or not all of it is sound as it lies sealed.
func noticed(s *mem.Store) error {
	ctx := context.Background()
	r, err := repo.Open(ctx, repo.Options{Blob: s})
	if err != nil {
		return err
	}
	return findings(r, repo.LevelSealed)
}

// leased are objects that only say who is on the way: they are not part of what is kept, and a
// lease that is not signed well holds nothing up.
func leased(key string) bool { return strings.HasPrefix(key, "leases/") }

// Each byte of each object, flipped, is noticed at the level "sealed" by somebody who has no key at
// all. Leases are the exception.
func TestEachByteCounts(t *testing.T) {
	defer repo.Shrink()()
	_, store, _ := smallRepository(t)
	if err := noticed(store); err != nil {
		t.Fatal(err)
	}
	stride := 397 // prime, so that all kinds of places are met
	if need.Heavy() {
		stride = 1
	}
	objects := snapshot(t, store)
	flips := 0
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if leased(key) {
			continue
		}
		was := objects[key]
		step := stride
		if !strings.HasPrefix(key, "packs/") {
			step = min(stride, 31)
		}
		for at := len(key) % step; at < len(was); at += step {
			b := []byte(was)
			b[at] ^= 1 << (at % 8)
			store.Replace(key, b)
			if err := noticed(store); err == nil {
				t.Errorf("%s: byte %d of %d (%q) can be changed unnoticed", key, at, len(was), was[at])
			}
			flips++
		}
		store.Replace(key, []byte(was))
	}
	t.Logf("%d objects, %d bytes flipped", len(objects), flips)
	if flips < 300 {
		t.Error("hardly anything was tried")
	}
}

// An object that is missing, cut short, longer, or another object of the same kind, is noticed.
func TestEachObjectCounts(t *testing.T) {
	defer repo.Shrink()()
	_, store, _ := smallRepository(t)
	objects := snapshot(t, store)
	keys := slices.Sorted(maps.Keys(objects))
	for i, key := range keys {
		if leased(key) {
			continue
		}
		was := objects[key]
		other := keys[(i+1)%len(keys)]
		for what, b := range map[string][]byte{
			"missing": nil, "empty": {}, "cut": []byte(was[:len(was)/2]), "one byte less": []byte(was[:len(was)-1]),
			"longer": []byte(was + "\n"), "another object": []byte(objects[other]),
		} {
			if what == "missing" && lastOfHost(keys, i) {
				continue // see TestCutOff
			}
			store.Replace(key, b)
			if err := noticed(store); err == nil {
				t.Errorf("%s %s: unnoticed", key, what)
			}
			store.Replace(key, []byte(was))
		}
	}
	if err := noticed(store); err != nil {
		t.Fatal(err)
	}
}

// lastOfHost says that a key is the newest entry of a host's journal.
func lastOfHost(keys []string, i int) bool {
	dir := keys[i][:strings.LastIndexByte(keys[i], '/')+1]
	return strings.HasPrefix(dir, "journal/") && (i+1 == len(keys) || !strings.HasPrefix(keys[i+1], dir))
}

// With the keys at hand, what was damaged is an error where it is used, never other content.
func TestDamageIsNeverContent(t *testing.T) {
	defer repo.Shrink()()
	w, store, sets := smallRepository(t)
	objects := snapshot(t, store)
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if leased(key) {
			continue
		}
		was := objects[key]
		for _, at := range []int{0, len(was) / 3, len(was) - 1} {
			b := []byte(was)
			b[at] ^= 0x40
			store.Replace(key, b)
			if err := damagedOrSame(w, sets); err != nil {
				t.Errorf("%s, byte %d: %v", key, at, err)
			}
		}
		store.Replace(key, []byte(was))
	}
}

// damagedOrSame reads all sets: each is what it was, or its damage is reported.
func damagedOrSame(w *world, sets []*backupsettest.Sample) error {
	r, err := w.try(noHost)
	if err != nil {
		return reported(err)
	}
	for _, s := range sets {
		set, err := r.Open(context.Background(), s.Manifest.ID)
		if errors.Is(err, backupset.ErrNotFound) && len(r.Problems()) > 0 {
			continue // its entry is among the problems
		}
		if err == nil {
			err = s.Same(context.Background(), set)
		}
		if err := reported(err); err != nil {
			return err
		}
	}
	return nil
}

// reported lets through what says that something is damaged.
func reported(err error) error {
	for _, ok := range []error{backupset.ErrDamaged, repo.ErrKey, repo.ErrNewer, backupset.ErrNewer, repo.ErrRolledBack} {
		if err == nil || errors.Is(err, ok) {
			return nil
		}
	}
	return fmt.Errorf("not said to be damaged: %w", err)
}

package repo_test

import (
	"strings"
	"testing"

	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// A bucket takes its time for each request. So a backup looks at the journals and packs only as often as it must: the
// journals when it opens the repository, under its lease and before it publishes; the packs under its lease, before
// and after it publishes. What it wrote itself it does not read again.
func TestFewCalls(t *testing.T) {
	defer repo.Shrink()()
	s := newScene(t)
	count := fault.New(s.store, nil, fault.Options{})
	if _, err := runBackup(t.Context(), s, count); err != nil {
		t.Fatal(err)
	}
	lists, wrote := map[string]int{}, map[string]bool{}
	for _, c := range count.Calls() {
		switch c.Op {
		case fault.List:
			lists[c.Key]++
		case fault.Put:
			wrote[c.Key] = true
		case fault.Get:
			if wrote[c.Key] && strings.HasPrefix(c.Key, journal.Dir) {
				t.Errorf("%s is read by who wrote it", c.Key)
			}
		}
	}
	// One more of the journals for the receipt.
	if lists[journal.Dir] > 4 || lists[pack.Dir] > 3 || len(lists) > 2 {
		t.Errorf("lists: %v", lists)
	}
}

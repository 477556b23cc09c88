package repo_test

import (
	"testing"

	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
)

// Two processes of a machine share what the machine has seen of a repository. One that has been at work for long does not
// take for a rollback what the other has seen since, nor does it forget that.
func TestMemoryOfTwo(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, newTemp())
	other := w.addHost("other", []string{repo.RoleBackup})
	m := &memory{}
	first := backupsettest.Full(1, 1, 10)
	mustPut(t, w.open(remembering(m)), first)

	long := w.open(remembering(m))
	if _, err := long.Verify(ctx, repo.VerifyOptions{Level: repo.LevelSealed}); err != nil {
		t.Fatal(err)
	}
	mustPut(t, w.open(asHost(other), remembering(m)), backupsettest.Full(2, 2, 10))
	seen := m.heads[other.Host]
	if seen.Seq == 0 {
		t.Fatal("the other has seen nothing")
	}
	if err := long.Record(ctx, repo.LevelSealed, 0, 0, []string{first.Manifest.ID}, nil); err != nil {
		t.Fatal(err)
	}
	if m.heads[other.Host] != seen || m.heads[w.host.Host].Seq == 0 {
		t.Errorf("remembered: %v, and before %v", m.heads, seen)
	}
	// And the next look is compared with all of it.
	if _, err := w.try(remembering(m)); err != nil {
		t.Error(err)
	}
}

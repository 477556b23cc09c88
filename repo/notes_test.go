package repo_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/fault"
)

// A note of what a run has stored is made beside the writing. It may outlive the file, and what the caller does with the
// file's context is no failure of the run.
func TestNoteOutlivesFile(t *testing.T) {
	defer repo.Shrink()()
	begun, closed := make(chan bool), make(chan bool)
	var once sync.Once
	var writing atomic.Bool
	w := newWorld(t, newTemp())
	slow := fault.New(w.blob, func(c fault.Call) fault.Act {
		if c.Op == fault.Put && strings.HasPrefix(c.Key, "meta/") && writing.Load() {
			once.Do(func() { close(begun) })
			<-closed
		}
		return fault.None
	}, fault.Options{})
	s := backupsettest.Full(1, 1, 0)
	database := make([]byte, 8<<20)
	_, _ = rand.Read(database) // never fails
	for i, f := range s.Manifest.Files {
		if f.Role == backupset.RoleDatabase {
			s.Manifest.Files = append(s.Manifest.Files[:i], s.Manifest.Files[i+1:]...)
			s.Add(f.Role, f.Name, database)
			break
		}
	}
	r := w.open(onBlob(slow), noIdentity)
	wr, err := r.Create(t.Context(), backupset.CreateOptions{CA: s.Manifest.CA})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := wr.Abort(); err != nil {
			t.Error(err)
		}
	}()
	writing.Store(true)
	for i, f := range s.Manifest.Files {
		ctx, cancel := context.WithCancel(t.Context())
		content := s.Content(f)
		fw, err := wr.CreateFile(ctx, f.Role, f.Name, int64(len(content)))
		if err == nil {
			_, err = fw.Write(content)
		}
		if err == nil {
			err = fw.Close()
		}
		if err != nil {
			t.Fatal(i, err)
		}
		cancel()
	}
	<-begun
	close(closed)
	if err := wr.Commit(t.Context(), s.Manifest); err != nil {
		t.Fatal(err)
	}
	entries := 0
	for _, c := range slow.Calls() {
		if c.Op == fault.Put && strings.HasPrefix(c.Key, "journal/") {
			entries++
		}
	}
	if entries != 3 {
		t.Errorf("%d entries: of the authority, a note and the set", entries)
	}
	restores(t, w.open(), s)
}

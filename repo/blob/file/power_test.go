package file

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/certkeep/certkeep/internal/durable/durabletest"
	"github.com/certkeep/certkeep/repo/blob"
)

// disk is a file system in memory whose power can be lost.
type disk struct {
	*durabletest.Disk
	mu *sync.Mutex
}

func (d disk) RenameNew(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.Stat(newname); err == nil {
		return &fs.PathError{Op: "rename", Path: newname, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.Rename(oldname, newname)
}

func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{durabletest.New(), new(sync.Mutex)}
	if err := errors.Join(d.Mkdir("/r", 0o700), d.Settle()); err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t *testing.T, d *durabletest.Disk) *Store {
	t.Helper()
	s, err := OpenFS(disk{d, new(sync.Mutex)}, "/r")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const key = "packs/ab/x"

var content = bytes.Repeat([]byte("content "), 100)

// is checks what a disk holds: the object, or nothing, and the one or the other if
// that must be. It reports which.
func is(t *testing.T, d *durabletest.Disk, when any, must, mustNot bool) bool {
	t.Helper()
	s := open(t, d)
	b, err := s.Get(context.Background(), key, 0, -1)
	there := err == nil
	switch {
	case there && !bytes.Equal(b, content):
		t.Errorf("%v: torn: %d bytes", when, len(b))
	case err != nil && !errors.Is(err, blob.ErrNotFound):
		t.Errorf("%v: %v", when, err)
	case must && !there:
		t.Errorf("%v: acknowledged and not there", when)
	case mustNot && there:
		t.Errorf("%v: deleted and there", when)
	}
	n := 0
	for i, err := range s.List(context.Background(), "") {
		if n++; err != nil || i.Key != key || i.Size != int64(len(content)) {
			t.Errorf("%v: listed %+v, %v", when, i, err)
		}
	}
	if (n == 1) != there {
		t.Errorf("%v: there: %v, and %d listed", when, there, n)
	}
	return there
}

// story puts, puts again from another process, and deletes, with a mark after each.
func story(t *testing.T, d disk) {
	t.Helper()
	ctx := t.Context()
	if _, err := open(t, d.Disk).Put(ctx, key, content, blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	d.Mark("put")
	s := open(t, d.Disk)
	if _, err := s.Put(ctx, key, []byte("other"), blob.PutOptions{}); !errors.Is(err, blob.ErrExists) {
		t.Fatal(err)
	}
	d.Mark("deleting")
	if err := s.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	d.Mark("deleted")
}

func TestPowerLoss(t *testing.T) {
	d := newDisk(t)
	story(t, d)
	var with, without int
	n := d.CrashStates(func(s durabletest.State) {
		if is(t, s.Disk(), s, s.Reached("put") && !s.Reached("deleting"), s.Reached("deleted")) {
			with++
		} else {
			without++
		}
	})
	if n < 20 || with == 0 || without == 0 {
		t.Errorf("%d states, with the object %d, without it %d", n, with, without)
	}
}

// TestUnsyncedDirectory: a directory that another process has just made, and not yet
// synced, is not relied on.
func TestUnsyncedDirectory(t *testing.T) {
	d := newDisk(t)
	if err := errors.Join(d.Mkdir("/r/packs", 0o700), d.Mkdir("/r/packs/ab", 0o700)); err != nil {
		t.Fatal(err)
	}
	story(t, d)
	d.CrashStates(func(s durabletest.State) {
		is(t, s.Disk(), s, s.Reached("put") && !s.Reached("deleting"), s.Reached("deleted"))
	})
}

// TestRepeated: a Put or Delete that failed in its last step and is made again is
// durable when it then says that nothing is left to do.
func TestRepeated(t *testing.T) {
	ctx := t.Context()
	dirSync := func(o durabletest.Op) bool {
		return o.Kind == durabletest.OpSyncDir && strings.HasSuffix(o.Name, "/ab")
	}
	d := newDisk(t)
	s := open(t, d.Disk)
	d.Inject(durabletest.Fault{Op: 1, Err: syscall.EIO, Only: dirSync})
	if _, err := s.Put(ctx, key, content, blob.PutOptions{}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("first put: %v", err)
	}
	if _, err := s.Put(ctx, key, content, blob.PutOptions{}); !errors.Is(err, blob.ErrExists) {
		t.Fatalf("second put: %v", err)
	}
	d.Mark("put")
	d.Inject(durabletest.Fault{Op: 1, Err: syscall.EIO, Only: dirSync})
	d.Mark("deleting")
	if err := s.Delete(ctx, key); !errors.Is(err, syscall.EIO) {
		t.Fatalf("first delete: %v", err)
	}
	if err := s.Delete(ctx, key); err != nil {
		t.Fatalf("second delete: %v", err)
	}
	d.Mark("deleted")
	d.CrashStates(func(s durabletest.State) {
		is(t, s.Disk(), s, s.Reached("put") && !s.Reached("deleting"), s.Reached("deleted"))
	})
}

// TestFaults fails each operation of a Put in turn.
func TestFaults(t *testing.T) {
	ctx := t.Context()
	for _, fault := range []durabletest.Fault{
		{Err: syscall.EIO},
		{Err: syscall.ENOSPC, Short: true},
		{Err: syscall.ENOSPC, Short: true, Sticky: true, Only: durabletest.NeedsSpace},
	} {
		for n := 1; ; n++ {
			d := newDisk(t)
			s := open(t, d.Disk)
			fault.Op = n
			d.Inject(fault)
			_, err := s.Put(ctx, key, content, blob.PutOptions{})
			if !d.Fired() {
				if err != nil || n < 4 {
					t.Fatalf("operation %d: %v", n, err)
				}
				break
			}
			d.Heal()
			if err != nil && !errors.Is(err, fault.Err) {
				t.Errorf("operation %d failed, and the error is %v", n, err)
			}
			is(t, d.Disk, err, err == nil, false)
			if left, _ := d.ReadDir("/r/" + asideDir); len(left) > 0 {
				t.Errorf("operation %d failed, left %v", n, left)
			}
			if _, err := s.Put(ctx, key, content, blob.PutOptions{}); err != nil && !errors.Is(err, blob.ErrExists) {
				t.Errorf("operation %d failed, and again: %v", n, err)
			}
			is(t, d.Disk, err, true, false)
		}
	}
}

// Package durabletest proves that files survive. It has a [Disk], a file system
// in memory (or a recorder in front of a real one) that logs every operation,
// makes chosen ones fail, and enumerates what a power loss may leave behind.
//
// # Power loss
//
//	d := durabletest.New()
//	… prepare, through d …
//	d.Settle()                       // what is there now is on disk
//	err := durable.WriteFile(d, "/a", data, 0o600)
//	d.Mark("acknowledged")
//	d.CrashStates(func(s durabletest.State) {
//		b, err := durable.ReadFile(s.Disk(), "/a", limit) // or s.Copy(t.TempDir())
//		if s.Reached("acknowledged") { … must be the new content … }
//		… else old or new, and nothing else; fail with s, which says what happened …
//	})
//
// For every prefix of the operations, the states are those that POSIX allows
// and that file systems have been seen to leave:
//
//   - What was synced is there: a file's bytes after its Sync, a directory's
//     entries after its SyncDir. One does not imply the other.
//   - Entries that were not synced (created, renamed, removed, each step of a
//     RemoveAll) may be there or not, in any combination while they are few,
//     and in a choice of combinations when they are many. A rename is atomic.
//   - Bytes that were not synced may be there, be missing, be torn (half of the
//     last write), read as zeros with the new length, or be there without those
//     written before them.
//   - After a Sync that failed the bytes may be gone, whatever a later Sync
//     says, as Linux does it.
//
// States that look alike are passed once for each set of marks reached, and
// the number for each prefix is bounded.
//
// # Failing operations
//
//	for n := 1; ; n++ {
//		d := durabletest.New()
//		… prepare …
//		d.Inject(durabletest.Fault{Op: n, Err: syscall.ENOSPC, Short: true})
//		err := … act through d …
//		if !d.Fired() {
//			break // every operation has failed once
//		}
//		… err must tell, and nothing must be left half-made …
//	}
package durabletest

import (
	"fmt"
	"io/fs"
)

// Kind is a kind of operation.
type Kind int

// The kinds of operations.
const (
	OpOpen Kind = iota // of a file that exists
	OpCreate
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpClose
	OpRename
	OpRemove
	OpRemoveAll
	OpMkdir
	OpReadDir
	OpStat
	OpSyncDir
	OpMark // not an operation; see Disk.Mark
)

var kindNames = [...]string{"open", "create", "read", "write", "truncate", "sync", "close", "rename", "remove",
	"removeall", "mkdir", "readdir", "stat", "syncdir", "mark"}

func (k Kind) String() string { return kindNames[k] }

// Op is one operation.
type Op struct {
	Kind    Kind
	Name    string // slash-separated; for a mark its text
	NewName string // of a rename
	Offset  int64  // of a write
	Data    []byte // of a write: what was really written
	Size    int64  // of a truncate
	Err     error  // what it returned

	file int // number of the open file
	perm fs.FileMode
}

func (o Op) String() string {
	s := o.Kind.String() + " " + o.Name
	switch o.Kind {
	case OpRename:
		s += " to " + o.NewName
	case OpWrite:
		s += fmt.Sprintf(" %d bytes at %d", len(o.Data), o.Offset)
	case OpTruncate:
		s += fmt.Sprintf(" to %d", o.Size)
	}
	if o.Err != nil {
		s += ": " + o.Err.Error()
	}
	return s
}

// Changes reports whether operations of this kind change anything.
func (k Kind) Changes() bool {
	switch k {
	case OpCreate, OpWrite, OpTruncate, OpSync, OpRename, OpRemove, OpRemoveAll, OpMkdir, OpSyncDir:
		return true
	}
	return false
}

// NeedsSpace picks, for Fault.Only, the operations that fail on a full disk.
func NeedsSpace(o Op) bool {
	switch o.Kind {
	case OpCreate, OpWrite, OpMkdir, OpSync:
		return true
	}
	return false
}

// Fault makes an operation fail.
type Fault struct {
	// Op counts the operations from Inject on, the next being 1; with Only, the
	// operations that it picks.
	Op   int
	Only func(Op) bool
	// Err is what the operation returns, in an *fs.PathError.
	Err error
	// Sticky fails all later operations (that Only picks) as well.
	Sticky bool
	// Short lets a failing write write half of its bytes.
	Short bool
}

package repo

import (
	"crypto/ed25519"
	"time"

	"github.com/certkeep/certkeep/repo/internal/pack"
)

// Shrink makes segments, packs and what is noted of unfinished runs small, so that a small set
// has many; and cleaning up wait for a store that hangs no longer than a test can.
func Shrink() (undo func()) {
	seg, target, partial, end := segmentSize, pack.Target, partialEvery, endTimeout
	segmentSize, pack.Target, partialEvery, endTimeout = 32<<10, 96<<10, 16, 200*time.Millisecond
	return func() { segmentSize, pack.Target, partialEvery, endTimeout = seg, target, partial, end }
}

// LeaseTime is how long a lease is good.
const LeaseTime = leaseTime

// PartialLife is how long what an interrupted run has stored is kept.
const PartialLife = partialLife

// RootKey is the key that the root signs with.
func (r *Repository) RootKey() ed25519.PrivateKey { return r.rootKey }

// SetChunkSize makes chunks another size, in bytes.
func SetChunkSize(n int) (undo func()) {
	old := chunkSize
	chunkSize = n
	return func() { chunkSize = old }
}

// SetReading sets how much of a file is opened before it is asked for, and how much of what was opened is kept, in
// bytes.
func SetReading(before int, kept int64) (undo func()) {
	oldBefore, oldKept := ahead, segmentCacheSize
	ahead, segmentCacheSize = before, kept
	return func() { ahead, segmentCacheSize = oldBefore, oldKept }
}

// InUse is how many segments readers of files have opened ahead, and MaxInUse how many may be.
func (r *Repository) InUse() int {
	r.inUse.mu.Lock()
	defer r.inUse.mu.Unlock()
	return len(r.inUse.n)
}

const MaxInUse = maxInUse

package durable

import (
	"errors"
	"syscall"
)

// startEvery is how many bytes are written before the kernel is asked to begin
// putting them on disk, so that the sync at the end finds little to do.
const startEvery = 8 << 20

type descriptor interface{ Fd() uintptr }

const (
	fallocKeepSize     = 1 // FALLOC_FL_KEEP_SIZE
	syncFileRangeWrite = 2 // SYNC_FILE_RANGE_WRITE
)

// Reserve allocates space for a file that will have that size, where that is possible: a full disk is told before hours
// of copying, and writing costs less.
func Reserve(f File, size int64) error {
	d, ok := f.(descriptor)
	if !ok || size <= 0 {
		return nil
	}
	for {
		err := syscall.Fallocate(int(d.Fd()), fallocKeepSize, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
			return err
		}
		return nil // done, or not possible here
	}
}

// StartWriting starts writing bytes from begun to end to the disk, if there are
// enough of them, and returns how far that has gone.
func StartWriting(f File, begun, end int64) int64 {
	if end-begun < startEvery {
		return begun
	}
	if d, ok := f.(descriptor); ok {
		_ = syscall.SyncFileRange(int(d.Fd()), begun, end-begun, syncFileRangeWrite) // a hint; Sync is what counts
	}
	return end
}

package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
)

// DamageError is returned by a job that cannot go on, because what it was given
// is not what was backed up. errors.Is(err, backupset.ErrDamaged) holds. Every
// finding names a file and what is wrong with it.
type DamageError struct {
	Findings []cadb.Finding
}

func (e *DamageError) Error() string {
	var first string
	n := 0
	for _, f := range e.Findings {
		if f.Severity != cadb.Damage {
			continue
		}
		if n++; n == 1 {
			first = f.String()
		}
	}
	switch n {
	case 0:
		return "the set is damaged"
	case 1:
		return first
	}
	return fmt.Sprintf("%s (and %d more findings of damage)", first, n-1)
}

// Unwrap makes the error a backupset.ErrDamaged.
func (e *DamageError) Unwrap() error { return backupset.ErrDamaged }

// damage is a DamageError of one finding.
func damage(code, file, where, format string, args ...any) *DamageError {
	return &DamageError{[]cadb.Finding{{Severity: cadb.Damage, Code: code, File: file, Where: where, Message: fmt.Sprintf(format, args...)}}}
}

// environmental reports whether an error tells of this machine, not of what was
// read: a canceled context, a disk that is full, a file that cannot be written.
func environmental(err error) bool {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	var sysErr *os.SyscallError
	var errno syscall.Errno
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &pathErr) || errors.As(err, &linkErr) || errors.As(err, &sysErr) || errors.As(err, &errno)
}

// setLabel is what findings call a set.
func setLabel(e backupset.Entry) string {
	if e.Name != "" {
		return e.Name
	}
	return e.Label()
}

// fileLabel is what findings call a file of a set.
func fileLabel(e backupset.Entry, f backupset.File) string {
	return setLabel(e) + "/" + f.Role.Dir() + "/" + f.Name
}

//go:build !windows

package durable

import (
	"errors"
	"os"
	"syscall"
)

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOTTY) {
		err = nil // network file systems that cannot sync a directory
	}
	return errors.Join(err, d.Close())
}

//go:build !windows

package certdll

import (
	"runtime"

	"github.com/certkeep/certkeep/certadm"
)

func notWindows(op, path string) error {
	return &certadm.Error{Op: op, Path: path, Code: certadm.ENotImpl, Err: ErrNotWindows,
		Hint: "this is " + runtime.GOOS + ": reach the authority across the network instead (adcs://HOST)"}
}

func systemLibrary() (procs, error) { return nil, notWindows(fnLoad, libraryName) }

// computerName is never used: nothing can be loaded.
func computerName() (string, error) { return "", notWindows(fnLoad, libraryName) }

type processToken struct{}

func (processToken) adjust(name string, _ bool) (bool, error) { return false, ErrNotWindows }

package file

import (
	"os"

	"golang.org/x/sys/windows"
)

// renameNew is MoveFileEx without MOVEFILE_REPLACE_EXISTING; MOVEFILE_WRITE_THROUGH
// stands in for syncing the directory.
func renameNew(oldname, newname string) error {
	from, err := windows.UTF16PtrFromString(oldname)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(newname)
	if err != nil {
		return err
	}
	if err := windows.MoveFileEx(from, to, windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

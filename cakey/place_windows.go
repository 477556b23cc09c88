package cakey

import (
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// privateACL gives full access to administrators, SYSTEM and the file's owner, and
// takes nothing over from the directory. OW, the owner's rights, also takes away what an
// owner otherwise has unasked.
const privateACL = "D:P(A;;FA;;;BA)(A;;FA;;;SY)(A;;FA;;;OW)"

// createPrivate creates a file with its access list: set afterwards, there would
// be a moment in which the directory's own applies.
func createPrivate(name string, _ int, _ fs.FileMode) (*os.File, error) {
	fail := func(err error) (*os.File, error) { return nil, &fs.PathError{Op: "create", Path: name, Err: err} }
	sd, err := windows.SecurityDescriptorFromString(privateACL)
	if err != nil {
		return fail(err)
	}
	sa := &windows.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(*sa))
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return fail(err)
	}
	h, err := windows.CreateFile(path, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, sa, windows.CREATE_NEW, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return fail(err)
	}
	return os.NewFile(uintptr(h), name), nil
}

// renameNew gives a file its name unless that is taken.
func renameNew(o, n string) error {
	from, err := windows.UTF16PtrFromString(o)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(n)
	if err != nil {
		return err
	}
	if err := windows.MoveFileEx(from, to, windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: o, New: n, Err: err}
	}
	return nil
}

package adcs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/certkeep/certkeep/internal/hint"
)

// onlyUs lets SYSTEM and the administrators do everything, nobody else anything,
// and nothing be inherited from above (SDDL).
const onlyUs = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"

// private makes the directory with its descriptor in one call, so that there is no
// moment in which others can use it. One that is there must belong to somebody who
// may do all this anyway, and let nobody else write: %ProgramData% lets every user
// make directories.
func (windowsSystem) private(dir string) error {
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return makePrivate(dir)
	}
	if err != nil {
		return err
	}
	if !fi.IsDir() || fi.Mode()&(fs.ModeSymlink|fs.ModeIrregular) != 0 {
		return fmt.Errorf("%s is no plain directory", dir)
	}
	return checkPrivate(dir)
}

func makePrivate(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString(onlyUs)
	if err != nil {
		return err
	}
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return err
	}
	sa := windows.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(sa))
	if err := windows.CreateDirectory(p, &sa); err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// writing are the rights by which a directory, or what is in it, can be changed.
const writing = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | fileDeleteChild | windows.DELETE | windows.WRITE_DAC | windows.WRITE_OWNER |
	windows.GENERIC_WRITE | windows.GENERIC_ALL

// Of winnt.h.
const (
	fileDeleteChild       = 0x40 // FILE_DELETE_CHILD
	accessAllowedCallback = 9    // ACCESS_ALLOWED_CALLBACK_ACE_TYPE
)

func checkPrivate(dir string) error {
	sd, err := windows.GetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return &os.PathError{Op: "GetNamedSecurityInfo", Path: dir, Err: err}
	}
	trusted, err := trustedSIDs()
	if err != nil {
		return err
	}
	isTrusted := func(sid *windows.SID) bool {
		for _, t := range trusted {
			if sid.Equals(t) {
				return true
			}
		}
		return false
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return &os.PathError{Op: "owner", Path: dir, Err: err}
	}
	const mend = "take the directory over and give it to the administrators alone, or delete it if nothing of yours is in it"
	if owner == nil || !isTrusted(owner) {
		return hint.With(fmt.Errorf("%s belongs to %v, and not to the administrators", dir, owner), mend)
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		return &os.PathError{Op: "DACL", Path: dir, Err: err}
	}
	if dacl == nil {
		return hint.With(fmt.Errorf("%s is for everybody to write", dir), mend)
	}
	for i := range uint32(dacl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(dacl, i, &ace); err != nil {
			return &os.PathError{Op: "GetAce", Path: dir, Err: err}
		}
		switch ace.Header.AceType {
		case windows.ACCESS_DENIED_ACE_TYPE:
			continue
		case windows.ACCESS_ALLOWED_ACE_TYPE, accessAllowedCallback: // they begin alike
		default:
			return hint.With(fmt.Errorf("%s has an access rule of type %d", dir, ace.Header.AceType), mend)
		}
		if ace.Mask&writing == 0 {
			continue
		}
		if sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart)); !isTrusted(sid) {
			return hint.With(fmt.Errorf("%s may be written to by %v", dir, sid), mend)
		}
	}
	return nil
}

// trustedSIDs are SYSTEM, the administrators, what stands for an object's owner, and
// the account of this process.
func trustedSIDs() (list []*windows.SID, err error) {
	for _, kind := range []windows.WELL_KNOWN_SID_TYPE{windows.WinLocalSystemSid, windows.WinBuiltinAdministratorsSid, windows.WinCreatorOwnerSid} {
		sid, err := windows.CreateWellKnownSid(kind)
		if err != nil {
			return nil, err
		}
		list = append(list, sid)
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	return append(list, user.User.Sid), nil
}

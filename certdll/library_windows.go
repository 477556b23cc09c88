package certdll

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"

	"github.com/certkeep/certkeep/certadm"
)

// required are the functions without which there is no backup. The restore
// functions may be absent.
var (
	required = []string{expOnline, expPrepare, expLocations, expNames, expOpen, expRead, expClose, expLogs,
		expTruncate, expDynamic, expEnd, expFree, expControl}
	optional = []string{expRestorePrepare, expRegister, expRegisterFile, expRegisterComplete, expRestoreEnd}
)

// systemLibrary loads Certadm.dll from the system directory and nowhere else: a
// file of that name beside the program, or in the directory that it was started
// in, is not to be found.
func systemLibrary() (procs, error) {
	return loadLibrary(libraryName, windows.LOAD_LIBRARY_SEARCH_SYSTEM32)
}

func loadLibrary(path string, flags uintptr) (procs, error) {
	h, err := windows.LoadLibraryEx(path, 0, flags)
	if err != nil {
		return nil, loadError(path, err)
	}
	l := &library{dll: &windows.DLL{Name: path, Handle: h}, procs: make(map[string]*windows.Proc)}
	for _, name := range required {
		if l.procs[name], err = l.dll.FindProc(name); err != nil {
			e := &certadm.Error{Op: fnProc, Path: name, Code: certadm.ErrorProcNotFound, Err: fmt.Errorf("%s has no such function", path),
				Hint: "this is not the Certadm.dll of Certificate Services"}
			return nil, errors.Join(e, l.release())
		}
	}
	for _, name := range optional {
		if p, err := l.dll.FindProc(name); err == nil {
			l.procs[name] = p
		}
	}
	return l, nil
}

func loadError(path string, err error) error {
	e := &certadm.Error{Op: fnLoad, Path: path, Code: codeOf(err), Err: err}
	if e.Code == certadm.ErrorModNotFound {
		e.Hint = "Certadm.dll comes with the role Active Directory Certificate Services, and with its management tools (Install-WindowsFeature RSAT-ADCS-Mgmt)"
	}
	return e
}

// computerName is this machine's DNS name, or its NetBIOS name where it has none.
func computerName() (string, error) {
	var last error
	for _, kind := range []uint32{windows.ComputerNamePhysicalDnsFullyQualified, windows.ComputerNameNetBIOS} {
		n := uint32(256)
		buf := make([]uint16, n)
		if last = windows.GetComputerNameEx(kind, &buf[0], &n); last == nil && n > 0 {
			return windows.UTF16ToString(buf[:n]), nil
		}
	}
	return "", &certadm.Error{Op: "GetComputerNameEx", Code: codeOf(last), Err: last}
}

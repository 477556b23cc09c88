package certdll

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/certkeep/certkeep/certadm"
)

// AdjustTokenPrivileges returns success when the account does not hold the
// privilege; only the last error tells, which the function of x/sys drops then.
var adjustTokenPrivileges = windows.NewLazySystemDLL("advapi32.dll").NewProc("AdjustTokenPrivileges")

// processToken is the token of this process.
type processToken struct{}

func (processToken) adjust(name string, on bool) (was bool, err error) {
	var t windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &t); err != nil {
		return false, err
	}
	defer t.Close()
	return token{t}.adjust(name, on)
}

// token is any token that is open for adjusting and querying.
type token struct{ windows.Token }

func (t token) adjust(name string, on bool) (was bool, err error) {
	var attributes uint32
	if on {
		attributes = windows.SE_PRIVILEGE_ENABLED
	}
	return t.set(name, attributes)
}

// set gives a privilege these attributes. PreviousState has the privilege only if
// the call changed it.
func (t token) set(name string, attributes uint32) (was bool, err error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return false, err
	}
	next := windows.Tokenprivileges{PrivilegeCount: 1}
	if err := windows.LookupPrivilegeValue(nil, p, &next.Privileges[0].Luid); err != nil {
		return false, err
	}
	next.Privileges[0].Attributes = attributes
	var before windows.Tokenprivileges
	n := uint32(unsafe.Sizeof(before))
	ok, _, last := adjustTokenPrivileges.Call(uintptr(t.Token), 0, uintptr(unsafe.Pointer(&next)), uintptr(n),
		uintptr(unsafe.Pointer(&before)), uintptr(unsafe.Pointer(&n)))
	switch errno, _ := last.(syscall.Errno); {
	case errno == windows.ERROR_NOT_ALL_ASSIGNED:
		return false, certadm.ErrorNotAllAssigned
	case ok == 0:
		return false, last
	}
	if before.PrivilegeCount == 0 {
		return attributes&windows.SE_PRIVILEGE_ENABLED != 0, nil
	}
	return before.Privileges[0].Attributes&windows.SE_PRIVILEGE_ENABLED != 0, nil
}

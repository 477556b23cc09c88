package certdll

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/certkeep/certkeep/certadm"
)

// ErrNotWindows is what Open and EnablePrivileges wrap on other systems.
var ErrNotWindows = fmt.Errorf("there is no Certadm.dll outside Windows: %w", errors.ErrUnsupported)

// What errors name besides the functions of Certadm.dll.
const (
	fnLoad     = "LoadLibrary"
	fnProc     = "GetProcAddress"
	fnFree     = "FreeLibrary"
	fnIdentity = "Identity"
)

// result makes an error of what a function returned: S_OK is success, as the API's
// pages say, and nothing else is. A code without the failure bit is a Win32 error.
func result(hr certadm.HRESULT) error {
	if hr == certadm.SOK {
		return nil
	}
	return certadm.FromWin32(uint32(hr))
}

// codeOf is the HRESULT of an error, also of one that Windows returned.
func codeOf(err error) certadm.HRESULT {
	if errno := syscall.Errno(0); errors.As(err, &errno) && errno != 0 {
		return certadm.FromWin32(uint32(errno))
	}
	return certadm.CodeOf(err)
}

// badAnswer is what the library should never say.
type badAnswer struct{ reason string }

func (e *badAnswer) Error() string { return e.reason }
func (e *badAnswer) Unwrap() error { return certadm.ErrorInvalidData }

func bad(format string, args ...any) error { return &badAnswer{fmt.Sprintf(format, args...)} }

// fail makes the *certadm.Error of a failed call.
func fail(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*certadm.Error)(nil); errors.As(err, &e) {
		return err
	}
	e := &certadm.Error{Op: op, Path: path}
	var code certadm.HRESULT
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.Code, e.Err = certadm.ErrorCancelled, err
	case errors.As(err, &code):
		if e.Code = code; err != error(code) {
			e.Err = err
		}
	default:
		e.Code, e.Err = certadm.EFail, err
	}
	e.Hint = hint(op, e.Code)
	return e
}

// local is a failure that the library was not asked about.
func local(op, path string, code certadm.HRESULT, format string, args ...any) error {
	return &certadm.Error{Op: op, Path: path, Code: code, Err: fmt.Errorf(format, args...), Hint: hint(op, code)}
}

func invalidHandle(op string) error {
	return local(op, "", certadm.HrInvalidHandle, "the session has ended")
}

func outOfSequence(op, path, why string) error {
	return local(op, path, certadm.EUnexpected, "%s", why)
}

// hint is what the user can do about a code.
func hint(op string, code certadm.HRESULT) string {
	switch code {
	case certadm.EAccessDenied, certadm.HrAccessDenied, certadm.HrPermissionDenied, certadm.ErrorPrivilegeNotHeld:
		return deniedHint(op)
	case certadm.RPCServerUnavailable, certadm.HrCouldNotConnect:
		return "Certificate Services does not answer: look whether it runs (sc query CertSvc), and whether the server's name is right"
	case certadm.ErrorSharingViolation:
		if op == certadm.FnRestorePrepare || op == certadm.FnRestoreRegister || op == certadm.FnRestoreRegisterThroughFile {
			return "stop Certificate Services first (net stop CertSvc)"
		}
	}
	return certadm.HintFor(code)
}

func deniedHint(op string) string {
	switch op {
	case certadm.FnServerControl:
		return "only administrators of the CA may stop it; run this from an elevated prompt"
	case certadm.FnRestorePrepare, certadm.FnRestoreRegisterThroughFile, certadm.FnRestoreRegisterComplete, certadm.FnRestoreEnd:
		return `run this from an elevated prompt, as an account with the user right "Restore files and directories" (SeRestorePrivilege), as members of Backup Operators have`
	case certadm.FnRestoreRegister:
		return "this call is for administrators of the machine; registering through a file needs the restore privilege only"
	}
	return `run this on the CA from an elevated prompt, as an account with the CA's backup role: the user right "Back up files and directories" (SeBackupPrivilege), as members of Backup Operators have; ` +
		`from another machine a stock CA refuses backups (certutil -setreg CA\InterfaceFlags -IF_NOREMOTEICERTADMINBACKUP lets them in)`
}

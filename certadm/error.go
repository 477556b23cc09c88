package certadm

import (
	"errors"
	"fmt"
)

// Error is the failure of one call of the procedure.
type Error struct {
	Op   string  // the Certadm.dll function, without its W: "CertSrvBackupPrepare"
	Path string  // the file or authority concerned, if any
	Code HRESULT // never SOK
	Err  error   // the cause, if there is one to add
	Hint string  // what the user can do about it, if anything
}

func (e *Error) Error() string {
	s := e.Op
	if e.Path != "" {
		s += " " + e.Path
	}
	if e.Err != nil {
		return fmt.Sprintf("%s: %v: %v", s, e.Code, e.Err)
	}
	return fmt.Sprintf("%s: %v", s, e.Code)
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, certadm.HrBackupInProgress) work.
func (e *Error) Is(target error) bool {
	code, ok := target.(HRESULT)
	return ok && code == e.Code
}

// CodeOf returns the HRESULT that err stands for: SOK for nil, and EFail for an
// error that carries no code.
func CodeOf(err error) HRESULT {
	if err == nil {
		return SOK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	var h HRESULT
	if errors.As(err, &h) {
		return h
	}
	return EFail
}

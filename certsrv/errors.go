package certsrv

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/sqlitelog"
)

// Errors of the authority's own calls, for errors.Is. A call that is not
// allowed fails with [account.ErrDenied], a request that breaks a rule with
// [authority.ErrRequest].
var (
	// ErrNoAuthority says that a directory holds no authority: it has no
	// config.json.
	ErrNoAuthority = errors.New("no authority here")
	// ErrStopped says that the service does not run, or is stopping.
	ErrStopped = errors.New("the certification authority is not running")
	// ErrSuspended says that the service is suspended.
	ErrSuspended = errors.New("the certification authority is suspended")
	// ErrNotFound says that there is no such request or certificate.
	ErrNotFound = errors.New("not in the database")
	// ErrState says that the request, or certificate, is not in a state in which
	// this can be done; the message says in which one it is.
	ErrState = errors.New("not possible in this state")
	// ErrAlreadyRevoked says that a certificate was revoked before; a hold can be
	// turned into a revocation, other revocations are for good.
	ErrAlreadyRevoked = errors.New("already revoked")
	// ErrGap says that certificates which were revoked before a restore are not
	// known to be revoked now, so that no CRL may be published.
	ErrGap = errors.New("certificates that were revoked before the restore are not revoked here")
	// ErrDiskFull says that there is no room left. Nothing was changed, and the
	// call can be repeated when there is.
	ErrDiskFull = errors.New("no space left for the database or its log")
)

// newError makes the error of a Certadm call.
func newError(op string, code certadm.HRESULT, err error, hint string) error {
	return &certadm.Error{Op: op, Code: code, Err: err, Hint: hint}
}

func pathError(op, path string, code certadm.HRESULT, err error, hint string) error {
	return &certadm.Error{Op: op, Path: path, Code: code, Err: err, Hint: hint}
}

// outOfSequence is the answer to a call that the session's state does not allow
// (MS-CSRA's ERROR_UNEXPECTED_ERROR).
func outOfSequence(op, why string) error {
	return newError(op, certadm.EUnexpected, errors.New(why), "")
}

func invalidHandle(op string) error {
	return newError(op, certadm.HrInvalidHandle, errors.New("this session has ended"), "")
}

func notActive(op string) error {
	return newError(op, certadm.ErrorServiceNotActive, ErrStopped, "start the service")
}

// denied turns a refusal of package account into the API's.
func denied(op string, err error, hint string) error {
	return newError(op, certadm.EAccessDenied, err, hint)
}

// check applies the rule table.
func checkAPI(op string, m account.Method, p account.Principal) error {
	if err := account.Check(m, p); err != nil {
		return denied(op, err, "")
	}
	return nil
}

// wrapCode gives an error of the engine its code, unless it has one.
func wrapCode(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *certadm.Error
	if errors.As(err, &e) {
		return err
	}
	code := codeOf(err)
	hint := ""
	if code == certadm.ErrorDiskFull {
		hint = "make room on the volume; nothing was changed"
	}
	return newError(op, code, err, hint)
}

var logCodes = []struct {
	err  error
	code certadm.HRESULT
}{
	{sqlitelog.ErrLogForeign, certadm.HrBadLogSignature},
	{sqlitelog.ErrLogMissing, certadm.HrMissingLogFile},
	{sqlitelog.ErrNotFound, certadm.HrLogFileNotFound},
	{sqlitelog.ErrLogOrder, certadm.HrGivenLogFileIsNotContiguous},
	{sqlitelog.ErrLogDamaged, certadm.HrLogFileCorrupt},
	{sqlitelog.ErrLogTruncated, certadm.HrLogFileCorrupt},
	{sqlitelog.ErrNotLog, certadm.HrBadLogVersion},
	{sqlitelog.ErrTarget, certadm.HrRestoreLogTooLow},
	{sqlitelog.ErrLogLost, certadm.HrMissingLogFile},
	{sqlitelog.ErrCopyActive, certadm.HrBackupInProgress},
	{sqlitelog.ErrLocked, certadm.ErrorSharingViolation},
	{sqlitelog.ErrClosed, certadm.ErrorServiceNotActive},
	{ErrStopped, certadm.ErrorServiceNotActive},
	{ErrDiskFull, certadm.ErrorDiskFull},
	{account.ErrDenied, certadm.EAccessDenied},
	{fs.ErrNotExist, certadm.ErrorFileNotFound},
}

func codeOf(err error) certadm.HRESULT {
	var h certadm.HRESULT
	if errors.As(err, &h) {
		return h
	}
	if isDiskFull(err) {
		return certadm.ErrorDiskFull
	}
	for _, c := range logCodes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return certadm.EFail
}

// isDiskFull recognizes what the operating system and SQLite say when there is
// no room. SQLite's own code is matched by its text so that this package need
// not know the driver's error type.
func isDiskFull(err error) bool {
	if err == nil {
		return false
	}
	return errors.Is(err, ErrDiskFull) || errors.Is(err, syscall.ENOSPC) ||
		strings.Contains(err.Error(), "database or disk is full")
}

// storeError describes a failed write to the database.
func storeError(what string, err error) error {
	if isDiskFull(err) && !errors.Is(err, ErrDiskFull) {
		return fmt.Errorf("%s: %w (%w)", what, ErrDiskFull, err)
	}
	if errors.Is(err, sqlitelog.ErrClosed) {
		return fmt.Errorf("%s: %w", what, ErrStopped)
	}
	return fmt.Errorf("%s: %w", what, err)
}

package csra

import (
	"context"
	"errors"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// remoteFault is a fault with which the server answered. It wraps its HRESULT.
type remoteFault struct {
	code  certadm.HRESULT
	fault error
}

func (e *remoteFault) Error() string   { return e.fault.Error() }
func (e *remoteFault) Unwrap() []error { return []error{e.code, e.fault} }

// faultCode is the HRESULT that Windows makes of a fault's status: an HRESULT
// that travelled as a fault, a Win32 error, or one of DCE's own numbers (C706
// appendix E).
func faultCode(status uint32) certadm.HRESULT {
	switch status {
	case 0x1c010002:
		return certadm.RPCNoSuchMethod
	case 0x1c010003:
		return certadm.RPCUnknownInterface
	case 0x1c01000b:
		return certadm.RPCProtocolError
	case 0x1c010014:
		return certadm.RPCServerTooBusy
	}
	switch {
	case status == 0:
		return certadm.RPCProtocolError
	case status&0x80000000 != 0 || status <= 0xFFFF:
		return certadm.FromWin32(status)
	}
	return certadm.RPCCallFailed
}

// fail makes the *certadm.Error of a failed call.
func fail(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*certadm.Error)(nil); errors.As(err, &e) {
		return err
	}
	e := &certadm.Error{Op: op, Path: path}
	var (
		code  certadm.HRESULT
		bad   *malformed
		stub  *ndr.Error
		fault *remoteFault
	)
	switch {
	case errors.Is(err, dcerpc.ErrClosed): // by an earlier call, whatever became of that
		e.Code, e.Err = certadm.RPCServerUnavailable, err
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.Code, e.Err = certadm.ErrorCancelled, err
	case errors.As(err, &fault):
		e.Code, e.Err = fault.code, fault.fault
	case errors.As(err, &code):
		if e.Code = code; err != error(code) {
			e.Err = err
		}
	case errors.As(err, &bad) || errors.As(err, &stub):
		e.Code, e.Err = certadm.RPCBadStubData, err
	case errors.Is(err, gss.ErrIntegrity):
		e.Code, e.Err = certadm.RPCSecurityPackage, err
	case errors.Is(err, dcerpc.ErrProtocol):
		e.Code, e.Err = certadm.RPCProtocolError, err
	default:
		e.Code, e.Err = certadm.RPCServerUnavailable, err
	}
	e.Hint = hint(op, e.Code)
	return e
}

// local is a failure that the server was not asked about.
func local(op, path string, code certadm.HRESULT, why string) error {
	return &certadm.Error{Op: op, Path: path, Code: code, Err: errors.New(why), Hint: hint(op, code)}
}

func invalidHandle(op string) error {
	return local(op, "", certadm.HrInvalidHandle, "the session has ended")
}

func outOfSequence(op, path, why string) error { return local(op, path, certadm.EUnexpected, why) }

// hint is what the user can do about a code.
func hint(op string, code certadm.HRESULT) string {
	switch code {
	case certadm.EAccessDenied:
		return deniedHint(op)
	case certadm.EInvalidArg:
		if op == certadm.FnBackupPrepare || op == certadm.FnIsServerOnline || op == certadm.FnServerControl {
			return "if the server wants its authority's name, give the CA's common name: adcs://HOST/CA NAME"
		}
	case certadm.RPCServerUnavailable:
		return "the connection is lost: connect anew and start over; the server ends the session, and truncates nothing"
	case certadm.RPCServerTooBusy:
		return "the server is at its limit of connections or logons: try again later"
	}
	return certadm.HintFor(code)
}

func deniedHint(op string) string {
	switch op {
	case certadm.FnBackupPrepare, certadm.FnBackupEnd, certadm.FnBackupGetDatabaseNames, certadm.FnBackupGetBackupLogs,
		certadm.FnBackupOpenFile, certadm.FnBackupRead, certadm.FnBackupTruncateLogs,
		certadm.FnRestoreGetDatabaseLocations, certadm.FnBackupGetDynamicFileList:
		return `a stock AD CS refuses remote backups: on the CA run certutil -setreg CA\InterfaceFlags -IF_NOREMOTEICERTADMINBACKUP and restart CertSvc; ` +
			`the account needs Read on the CA and the right to back up files on its machine (SeBackupPrivilege, as members of Backup Operators have)`
	case certadm.FnServerControl:
		return "only administrators of the CA may stop it"
	}
	return "the account lacks the right on the CA"
}

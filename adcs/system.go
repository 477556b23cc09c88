package adcs

import (
	"context"
	"time"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/certadm"
)

// system is the part of Windows that the package needs. Errors of Windows carry
// their number as [certadm.CodeOf] has it; what does not exist is also
// fs.ErrNotExist.
type system interface {
	hive
	services

	// expand replaces environment variables, as in %SystemRoot%. Those that name
	// places of the machine are the machine's own, whatever this process was given.
	expand(s string) (string, error)

	// machine returns the names of this machine.
	machine() (machineNames, error)

	// certificates returns the certificates of a store of the local machine, in
	// DER.
	certificates(store string) ([][]byte, error)

	// native is the path under which this process finds a file of which path is
	// the Windows name.
	native(path string) string

	// sameVolume reports whether files can be renamed between two directories.
	sameVolume(a, b string) (bool, error)

	// private makes a directory, and its parents, that nobody but SYSTEM and
	// administrators can use. One that somebody else made is refused.
	private(dir string) error

	// inUse reports whether an error says that another program has a file open.
	inUse(err error) bool

	// wait returns nil after d, or the error of ctx.
	wait(ctx context.Context, d time.Duration) error
}

// hive is HKEY_LOCAL_MACHINE. Keys are paths below it.
type hive interface {
	value(key, name string) (regfile.Value, error)
	values(key string) ([]regfile.Value, error)
	subkeys(key string) ([]string, error)
	set(key string, v regfile.Value) error
	remove(key, name string) error
	flush(key string) error // to disk
}

// services is the service control manager.
type services interface {
	query(name string) (serviceStatus, error)
	start(name string) error
	stop(name string) error
	dependents(name string) ([]string, error) // those that are not stopped
}

// serviceStatus is what of SERVICE_STATUS is needed.
type serviceStatus struct {
	state    serviceState
	exit     uint32        // dwWin32ExitCode
	specific uint32        // dwServiceSpecificExitCode
	hint     time.Duration // dwWaitHint
}

// serviceState is dwCurrentState.
type serviceState uint32

const (
	stopped         serviceState = 1
	startPending    serviceState = 2
	stopPending     serviceState = 3
	running         serviceState = 4
	continuePending serviceState = 5
	pausePending    serviceState = 6
	paused          serviceState = 7
)

// machineNames are the names by which UNC names call this machine.
type machineNames struct {
	netBIOS   string
	host      string // DNS host name, without its domain
	qualified string // with it
	server    string // by which its clients know the authority (CAServerName)
}

// Numbers of winerror.h.
const (
	errorAccessDenied        = 5    // ERROR_ACCESS_DENIED
	errorServiceDependents   = 1051 // ERROR_DEPENDENT_SERVICES_RUNNING
	errorServiceRunning      = 1056 // ERROR_SERVICE_ALREADY_RUNNING
	errorServiceDisabled     = 1058 // ERROR_SERVICE_DISABLED
	errorServiceDoesNotExist = 1060 // ERROR_SERVICE_DOES_NOT_EXIST
	errorServiceCannotAccept = 1061 // ERROR_SERVICE_CANNOT_ACCEPT_CTRL
	errorServiceNotActive    = 1062 // ERROR_SERVICE_NOT_ACTIVE
	errorServiceSpecific     = 1066 // ERROR_SERVICE_SPECIFIC_ERROR

	errorCallNotExecuted       = 1727 // RPC_S_CALL_FAILED_DNE
	errorEndpointNotRegistered = 1753 // EPT_S_NOT_REGISTERED
)

const coServerExecFailure certadm.HRESULT = 0x80080005 // CO_E_SERVER_EXEC_FAILURE

// win32 is the number of an error of Windows, 0 if it is none.
func win32(err error) uint32 {
	n, _ := certadm.CodeOf(err).Win32()
	return n
}

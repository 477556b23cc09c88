package certdll

import "github.com/certkeep/certkeep/certadm"

// The names under which Certadm.dll exports its functions (certbcli.h).
const (
	expOnline           = "CertSrvIsServerOnlineW"
	expPrepare          = "CertSrvBackupPrepareW"
	expLocations        = "CertSrvRestoreGetDatabaseLocationsW"
	expNames            = "CertSrvBackupGetDatabaseNamesW"
	expOpen             = "CertSrvBackupOpenFileW"
	expRead             = "CertSrvBackupRead"
	expClose            = "CertSrvBackupClose"
	expLogs             = "CertSrvBackupGetBackupLogsW"
	expTruncate         = "CertSrvBackupTruncateLogs"
	expDynamic          = "CertSrvBackupGetDynamicFileListW"
	expEnd              = "CertSrvBackupEnd"
	expFree             = "CertSrvBackupFree"
	expControl          = "CertSrvServerControlW"
	expRestorePrepare   = "CertSrvRestorePrepareW"
	expRegister         = "CertSrvRestoreRegisterW"
	expRegisterFile     = "CertSrvRestoreRegisterThroughFile"
	expRegisterComplete = "CertSrvRestoreRegisterComplete"
	expRestoreEnd       = "CertSrvRestoreEnd"
)

// handle is an HCSBC. It is the library's, and means nothing here.
type handle uintptr

// buffer is the address of memory that the library allocated; 0 is NULL.
type buffer uintptr

// procs are the functions of Certadm.dll, one method each, without any rule of
// their own: what is passed is passed on, and what comes back is not judged.
// Strings have no NUL and are UTF-8. An empty string is NULL where a Registration
// says so.
//
// The results beside an HRESULT are what the function left in its out parameters,
// which are zero before the call.
type procs interface {
	isServerOnline(server string) (online bool, hr certadm.HRESULT)
	backupPrepare(server string, grbitJet, flags uint32) (handle, certadm.HRESULT)
	databaseLocations(h handle) (list buffer, size uint32, hr certadm.HRESULT)
	databaseNames(h handle) (list buffer, size uint32, hr certadm.HRESULT)
	openFile(h handle, name string, readHint uint32) (size int64, hr certadm.HRESULT)
	read(h handle, p []byte) (n uint32, hr certadm.HRESULT)
	closeFile(h handle) certadm.HRESULT
	backupLogs(h handle) (list buffer, size uint32, hr certadm.HRESULT)
	truncateLogs(h handle) certadm.HRESULT
	dynamicFiles(h handle) (list buffer, size uint32, hr certadm.HRESULT)
	backupEnd(h handle) certadm.HRESULT
	free(b buffer)
	serverControl(server string, flags uint32) (out buffer, size uint32, hr certadm.HRESULT)

	restorePrepare(server string, flags uint32) (handle, certadm.HRESULT)
	restoreRegister(h handle, r certadm.Registration) certadm.HRESULT
	restoreRegisterThroughFile(h handle, r certadm.Registration) certadm.HRESULT
	restoreRegisterComplete(h handle, state certadm.HRESULT) certadm.HRESULT
	restoreEnd(h handle) certadm.HRESULT

	// has tells which of the optional functions there are, by exported name.
	has(export string) bool
	// contents copies n bytes from memory that the library allocated.
	contents(b buffer, n uint32) []byte
	// release is FreeLibrary. No function is called after it.
	release() error
}

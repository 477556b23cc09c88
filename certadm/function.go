package certadm

// The functions of Certadm.dll, by their names without W: [Error.Op], and what a
// trace of the procedure shows.
const (
	FnIsServerOnline = "CertSrvIsServerOnline"
	FnServerControl  = "CertSrvServerControl"

	FnBackupPrepare               = "CertSrvBackupPrepare"
	FnRestoreGetDatabaseLocations = "CertSrvRestoreGetDatabaseLocations"
	FnBackupGetDatabaseNames      = "CertSrvBackupGetDatabaseNames"
	FnBackupOpenFile              = "CertSrvBackupOpenFile"
	FnBackupRead                  = "CertSrvBackupRead"
	FnBackupClose                 = "CertSrvBackupClose"
	FnBackupGetBackupLogs         = "CertSrvBackupGetBackupLogs"
	FnBackupTruncateLogs          = "CertSrvBackupTruncateLogs"
	FnBackupGetDynamicFileList    = "CertSrvBackupGetDynamicFileList"
	FnBackupEnd                   = "CertSrvBackupEnd"

	FnRestorePrepare             = "CertSrvRestorePrepare"
	FnRestoreRegister            = "CertSrvRestoreRegister"
	FnRestoreRegisterThroughFile = "CertSrvRestoreRegisterThroughFile"
	FnRestoreRegisterComplete    = "CertSrvRestoreRegisterComplete"
	FnRestoreEnd                 = "CertSrvRestoreEnd"
)

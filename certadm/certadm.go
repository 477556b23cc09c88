// Package certadm is the Certificate Services backup and restore interface
// (Certadm.dll, certbcli.h) as Go interfaces.
//
// A [Service] is one client's connection to one certification authority. The
// same interface is served by the embedded authority in this process, by the
// Certadm.dll of a Windows machine, and by an authority across the network;
// package certadmtest holds the suite that each of them passes.
//
// # A backup
//
// The sixteen steps of Microsoft's page "Backing Up Certificate Services" map
// onto this package as follows:
//
//	IsServerOnline            the service must answer (true, nil)
//	BackupPrepare             starts the session, and yields a Backup
//	Backup.DatabaseLocations  the restore map, to be kept with the set
//	Backup.DatabaseNames      full backups only; each name is opened, read
//	                          to its end and closed
//	Backup.Logs               after the databases: the copy of a live
//	                          database is fuzzy, and the logs cover it
//	Backup.DynamicFiles       names only; the files are copied by other means
//	Backup.TruncateLogs       optional, and only when everything is safe
//	Backup.End                always, once, also after a failure
//
// # A restore
//
// The service is stopped, the files are put in place, [Restore.Register] and
// [Restore.RegisterComplete] leave an instruction, and the service recovers
// when it starts. The full set is registered first; incremental ones follow.
// A new full backup is due afterwards.
//
// # Units
//
// Sizes are bytes. Log generations are the hexadecimal digits of a log's file
// name. Paths in lists are UNC names in the server's own name.
//
// The package is pure: it opens no file and no connection.
package certadm

import (
	"context"
	"io"
)

// BackupType is the dwBackupFlags argument of CertSrvBackupPrepareW.
type BackupType uint32

const (
	BackupFull     BackupType = 1 // CSBACKUP_TYPE_FULL: databases and logs
	BackupLogsOnly BackupType = 2 // CSBACKUP_TYPE_LOGS_ONLY: an incremental backup
	BackupTypeMask BackupType = 3 // CSBACKUP_TYPE_MASK
)

// RestoreType is the dwRestoreFlags argument of CertSrvRestorePrepareW.
type RestoreType uint32

const (
	RestoreFull     RestoreType = 1 // CSRESTORE_TYPE_FULL, the only documented one
	RestoreOnline   RestoreType = 2 // CSRESTORE_TYPE_ONLINE, undocumented and refused
	RestoreCatchup  RestoreType = 4 // CSRESTORE_TYPE_CATCHUP, undocumented and refused
	RestoreTypeMask RestoreType = 5 // CSRESTORE_TYPE_MASK; it leaves ONLINE out
)

// Control is the dwControlFlags argument of CertSrvServerControlW.
type Control uint32

const (
	ControlShutdown Control = 1 // CSCONTROL_SHUTDOWN
	ControlSuspend  Control = 2 // CSCONTROL_SUSPEND: succeeds without effect
	ControlRestart  Control = 3 // CSCONTROL_RESTART: succeeds without effect
)

// MaxLogGeneration is the highest log generation: ESE counts in a signed number of
// 32 bits, which eight hexadecimal digits name, see [ParseLogGeneration]. An
// authority whose names end at five digits refuses more than 0xFFFFF itself.
const MaxLogGeneration = 0x7FFFFFFF

// Service is one client's connection to one certification authority. A second
// Service on the same authority is a second client: there is at most one
// backup at a time in an authority, whoever holds it.
//
// A Service may be used by several goroutines. Every failure is an [*Error].
type Service interface {
	// IsServerOnline is CertSrvIsServerOnlineW. (true, nil) says that the
	// service runs and is ready, (false, nil) that it can be reached but is
	// suspended. A stopped or unreachable service is an error, not (false, nil).
	IsServerOnline(ctx context.Context) (bool, error)

	// BackupPrepare is CertSrvBackupPrepareW. It needs the backup privilege
	// (the operator role) and a running service. Types other than BackupFull
	// and BackupLogsOnly are refused with [EInvalidArg]. An incremental backup
	// without an earlier full one fails with [HrMissingFullBackup]; while
	// another client's backup runs, the answer is [HrBackupInProgress]; a second
	// call of the same client before End is out of sequence. A failed call
	// leaves any running session as it was.
	//
	// Every success must be paired with [Backup.End].
	BackupPrepare(ctx context.Context, t BackupType) (Backup, error)

	// RestorePrepare is CertSrvRestorePrepareW. It needs the restore privilege
	// and a service that is stopped: while it runs the answer is
	// [ErrorSharingViolation]. Types other than RestoreFull are refused.
	//
	// Every success must be paired with [Restore.End].
	RestorePrepare(ctx context.Context, t RestoreType) (Restore, error)

	// ServerControl is CertSrvServerControlW. ControlShutdown stops the
	// service; ControlSuspend and ControlRestart succeed without effect; any
	// other value is [EInvalidArg]. The output is empty today.
	ServerControl(ctx context.Context, c Control) ([]byte, error)

	// Close ends the connection, as FreeLibrary does, and with it any session
	// that is still open; nothing is truncated then.
	Close() error
}

// Backup is a backup session, the HCSBC of a successful CertSrvBackupPrepareW.
// Its calls are made one at a time; a call out of sequence fails and changes
// nothing. After End every call fails with [HrInvalidHandle].
type Backup interface {
	// DatabaseLocations is CertSrvRestoreGetDatabaseLocationsW: one
	// FileDatabase, one FileLogDir and one FileCheckpointDir entry, the restore
	// map. Its encoding is what certbkxp.dat holds. It may be called at any time
	// in the session.
	DatabaseLocations(ctx context.Context) (FileList, error)

	// DatabaseNames is CertSrvBackupGetDatabaseNamesW: the database files, each
	// tagged FileDatabase. In an incremental session it fails with
	// [HrInvalidBackupSequence].
	DatabaseNames(ctx context.Context) (FileList, error)

	// OpenFile is CertSrvBackupOpenFileW. The name is a list entry's Path,
	// without its tag; any other name is refused. One file is open at a time.
	//
	// readHint sizes the read buffer, in bytes; only the first one in a session
	// counts, see [ReadBufferSize]. The context governs the open file, reads
	// included, until its Close.
	OpenFile(ctx context.Context, name string, readHint int) (BackupFile, error)

	// Logs is CertSrvBackupGetBackupLogsW: the transaction logs, each tagged
	// FileLog. In a full backup it is called after every database was read,
	// because the logs must cover the copy.
	Logs(ctx context.Context) (FileList, error)

	// TruncateLogs is CertSrvBackupTruncateLogs. It fails, and deletes nothing,
	// while a file is open or before every listed file was read to its end and
	// closed. Logs that the server still needs stay. Afterwards no database
	// file can be opened in this session.
	TruncateLogs(ctx context.Context) error

	// DynamicFiles is CertSrvBackupGetDynamicFileListW: untagged names of files
	// outside the database, CRLs first of all. OpenFile refuses them; they are
	// copied by other means.
	DynamicFiles(ctx context.Context) ([]string, error)

	// End is CertSrvBackupEnd, once, last. Its error matters: a session that
	// ended with an open file, or that the server broke off, is no backup.
	// A session that ended well sets the server's time of the last full, or
	// incremental, backup.
	End(ctx context.Context) error
}

// BackupFile is a file opened by [Backup.OpenFile]. Read is CertSrvBackupRead:
// it fills the buffer except at the end of the file. Close is
// CertSrvBackupClose.
type BackupFile interface {
	io.ReadCloser

	// Size is the length in bytes as of the open.
	Size() int64
}

// Restore is a restore session, the HCSBC of a successful
// CertSrvRestorePrepareW. After End every call fails with [HrInvalidHandle].
type Restore interface {
	// DatabaseLocations is CertSrvRestoreGetDatabaseLocationsW in a restore
	// context. It needs a running service, so in the usual, offline restore it
	// fails: the restore map must come from the backup.
	DatabaseLocations(ctx context.Context) (FileList, error)

	// Register is CertSrvRestoreRegisterW: it records an instruction, which the
	// next start of the service carries out. It needs a local administrator.
	// After it neither the service starts nor another Register succeeds until
	// RegisterComplete. The full set is registered first ([HrNoFullRestore]
	// otherwise); a gap in the logs is [HrMissingLogFile].
	Register(ctx context.Context, r Registration) error

	// RegisterThroughFile is CertSrvRestoreRegisterThroughFile: as Register, but
	// the restore privilege is enough.
	RegisterThroughFile(ctx context.Context, r Registration) error

	// RegisterComplete is CertSrvRestoreRegisterComplete, once for each
	// Register: SOK when all went well, else the failure, which takes the
	// registered instruction back.
	RegisterComplete(ctx context.Context, state HRESULT) error

	// End is CertSrvRestoreEnd, once, last.
	End(ctx context.Context) error
}

// Registration holds the arguments of CertSrvRestoreRegisterW. Empty strings
// stand for NULL.
type Registration struct {
	CheckpointPath string // pwszCheckPointFilePath
	LogPath        string // pwszLogPath: where the logs were copied to
	BackupLogPath  string // pwszBackupLogPath: where they are, if not in LogPath

	// Map has exactly one entry for a full set and none for an incremental one.
	Map []RestoreMapping

	// LowLog and HighLog are the lowest and highest generation to replay.
	LowLog, HighLog uint32
}

// RestoreMapping is CSEDB_RSTMAPW: where a database was, and where it now is.
type RestoreMapping struct {
	Database    string // pwszDatabaseName: the saved location
	NewDatabase string // pwszNewDatabaseName: the same, or another place
}

// Lister is implemented by a Service whose server lists these without a backup
// session, as MS-CSRA servers do (no sequencing rule applies to them). Use
// [Locations] and [Dynamic], which fall back on a session.
type Lister interface {
	DatabaseLocations(ctx context.Context) (FileList, error)
	DynamicFiles(ctx context.Context) ([]string, error)
}

// Identifier is implemented by a Service that can tell which authority it
// speaks for.
type Identifier interface {
	Identity(ctx context.Context) (Identity, error)
}

// Identity names an authority.
type Identity struct {
	Name          string // common name
	SanitizedName string // as in file names, see [SanitizeName]
	Host          string // the server's own machine name
	Engine        string // "sqlite" or "ese"
	Certificate   []byte // the CA certificate in DER
}

// Free is CertSrvBackupFree. Go's lists need no freeing; it exists so that all
// eighteen functions have a name here. Freeing nil, or twice, is harmless.
func Free(any) {}

package certadmtest

import (
	"context"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// Env is one authority, made for one test: running, without certificates, and
// never backed up. Whatever it holds is released by the Cleanup of the test that
// it was made for.
//
// A method that this Env cannot offer, or not for these arguments, returns an
// error that is [errors.ErrUnsupported]; the items that need it are then skipped,
// provided that they are listed. This holds for all the optional interfaces, too.
// Any other error fails the test. All the Envs of one run are of one type.
type Env interface {
	// Connect returns a new client of the authority, acting for a caller. It is
	// called while the service is stopped, too: there a failure to connect (as
	// over a network) is as good as a Service whose calls fail.
	Connect(ctx context.Context, c Caller) (certadm.Service, error)

	// Start starts the service, and returns when it serves; recovery is done by
	// then. An error says that it did not start, with the HRESULT in it.
	Start(ctx context.Context) error

	// Stop stops the service in an orderly way, and returns when it has stopped.
	Stop(ctx context.Context) error

	// AwaitStop returns when the service has stopped by itself, as after
	// [certadm.ControlShutdown].
	AwaitStop(ctx context.Context) error

	// Issue has n certificates issued, and returns their serial numbers when all
	// of them are acknowledged, that is durable. It may be called while a backup
	// runs in another goroutine.
	Issue(ctx context.Context, n int) ([]string, error)

	// Serials returns the serial numbers of the issued certificates in the
	// database of the running service, in any order, and in the form of Issue.
	Serials(ctx context.Context) ([]string, error)
}

// Rights are what a caller may do. The first six have the values of the
// permissions in MS-CSRA section 3.1.1.7; Operator implies the backup privilege.
type Rights uint32

const (
	Administrator Rights = 0x1   // of the authority
	Officer       Rights = 0x2   // certificate manager
	Auditor       Rights = 0x4   //
	Operator      Rights = 0x8   // backup operator: the role, and SeBackupPrivilege
	Read          Rights = 0x100 //
	Enroll        Rights = 0x200 //

	Restore    Rights = 0x10000 // SeRestorePrivilege
	LocalAdmin Rights = 0x20000 // administrator of the authority's machine
)

// Origin is where a caller calls from.
type Origin int

const (
	Anywhere Origin = iota // wherever this Env connects from
	Local                  // the authority's machine
	Remote                 // another machine
)

// Caller describes who connects. A caller has exactly these rights.
type Caller struct {
	Name   string // account name, as audit events show it
	Rights Rights
	Origin Origin
}

// Locator is implemented by an Env whose authority's files can be reached by the
// tests: it maps a UNC name of the authority to a local path, whether or not a
// file is there. Tests read, write and remove files there, as an administrator
// does who restores a backup; while the service runs they only read.
type Locator interface {
	LocalPath(unc string) (string, error)
}

// Suspender is implemented by an Env that can suspend the service: it can be
// reached then, but is not ready.
type Suspender interface {
	Suspend(ctx context.Context) error
	Resume(ctx context.Context) error
}

// Breaker is implemented by an Env that can break a client's connection without
// the client's doing. Break returns when the server knows that the client is gone.
type Breaker interface {
	Break(ctx context.Context, svc certadm.Service) error
}

// CircularLogger is implemented by an Env that can turn circular logging on and
// off. The setting is in effect when the method returns; the service runs.
type CircularLogger interface {
	SetCircularLogging(ctx context.Context, on bool) error
}

// InterfaceFlagger is implemented by an Env that can set the authority's
// InterfaceFlags. They are in effect when the method returns; the service runs.
type InterfaceFlagger interface {
	SetInterfaceFlags(ctx context.Context, flags uint32) error
}

// The InterfaceFlags that concern backups (MS-CSRA section 3.1.1.6, certsrv.h).
const (
	NoRemoteBackup   = 0x40  // IF_NOREMOTEICERTADMINBACKUP
	NoLocalBackup    = 0x80  // IF_NOLOCALICERTADMINBACKUP
	NoSnapshotBackup = 0x100 // IF_NOSNAPSHOTBACKUP
)

// AuditLog is implemented by an Env whose audit events can be read back.
type AuditLog interface {
	// SetAuditFilter sets the authority's AuditFilter. It is in effect when the
	// method returns, also after a later Stop and Start.
	SetAuditFilter(ctx context.Context, bits uint32) error
	// AuditEvents returns all events so far, oldest first.
	AuditEvents(ctx context.Context) ([]AuditEvent, error)
}

// The bits of the AuditFilter that concern backups.
const (
	AuditStartStop     = 0x1 // service start and stop, and the shutdown call
	AuditBackupRestore = 0x2 // backup and restore
)

// AuditEvent is one event of the security log.
type AuditEvent struct {
	ID   int    // 4875 to 4881
	Who  string // the caller's account
	Type string // of 4876: the backup type, in the implementation's words
}

// Historian is implemented by an Env that can tell the times that a server
// keeps (DBLastFullBackup, DBLastIncrementalBackup, DBLastRecovery).
type Historian interface {
	History(ctx context.Context) (History, error)
}

// History holds the times of the last events of each kind; zero means never.
type History struct {
	FullBackup, IncrementalBackup, Recovery time.Time
}

// Transitions is implemented by an Env that can hold the service in the moments
// between stopped and running. Both methods call fn once, while the service is
// held there, and return what the start or stop returned. Clients are connected
// beforehand.
type Transitions interface {
	// WhileRecovering starts a stopped service which a restore is registered for
	// and calls fn when recovery has begun and is not done.
	WhileRecovering(ctx context.Context, fn func(context.Context)) error
	// WhileStopping stops a running service and calls fn when it has begun to
	// stop, and still answers.
	WhileStopping(ctx context.Context, fn func(context.Context)) error
}

// BigFiler is implemented by an Env that can make a file of the next full backup
// larger than 4 GiB, with a hole in it. GrowFile returns the UNC name of the
// file, its size, which is at least the one asked for, and the bytes that it ends
// with, which begin beyond 4 GiB. The service runs before and after.
type BigFiler interface {
	GrowFile(ctx context.Context, atLeast int64) (unc string, size int64, tail []byte, err error)
}

// Namer is implemented by an Env whose clients name a server.
type Namer interface {
	// ServerNames returns the NetBIOS and the DNS name of the server.
	ServerNames() []string
	// ConfigString returns machine\CA name, which ServerControl accepts, too.
	ConfigString() string
	// ConnectTo is Connect by a name of the server.
	ConnectTo(ctx context.Context, c Caller, server string) (certadm.Service, error)
}

// Privileger is implemented by an Env whose package has a helper that enables
// SeBackupPrivilege or SeRestorePrivilege in the process's token. EnablePrivilege
// calls it as the given caller, for the privilege that right stands for.
type Privileger interface {
	EnablePrivilege(ctx context.Context, c Caller, right Rights) error
}

// Wire is implemented by an Env whose clients reach the authority by the calls of
// MS-CSRA.
type Wire interface {
	// Authority returns the authority's common name.
	Authority() string
	// Calls returns the calls that have arrived at the server, oldest first.
	Calls(ctx context.Context) ([]WireCall, error)
	// Dial returns a client which makes exactly the calls it is told to.
	Dial(ctx context.Context, c Caller) (WireClient, error)
}

// WireCall is one call of ICertAdminD as the server saw it.
type WireCall struct {
	Method string // "BackupPrepare", "BackupReadFile", …, as MS-CSRA names it

	GrbitJet, Flags, ClientID uint32 // of BackupPrepare
	Size                      int32  // of BackupReadFile: cbBuffer
}

// WireClient makes single calls of ICertAdminD. Every failure that a server
// returned is, or wraps, a [certadm.HRESULT]. Counts are WCHARs.
type WireClient interface {
	BackupPrepare(ctx context.Context, authority string, grbitJet, flags, clientID uint32) error
	BackupEnd(ctx context.Context) error
	BackupGetAttachmentInformation(ctx context.Context) ([]uint16, error)
	BackupGetBackupLogs(ctx context.Context) ([]uint16, error)
	BackupOpenFile(ctx context.Context, path string) (int64, error)
	// BackupReadFile returns the whole array of the reply, and cbRead.
	BackupReadFile(ctx context.Context, cbBuffer int32) (buf []byte, read int32, err error)
	BackupCloseFile(ctx context.Context) error
	BackupTruncateLogs(ctx context.Context) error
	BackupGetDynamicFiles(ctx context.Context) ([]uint16, error)
	RestoreGetDatabaseLocations(ctx context.Context) ([]uint16, error)
	Close() error
}

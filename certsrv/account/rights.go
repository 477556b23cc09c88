package account

import (
	"errors"
	"fmt"
)

// Method is something that rights are needed for: the methods of ICertAdminD,
// the restore functions of Certadm.dll, and our own.
type Method string

// Methods of ICertAdminD, MS-CSRA 3.1.4.1 and 3.1.4.2.
const (
	BackupPrepare                  Method = "BackupPrepare"
	BackupEnd                      Method = "BackupEnd"
	BackupGetAttachmentInformation Method = "BackupGetAttachmentInformation"
	BackupGetBackupLogs            Method = "BackupGetBackupLogs"
	BackupGetDynamicFiles          Method = "BackupGetDynamicFiles"
	BackupOpenFile                 Method = "BackupOpenFile"
	BackupReadFile                 Method = "BackupReadFile"
	BackupCloseFile                Method = "BackupCloseFile"
	BackupTruncateLogs             Method = "BackupTruncateLogs"
	RestoreGetDatabaseLocations    Method = "RestoreGetDatabaseLocations"

	Ping             Method = "Ping"
	Ping2            Method = "Ping2"
	PublishCRL       Method = "PublishCRL"
	PublishCRLs      Method = "PublishCRLs"
	SetCASecurity    Method = "SetCASecurity"
	SetCAProperty    Method = "SetCAProperty"
	SetOfficerRights Method = "SetOfficerRights"
	SetConfigEntry   Method = "SetConfigEntry"

	ServerControl  Method = "ServerControl"
	DeleteRow      Method = "DeleteRow"
	SetAuditFilter Method = "SetAuditFilter"
	GetAuditFilter Method = "GetAuditFilter"

	GetArchivedKey    Method = "GetArchivedKey"
	SetExtension      Method = "SetExtension"
	SetAttributes     Method = "SetAttributes"
	DenyRequest       Method = "DenyRequest"
	ResubmitRequest   Method = "ResubmitRequest"
	RevokeCertificate Method = "RevokeCertificate"
	ImportCertificate Method = "ImportCertificate"
	ImportKey         Method = "ImportKey"

	GetCRL                     Method = "GetCRL"
	GetCAProperty              Method = "GetCAProperty"
	GetCAPropertyInfo          Method = "GetCAPropertyInfo"
	GetViewDefaultColumnSet    Method = "GetViewDefaultColumnSet"
	EnumAttributesOrExtensions Method = "EnumAttributesOrExtensions"
	OpenView                   Method = "OpenView"
	EnumView                   Method = "EnumView"
	CloseView                  Method = "CloseView"
	IsValidCertificate         Method = "IsValidCertificate"
	GetCASecurity              Method = "GetCASecurity"
	GetOfficerRights           Method = "GetOfficerRights"
	GetConfigEntry             Method = "GetConfigEntry"
	EnumViewColumn             Method = "EnumViewColumn"
	EnumViewColumnTable        Method = "EnumViewColumnTable"
	GetMyRoles                 Method = "GetMyRoles"

	GetServerState Method = "GetServerState"
)

// Methods that are not ICertAdminD's.
const (
	// Submit is ICertRequestD's Request (MS-WCCE 3.2.1.4.2.1): it needs Enroll.
	Submit Method = "Submit"

	// Shutdown is ServerControl with CSCONTROL_SHUTDOWN. MS-CSRA lets operators
	// do that too; here it is for administrators, so that a stolen backup
	// account cannot stop a CA.
	Shutdown Method = "Shutdown"

	// RestorePrepare, RestoreRegisterThroughFile, RestoreRegisterComplete and
	// RestoreEnd are CertSrvRestore…: they need the restore privilege.
	RestorePrepare             Method = "RestorePrepare"
	RestoreRegisterThroughFile Method = "RestoreRegisterThroughFile"
	RestoreRegisterComplete    Method = "RestoreRegisterComplete"
	RestoreEnd                 Method = "RestoreEnd"
	// RestoreRegister needs a local administrator.
	RestoreRegister Method = "RestoreRegister"
)

// need is one right; a method's row lists those of which one is enough.
type need struct {
	text string
	met  func(Principal) bool
}

func role(r Roles) need {
	return need{r.String(), func(p Principal) bool { return p.Roles.Has(r) }}
}

var (
	needAdministrator = role(Administrator)
	needOfficer       = role(Officer)
	needAuditor       = role(Auditor)
	needRead          = role(Read)
	needEnroll        = role(Enroll)
	// An operator is a reader who holds the backup privilege.
	needOperator   = need{"operator (read and the backup privilege)", Principal.isOperator}
	needRestore    = need{"the restore privilege", func(p Principal) bool { return p.RestorePrivilege }}
	needLocalAdmin = need{"a local administrator", func(p Principal) bool { return p.Local && p.LocalAdmin }}
	needBoth       = need{"administrator and officer", func(p Principal) bool { return p.Roles.Has(Administrator | Officer) }}
	needIdentity   = need{"a known identity", func(Principal) bool { return true }}
)

func (p Principal) isOperator() bool { return p.BackupPrivilege && p.Roles.Has(Read) }

// InEffect is the set of roles that p has in effect, with those implied and with
// Operator for a reader who holds the backup privilege, and for nobody else. It
// is what GetMyRoles tells.
func (p Principal) InEffect() Roles {
	r := p.Roles.Effective() &^ Operator
	if p.isOperator() {
		r |= Operator
	}
	return r
}

// rules is the table of MS-CSRA 3.1.4.1.
var rules = func() map[Method][]need {
	t := make(map[Method][]need)
	add := func(n []need, methods ...Method) {
		for _, m := range methods {
			t[m] = n
		}
	}
	add([]need{needOperator}, BackupPrepare, BackupEnd, BackupGetAttachmentInformation, BackupGetBackupLogs,
		BackupGetDynamicFiles, BackupOpenFile, BackupReadFile, BackupCloseFile, BackupTruncateLogs,
		RestoreGetDatabaseLocations)
	add([]need{needAdministrator}, Ping, Ping2, PublishCRL, PublishCRLs, SetCASecurity, SetCAProperty,
		SetOfficerRights, SetConfigEntry, Shutdown)
	add([]need{needAdministrator, needOperator}, ServerControl)
	add([]need{needBoth}, DeleteRow)
	add([]need{needAdministrator, needAuditor}, SetAuditFilter)
	add([]need{needRead, needAuditor}, GetAuditFilter)
	add([]need{needOfficer}, GetArchivedKey, SetExtension, SetAttributes, DenyRequest, ResubmitRequest,
		RevokeCertificate, ImportCertificate, ImportKey)
	add([]need{needRead}, // administrators and officers are readers
		GetCRL, GetCAProperty, GetCAPropertyInfo, GetViewDefaultColumnSet,
		EnumAttributesOrExtensions, OpenView, EnumView, CloseView, IsValidCertificate, GetCASecurity,
		GetOfficerRights, GetConfigEntry, EnumViewColumn, EnumViewColumnTable, GetMyRoles)
	add([]need{needIdentity}, GetServerState)
	add([]need{needEnroll}, Submit)
	add([]need{needRestore}, RestorePrepare, RestoreRegisterThroughFile, RestoreRegisterComplete, RestoreEnd)
	add([]need{needLocalAdmin}, RestoreRegister)
	return t
}()

// Allowed reports whether the principal may call the method; an unknown method
// is allowed to nobody.
func Allowed(m Method, p Principal) bool { return Check(m, p) == nil }

// Check is Allowed with the reason: a *[DeniedError], or nil.
func Check(m Method, p Principal) error {
	if p.Name == "" {
		return &DeniedError{Method: m, Needs: needIdentity.text}
	}
	row := rules[m]
	text := ""
	for i, n := range row {
		if n.met(p) {
			return nil
		}
		if i > 0 {
			text += " or "
		}
		text += n.text
	}
	return &DeniedError{Method: m, Who: p.Name, Needs: text}
}

// ErrDenied is what every DeniedError is, for errors.Is. It stands for
// E_ACCESSDENIED (0x80070005).
var ErrDenied = errors.New("access denied")

// DeniedError says which right is missing.
type DeniedError struct {
	Method Method
	Who    string // empty if unknown
	Needs  string // in words; empty for a method that nobody may call
}

func (e *DeniedError) Error() string {
	who, needs := e.Who, e.Needs
	if who == "" {
		who = "an unknown caller"
	}
	if needs == "" {
		return fmt.Sprintf("access denied: %s may not call %s", who, e.Method)
	}
	return fmt.Sprintf("access denied: %s may not call %s: it needs %s", who, e.Method, needs)
}

// Is makes errors.Is(err, ErrDenied) true.
func (e *DeniedError) Is(target error) bool { return target == ErrDenied }

package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// table is MS-CSRA 3.1.4.1, written down a second time in another form: per
// method, which of the single-role principals below may call it.
const table = `
BackupPrepare BackupEnd BackupGetAttachmentInformation BackupGetBackupLogs BackupGetDynamicFiles BackupOpenFile BackupReadFile BackupCloseFile BackupTruncateLogs RestoreGetDatabaseLocations: operator
Ping Ping2 PublishCRL PublishCRLs SetCASecurity SetCAProperty SetOfficerRights SetConfigEntry Shutdown: administrator
ServerControl: administrator operator
DeleteRow: administrator+officer
SetAuditFilter: administrator auditor
GetAuditFilter: administrator officer auditor operator read enroll
GetArchivedKey SetExtension SetAttributes DenyRequest ResubmitRequest RevokeCertificate ImportCertificate ImportKey: officer
GetCRL GetCAProperty GetCAPropertyInfo GetViewDefaultColumnSet EnumAttributesOrExtensions OpenView EnumView CloseView IsValidCertificate GetCASecurity GetOfficerRights GetConfigEntry EnumViewColumn EnumViewColumnTable GetMyRoles: administrator officer operator read enroll
GetServerState: administrator officer auditor operator read enroll restorer localadmin
Submit: enroll
RestorePrepare RestoreRegisterThroughFile RestoreRegisterComplete RestoreEnd: restorer
RestoreRegister: localadmin
`

func TestRules(t *testing.T) {
	principals := map[string]Principal{
		"administrator": {Roles: Administrator},
		"officer":       {Roles: Officer},
		"auditor":       {Roles: Auditor},
		"operator":      {Roles: Operator, BackupPrivilege: true},
		"read":          {Roles: Read},
		"enroll":        {Roles: Enroll},
		"restorer":      {RestorePrivilege: true},
		"localadmin":    {Local: true, LocalAdmin: true},
	}
	want := make(map[Method][]string)
	for line := range strings.SplitSeq(strings.TrimSpace(table), "\n") {
		methods, who, _ := strings.Cut(line, ":")
		for m := range strings.FieldsSeq(methods) {
			want[Method(m)] = strings.Fields(who)
		}
	}
	for m := range rules {
		if _, ok := want[m]; !ok {
			t.Errorf("%s is not in the table", m)
		}
	}
	for m, who := range want {
		for name, p := range principals {
			p.Name = name
			both := slices.ContainsFunc(who, func(s string) bool { return strings.Contains(s, "+") })
			if got := Allowed(m, p); got != (slices.Contains(who, name) && !both) {
				t.Errorf("%s by %s: %v", m, name, got)
			}
			// Nobody without a name may do anything, whatever the rights.
			p.Name = ""
			if Allowed(m, p) {
				t.Errorf("%s by a nameless %s", m, name)
			}
		}
		all := Principal{Name: "all", Roles: AllRoles, Local: true, LocalAdmin: true, BackupPrivilege: true, RestorePrivilege: true}
		if !Allowed(m, all) {
			t.Errorf("%s: not even by one with every right", m)
		}
		if Allowed(m, Principal{}) {
			t.Errorf("%s by the zero Principal", m)
		}
	}
	if !Allowed(DeleteRow, Principal{Name: "x", Roles: Administrator | Officer}) {
		t.Error("DeleteRow by administrator and officer")
	}
	if Allowed(DeleteRow, Principal{Name: "x", Roles: Administrator}) || Allowed(DeleteRow, Principal{Name: "x", Roles: Officer}) {
		t.Error("DeleteRow needs both roles")
	}
}

func TestOperatorNeedsReadAndPrivilege(t *testing.T) {
	for _, c := range []struct {
		p    Principal
		want bool
	}{
		{Principal{Name: "x", Roles: Operator}, false}, // without the privilege
		{Principal{Name: "x", BackupPrivilege: true}, false},
		{Principal{Name: "x", Roles: Read, BackupPrivilege: true}, true},
		{Principal{Name: "x", Roles: Enroll, BackupPrivilege: true}, true},
		{Principal{Name: "x", Roles: Auditor, BackupPrivilege: true}, false},
	} {
		if got := Allowed(BackupPrepare, c.p); got != c.want {
			t.Errorf("%+v: %v", c.p, got)
		}
	}
	// A local administrator on another machine is none here.
	if Allowed(RestoreRegister, Principal{Name: "x", LocalAdmin: true}) {
		t.Error("RestoreRegister by a remote administrator")
	}
}

func TestDenied(t *testing.T) {
	err := Check(BackupPrepare, Principal{Name: "alice", Roles: Enroll})
	var e *DeniedError
	if !errors.As(err, &e) || !errors.Is(err, ErrDenied) || e.Who != "alice" || e.Method != BackupPrepare {
		t.Fatalf("%#v", err)
	}
	for _, want := range []string{"alice", "BackupPrepare", "backup privilege"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q says nothing of %s", err, want)
		}
	}
	if err := Check("NoSuchMethod", LocalUser()); !errors.Is(err, ErrDenied) {
		t.Errorf("unknown method: %v", err)
	}
	if err := Check(GetServerState, Principal{}); err == nil || !strings.Contains(err.Error(), "unknown caller") {
		t.Errorf("nobody: %v", err)
	}
	if err := Check(ServerControl, Principal{Name: "x"}); err == nil || !strings.Contains(err.Error(), "administrator or operator") {
		t.Errorf("either: %v", err)
	}
}

func TestLocalUser(t *testing.T) {
	p := LocalUser()
	if p.Name == "" || p.Roles != AllRoles || !p.Local || !p.LocalAdmin || !p.BackupPrivilege || !p.RestorePrivilege {
		t.Errorf("%+v", p)
	}
	for m := range rules {
		if err := Check(m, p); err != nil {
			t.Error(err)
		}
	}
}

func TestRoles(t *testing.T) {
	for in, want := range map[string]Roles{
		"operator": Operator, "backup": Operator, "Administrator": Administrator, "admin , READ": Administrator | Read,
		"manager,officer": Officer, "enrol": Enroll, AllRoles.String(): AllRoles,
	} {
		got, err := ParseRoles(in)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
		if again, err := ParseRoles(got.String()); err != nil || again != got {
			t.Errorf("%q does not come back: %v", got, err)
		}
	}
	for _, in := range []string{"", ",", "root", "read,", "0x1"} {
		if r, err := ParseRoles(in); err == nil {
			t.Errorf("%q: %v", in, r)
		}
	}
	// The values are on the wire (GetMyRoles) and in security descriptors.
	if got := fmt.Sprintf("%x %x %x %x %x %x", uint32(Administrator), uint32(Officer), uint32(Auditor), uint32(Operator), uint32(Read), uint32(Enroll)); got != "1 2 4 8 100 200" {
		t.Error(got)
	}
	for _, r := range []Roles{Administrator, Officer, Enroll, Operator} {
		if !r.Has(Read) {
			t.Errorf("%v does not imply read", r)
		}
	}
	if Auditor.Has(Read) || Read.Has(Enroll) || Roles(0).Has(Read) {
		t.Error("implied too much")
	}
}

package doctor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// TestAccount is everything that a connection tells of the account and the CA.
func TestAccount(t *testing.T) {
	const all = certadm.RoleAdministrator | certadm.RoleOfficer | certadm.RoleAuditor | certadm.RoleOperator | certadm.RoleRead
	denied := &certadm.Error{Op: "x", Code: certadm.EAccessDenied}
	for name, v := range map[string]struct {
		change  func(f *fake, o *RemoteOptions)
		check   string
		state   State
		detail  string
		mend    string
		settles []string
	}{
		"more roles than needed": {func(f *fake, _ *RemoteOptions) { f.roles = all }, checkRoles, Warning, "more than a backup needs", "account of its own", nil},
		"no operator": {func(f *fake, _ *RemoteOptions) { f.roles = certadm.RoleRead }, checkRoles, Failed, "the account has read, and a backup needs operator",
			"right to back up files", []string{settleOperators, settleUAC}},
		"no role at all": {func(f *fake, o *RemoteOptions) { f.roles = 0; o.User = `CORP\backup` }, checkRoles, Failed, "the account has none",
			"right to back up files", []string{settleOperators, settleRead}},
		"no operator, certkeep's": {func(f *fake, _ *RemoteOptions) { f.roles = certadm.RoleRead; f.identity.Engine = "sqlite" }, checkRoles, Failed, "needs operator", "", []string{settleOwn}},
		"no operator, nobody's": {func(f *fake, o *RemoteOptions) { f.roles = certadm.RoleRead; f.identity.Engine = ""; o.Kerberos = true }, checkRoles, Failed, "needs operator",
			"right to back up files", []string{settleOperators, settleOwn}},
		"roles not told":    {func(f *fake, _ *RemoteOptions) { f.rolesErr = certadm.ENotImpl }, checkRoles, NotChecked, "does not tell", "next steps", nil},
		"no such method":    {func(f *fake, _ *RemoteOptions) { f.rolesErr = certadm.RPCNoSuchMethod }, checkRoles, NotChecked, "does not tell", "next steps", nil},
		"roles denied":      {func(f *fake, _ *RemoteOptions) { f.rolesErr = denied }, checkRoles, Failed, "E_ACCESSDENIED", "", []string{settleRead, settleAccess, settleFlags, settleSeparation, settleUAC}},
		"roles denied, own": {func(f *fake, _ *RemoteOptions) { f.rolesErr = denied; f.identity.Engine = "sqlite" }, checkRoles, Failed, "E_ACCESSDENIED", "", []string{settleOwn}},
		"roles denied, which": {func(f *fake, o *RemoteOptions) { f.rolesErr = denied; f.identity.Engine = ""; o.Kerberos = true }, checkRoles, Failed, "E_ACCESSDENIED", "",
			[]string{settleRead, settleAccess, settleFlags, settleSeparation, settleOwn}},
		"roles, another error": {func(f *fake, _ *RemoteOptions) {
			f.rolesErr = &certadm.Error{Op: "x", Code: certadm.EFail, Hint: "as it says"}
		}, checkRoles, Failed, "E_FAIL", "as it says", nil},

		"separation, one role":   {func(f *fake, _ *RemoteOptions) { f.separation = 1 }, checkSeparation, Good, "one role", "", nil},
		"separation, two roles":  {func(f *fake, _ *RemoteOptions) { f.separation, f.roles = 1, all }, checkSeparation, Failed, "role separation is enforced", "take the other roles", nil},
		"separation not told":    {func(f *fake, _ *RemoteOptions) { f.separateErr = certadm.EInvalidArg }, checkSeparation, Good, "no second role", "", nil},
		"not told, two roles":    {func(f *fake, _ *RemoteOptions) { f.separateErr, f.roles = certadm.EInvalidArg, all }, checkSeparation, Warning, "more than one role", "", []string{settleSeparation}},
		"not told, nor roles":    {func(f *fake, _ *RemoteOptions) { f.separateErr, f.rolesErr = certadm.ENotImpl, certadm.ENotImpl }, checkSeparation, NotChecked, "does not tell", settleSeparation, nil},
		"no separation, no role": {func(f *fake, _ *RemoteOptions) { f.rolesErr = certadm.ENotImpl }, checkSeparation, Good, "not enforced", "", nil},

		"backup denied to an operator": {func(f *fake, _ *RemoteOptions) { f.locateErr = denied }, checkBackup, Failed, "E_ACCESSDENIED", "-IF_NOREMOTEICERTADMINBACKUP",
			[]string{settleFlags, settleSeparation}},
		"backup denied to no operator": {func(f *fake, o *RemoteOptions) { f.locateErr, f.roles = denied, certadm.RoleRead; o.Kerberos = true }, checkBackup, Failed, "E_ACCESSDENIED", "right to back up files",
			[]string{settleOperators, settleFlags}},
		"backup denied to who knows": {func(f *fake, _ *RemoteOptions) { f.locateErr, f.rolesErr = denied, certadm.ENotImpl }, checkBackup, Failed, "E_ACCESSDENIED", "",
			[]string{settleFlags, settleOperators, settleUAC, settleRead, settleSeparation}},
		"backup denied by certkeep": {func(f *fake, _ *RemoteOptions) { f.locateErr = denied; f.identity.Engine = "sqlite" }, checkBackup, Failed, "E_ACCESSDENIED", "take 64 from interface_flags",
			[]string{settleOwnFlags}},
		"backup denied by either": {func(f *fake, _ *RemoteOptions) { f.locateErr = denied; f.identity.Engine = "" }, checkBackup, Failed, "E_ACCESSDENIED", "-IF_NOREMOTEICERTADMINBACKUP",
			[]string{settleFlags, settleOwnFlags, settleSeparation}},
		"in a session only": {func(f *fake, _ *RemoteOptions) { f.locateErr = certadm.EUnexpected }, checkBackup, NotChecked, "within a session", "certkeep backup adcs://backup@ca01.example.test", nil},
		"another backup error": {func(f *fake, _ *RemoteOptions) {
			f.locateErr = &certadm.Error{Op: "x", Code: certadm.EFail, Hint: "as it says"}
		}, checkBackup, Failed, "E_FAIL", "as it says", nil},
		"where the database is": {func(*fake, *RemoteOptions) {}, checkBackup, Good, `\\ca01\c$\CertLog\Example CA.edb`, "", nil},

		"name in another case":  {func(_ *fake, o *RemoteOptions) { o.Authority = "EXAMPLE ca" }, checkCAName, Good, "Example CA", "", nil},
		"name sanitized":        {func(f *fake, o *RemoteOptions) { f.name, o.Authority = "Example & Sons", "example !0026 sons" }, checkCAName, Good, "Example & Sons", "", nil},
		"name wrong":            {func(_ *fake, o *RemoteOptions) { o.Authority = "Other CA" }, checkCAName, Failed, `is "Example CA", not "Other CA"`, "leave the name out: adcs://backup@ca01.example.test", nil},
		"name wrong, no answer": {wrongName, checkCAName, Failed, `no authority "Other CA" there`, "leave the name out", []string{`certutil -getreg CA\CommonName`}},
		"name not told":         {func(f *fake, _ *RemoteOptions) { f.name, f.nameErr = "", denied }, checkCAName, NotChecked, "E_ACCESSDENIED", "", nil},
		"name not told, given": {func(f *fake, o *RemoteOptions) {
			f.name, f.nameErr, f.identity.Name, o.Authority = "", denied, "Example CA", "Example CA"
		}, checkCAName, NotChecked, "does not tell", "", nil},
		"name empty": {func(f *fake, _ *RemoteOptions) { f.name = "" }, checkCAName, NotChecked, "does not tell", "", nil},

		"wrong name, so no roles":      {wrongName, checkRoles, NotChecked, `"Other CA"`, "", nil},
		"wrong name, so no separation": {wrongName, checkSeparation, NotChecked, "same reason", "", nil},
		"wrong name, and backup flag":  {wrongName, checkBackup, Good, "allowed", "", nil},

		"no name given, one wanted": {noName, checkCAName, Warning, "wants it", "adcs://backup@ca01.example.test/CA NAME", []string{`certutil -getreg CA\CommonName`}},
		"no name, so no roles":      {noName, checkRoles, NotChecked, "wants the authority's name", "adcs://backup@ca01.example.test/CA NAME", nil},
		"no name, and backup flag":  {noName, checkBackup, Good, "allowed", "", nil},

		"clock by kerberos":      {func(_ *fake, o *RemoteOptions) { o.Kerberos = true }, checkClock, Good, "five minutes", "", nil},
		"clock not told":         {func(*fake, *RemoteOptions) {}, checkClock, NotChecked, "did not tell", "date -u", nil},
		"crl of the future":      {func(f *fake, _ *RemoteOptions) { f.crl = newCRL(f.t, time.Now().Add(time.Hour)) }, checkClock, Failed, "in the future", "NTP", nil},
		"crl a little ahead":     {func(f *fake, _ *RemoteOptions) { f.crl = newCRL(f.t, time.Now().Add(time.Minute)) }, checkClock, NotChecked, "did not tell", "date -u", nil},
		"crl that is not one":    {func(f *fake, _ *RemoteOptions) { f.crl = []byte("crl") }, checkClock, NotChecked, "did not tell", "date -u", nil},
		"no crl, for no readers": {func(f *fake, _ *RemoteOptions) { f.crl, f.crlErr = nil, denied }, checkClock, NotChecked, "did not tell", "date -u", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy(t)
			o := network(f)
			v.change(f, &o)
			rep := examine(t, o)
			c := check(t, rep, v.check)
			if c.State != v.state || !strings.Contains(c.Detail, v.detail) || !strings.Contains(c.Mend, v.mend) || (v.mend == "") != (c.Mend == "") {
				t.Errorf("%+v", c)
			}
			if !slices.Equal(settles(c), v.settles) {
				t.Errorf("candidates\n got %q\nwant %q", settles(c), v.settles)
			}
			if rep.Unreached() {
				t.Error("it was reached")
			}
			if want := f.name; want != rep.Authority && (want != "" || o.Authority != "") {
				t.Errorf("the report is on %q", rep.Authority)
			}
			if f.closed != 1 {
				t.Errorf("closed %d times", f.closed)
			}
		})
	}
}

// TestOwnAccounts: the advice is for the way that the account logs on by.
func TestOwnAccounts(t *testing.T) {
	for _, withKerberos := range []bool{false, true} {
		f := healthy(t)
		f.identity.Engine, f.roles = "sqlite", certadm.RoleRead
		o := network(f)
		o.Kerberos = withKerberos
		c := check(t, examine(t, o), checkRoles).Candidates[0]
		if c.Mend != map[bool]string{true: "certkeep ca user add DIR NAME --role operator", false: "certkeep ca user add DIR NAME --role operator --ntlm"}[withKerberos] {
			t.Errorf("kerberos %v: %s", withKerberos, c.Mend)
		}
	}
}

// wrongName is a server that compares the name, as Certificate Services do.
func wrongName(f *fake, o *RemoteOptions) {
	o.Authority = "Other CA"
	f.identity.Name = "Other CA" // what the client was told
	f.rolesErr, f.separateErr, f.crlErr = certadm.EInvalidArg, certadm.EInvalidArg, certadm.EInvalidArg
	f.name, f.nameErr, f.crl = "", &certadm.Error{Op: "x", Code: certadm.EInvalidArg}, nil
}

// noName is such a server, and a user who gave none.
func noName(f *fake, o *RemoteOptions) {
	wrongName(f, o)
	o.Authority, f.identity.Name = "", ""
}

// TestServerTime: a server that told the time is believed to within five minutes.
func TestServerTime(t *testing.T) {
	for _, v := range []struct {
		ahead time.Duration
		told  bool
		state State
		says  string
	}{
		{0, true, Good, "within 1s"}, {-4 * time.Minute, true, Good, "within 4m0s"}, {6 * time.Minute, true, Failed, "6m0s off"}, {-6 * time.Minute, true, Failed, "-6m0s off"},
		{time.Hour, false, NotChecked, "did not tell"},
	} {
		rep := examine(t, network(timed{healthy(t), v.ahead, v.told}))
		if c := check(t, rep, checkClock); c.State != v.state || !strings.Contains(c.Detail, v.says) || (c.State == Failed) != strings.Contains(c.Mend, "NTP") {
			t.Errorf("%v: %+v", v.ahead, c)
		}
	}
}

package certsrv

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
)

func inspector(t *testing.T, s *Server, p account.Principal) certadm.Inspector {
	t.Helper()
	i, ok := s.Service(p).(certadm.Inspector)
	if !ok {
		t.Fatal("the service is no Inspector")
	}
	return i
}

func TestInspectRights(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	ctx := t.Context()
	for _, c := range []struct {
		p             account.Principal
		ping, reading bool
		roles         certadm.Roles
	}{
		{root, true, true, 0x30F},
		{with(account.Administrator), true, true, certadm.RoleAdministrator | certadm.RoleRead},
		{with(account.Operator), false, true, certadm.RoleOperator | certadm.RoleRead},
		{with(account.Enroll), false, true, certadm.RoleEnroll | certadm.RoleRead},
		{with(account.Auditor), false, false, 0},
		{account.Principal{}, false, false, 0},
		// The role without the privilege is no operator, and the other way round.
		{account.Principal{Name: "bob", Roles: account.Operator}, false, true, certadm.RoleRead},
		{account.Principal{Name: "bob", Roles: account.Read, BackupPrivilege: true}, false, true, certadm.RoleOperator | certadm.RoleRead},
	} {
		i := inspector(t, s, c.p)
		verdict := func(what string, err error, allowed bool) {
			t.Helper()
			if allowed && err != nil || !allowed && certadm.CodeOf(err) != certadm.EAccessDenied {
				t.Errorf("%s by %+v: %v", what, c.p, err)
			}
		}
		verdict("Ping", i.Ping(ctx), c.ping)
		roles, err := i.MyRoles(ctx)
		verdict("MyRoles", err, c.reading)
		if roles != c.roles {
			t.Errorf("%+v has the roles %v, want %v", c.p, roles, c.roles)
		}
		crl, err := i.CRL(ctx)
		verdict("CRL", err, c.reading)
		if (crl != nil) != c.reading {
			t.Errorf("CRL for %+v: %d bytes", c.p, len(crl))
		}
		_, err = i.CAProperty(ctx, certadm.PropCAName, 0, certadm.PropertyString)
		verdict("CAProperty", err, c.reading)
	}
}

func TestInspectStates(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	svc := s.Service(root)
	i := svc.(certadm.Inspector)
	calls := map[string]func(context.Context) error{
		"Ping":       i.Ping,
		"MyRoles":    func(ctx context.Context) error { _, err := i.MyRoles(ctx); return err },
		"CRL":        func(ctx context.Context) error { _, err := i.CRL(ctx); return err },
		"CAProperty": func(ctx context.Context) error { _, err := i.CAProperty(ctx, certadm.PropCAName, 0, 4); return err },
	}
	all := func(ctx context.Context, want certadm.HRESULT, when string) {
		t.Helper()
		for name, call := range calls {
			if err := call(ctx); certadm.CodeOf(err) != want {
				t.Errorf("%s %s: %v", name, when, err)
			}
		}
	}
	all(t.Context(), certadm.SOK, "while it runs")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	all(cancelled, certadm.ErrorCancelled, "with a context that has ended")
	mustStop(t, s)
	all(t.Context(), certadm.ErrorServiceNotActive, "when it is stopped")
	mustStart(t, s)
	if err := svc.Close(); err != nil {
		t.Fatal(err)
	}
	all(t.Context(), certadm.HrInvalidHandle, "after Close")
}

func TestCAProperties(t *testing.T) {
	s := startServer(t, InitOptions{
		Name: "Müller & Söhne CA", Host: "ca1.example.org",
		CRLURLs: []string{"http://a/ca.crl", "http://b/ca.crl"}, IssuerURLs: []string{"http://a/ca.crt"},
	}, Options{})
	i := inspector(t, s, root)
	get := func(id certadm.CAPropertyID, index int) certadm.CAProperty {
		t.Helper()
		v, err := i.CAProperty(t.Context(), id, index, id.Type())
		if err != nil {
			t.Fatalf("%v: %v", id, err)
		}
		if v.Type != id.Type() {
			t.Errorf("%v has the type %v", id, v.Type)
		}
		return v
	}
	for id, want := range map[certadm.CAPropertyID]string{
		certadm.PropCAName: "Müller & Söhne CA", certadm.PropSanitizedCAName: "M!00fcller !0026 S!00f6hne CA",
		certadm.PropDNSName: "ca1.example.org", certadm.PropTemplates: "",
		certadm.PropCertCDPURLs: "http://a/ca.crl\nhttp://b/ca.crl\n", certadm.PropCertAIAURLs: "http://a/ca.crt\n",
	} {
		if got := get(id, 0).Text; got != want {
			t.Errorf("%v is %q, want %q", id, got, want)
		}
	}
	for id, want := range map[certadm.CAPropertyID]int32{
		certadm.PropCAType: certadm.CATypeStandaloneRoot, certadm.PropCASigCertCount: 1, certadm.PropCACertState: 3,
		certadm.PropCRLState: 3, certadm.PropCACertStatusCode: 0, certadm.PropRoleSeparation: 0, certadm.PropKRACertCount: 0,
	} {
		if got := get(id, 0).Long; got != want {
			t.Errorf("%v is %d, want %d", id, got, want)
		}
	}
	for id := range caProperties {
		if id > highestProperty {
			t.Errorf("%v is above CR_PROP_CAPROPIDMAX", id)
		}
		if id.Type() == 0 {
			t.Errorf("%d has no type", id)
		}
	}
	ca := s.CACertificate().Raw
	for _, index := range []int{0, certadm.PropertyNewest} {
		if got := get(certadm.PropCASigCert, index).Binary; !bytes.Equal(got, ca) {
			t.Errorf("CA certificate %d: %d bytes", index, len(got))
		}
		p7, err := pkcs7.Parse(get(certadm.PropCASigCertChain, index).Binary)
		if err != nil || len(p7.Certificates) != 1 || !bytes.Equal(p7.Certificates[0].Raw, ca) {
			t.Errorf("chain %d: %v", index, err)
		}
		crl, err := i.CRL(t.Context())
		if err != nil || !bytes.Equal(crl, get(certadm.PropBaseCRL, index).Binary) {
			t.Errorf("CRL: %v", err)
		}
		l, err := x509.ParseRevocationList(crl)
		if err != nil || l.CheckSignatureFrom(s.CACertificate()) != nil {
			t.Errorf("CRL: %v", err)
		}
	}
	// What is handed out is the caller's own.
	clear(get(certadm.PropCASigCert, 0).Binary)
	clear(get(certadm.PropBaseCRL, 0).Binary)
	if !bytes.Equal(get(certadm.PropCASigCert, 0).Binary, s.CACertificate().Raw) || get(certadm.PropBaseCRL, 0).Binary[0] == 0 {
		t.Error("the caller changed the authority's own")
	}
}

func TestCAPropertyRefusals(t *testing.T) {
	clock := newManual()
	s := startServer(t, InitOptions{}, Options{Clock: clock})
	i := inspector(t, s, root)
	for _, c := range []struct {
		id    certadm.CAPropertyID
		index int
		t     certadm.PropertyType
		want  certadm.HRESULT
	}{
		{999, 0, certadm.PropertyString, certadm.EInvalidArg},
		{0, 0, certadm.PropertyString, certadm.EInvalidArg},
		{-1, 0, 0, certadm.EInvalidArg},
		{certadm.PropCAXchgCert, 0, certadm.PropertyBinary, certadm.EInvalidArg},
		{certadm.PropCAName, 0, certadm.PropertyLong, certadm.EInvalidArg},
		{certadm.PropCAName, 0, 0, certadm.EInvalidArg},
		{certadm.PropCAName, 1, certadm.PropertyString, certadm.EInvalidArg},
		{certadm.PropCAName, -1, certadm.PropertyString, certadm.EInvalidArg},
		{certadm.PropCASigCert, 1, certadm.PropertyBinary, certadm.EInvalidArg},
		{certadm.PropCASigCert, -2, certadm.PropertyBinary, certadm.EInvalidArg},
		{certadm.PropBaseCRL, 1 << 31, certadm.PropertyBinary, certadm.EInvalidArg},
		{certadm.PropDeltaCRL, 1, certadm.PropertyBinary, certadm.EInvalidArg},
		{certadm.PropDeltaCRL, -1, certadm.PropertyBinary, certadm.ErrorFileNotFound},
	} {
		v, err := i.CAProperty(t.Context(), c.id, c.index, c.t)
		if certadm.CodeOf(err) != c.want || v.Binary != nil || v.Text != "" {
			t.Errorf("%+v: %+v, %v", c, v, err)
		}
	}
	clock.advance(200 * 365 * 24 * time.Hour)
	v, err := i.CAProperty(t.Context(), certadm.PropCACertStatusCode, 0, certadm.PropertyLong)
	if err != nil || certadm.HRESULT(uint32(v.Long)) != certExpired {
		t.Errorf("an expired CA certificate has the status %#x, %v", uint32(v.Long), err)
	}
}

// IF_NOREMOTEICERTADMIN and its local twin refuse everything, and only that
// caller.
func TestAdminFlags(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	remote := root
	remote.Local, remote.LocalAdmin = false, false
	calls := func(p account.Principal) map[string]error {
		svc := s.Service(p)
		i, l := svc.(certadm.Inspector), svc.(certadm.Lister)
		errs := map[string]error{"Ping": i.Ping(t.Context())}
		_, errs["IsServerOnline"] = svc.IsServerOnline(t.Context())
		_, errs["ServerControl"] = svc.ServerControl(t.Context(), certadm.ControlSuspend)
		_, errs["MyRoles"] = i.MyRoles(t.Context())
		_, errs["CRL"] = i.CRL(t.Context())
		_, errs["CAProperty"] = i.CAProperty(t.Context(), certadm.PropCAName, 0, certadm.PropertyString)
		_, errs["DatabaseLocations"] = l.DatabaseLocations(t.Context())
		_, errs["DynamicFiles"] = l.DynamicFiles(t.Context())
		b, err := svc.BackupPrepare(t.Context(), certadm.BackupFull)
		if errs["BackupPrepare"] = err; err == nil {
			if err := b.End(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return errs
	}
	for _, c := range []struct {
		flag            certadm.InterfaceFlags
		refused, served account.Principal
		bit             string
	}{
		{certadm.IfNoRemoteAdmin, remote, root, "0x10"},
		{certadm.IfNoLocalAdmin, root, remote, "0x20"},
	} {
		if err := s.Configure(func(conf *Config) { conf.InterfaceFlags = c.flag }); err != nil {
			t.Fatal(err)
		}
		for name, err := range calls(c.refused) {
			wantCode(t, err, certadm.EAccessDenied, name)
			var e *certadm.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.flag.String()) || !strings.Contains(e.Hint, c.bit) {
				t.Errorf("%s does not name the flag: %v", name, err)
			}
		}
		for name, err := range calls(c.served) {
			if err != nil {
				t.Errorf("%s with %v: %v", name, c.flag, err)
			}
		}
	}
	// The default lets operators in from everywhere.
	s = startServer(t, InitOptions{}, Options{})
	for name, err := range calls(remote) {
		if err != nil {
			t.Errorf("%s with the default flags: %v", name, err)
		}
	}
}

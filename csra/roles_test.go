package csra

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
)

// What an account may do over the wire is decided method by method, as MS-CSRA
// section 3.1.4.1 has it: by its roles, and not by its having logged on.
func TestRolesOverTheWire(t *testing.T) {
	ca := certsrvtest.Start(t, testCA, certsrv.Options{})
	// A stock authority refuses backups from other machines, which is not the
	// question here.
	if err := ca.Configure(func(c *certsrv.Config) { c.InterfaceFlags &^= certadm.IfNoRemoteAdminBackup }); err != nil {
		t.Fatal(err)
	}
	accounts, err := account.Open(filepath.Join(ca.Dir(), "accounts.json"), account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := serveTCP(t, ServerOptions{
		Name: testCA,
		Open: func(_ context.Context, c Caller) (certadm.Service, error) {
			p, err := ca.Principal(accounts, c.Mechanism, c.User, c.SameMachine())
			if err != nil {
				return nil, certadm.EAccessDenied
			}
			return ca.ServiceFrom(p, c.Remote.String()), nil
		},
		NTLM: &NTLMServer{Computer: "CA1", Lookup: func(user, _ string) ([16]byte, bool) { return accounts.NTHash(user) }},
	})
	const (
		admin, officer, auditor = account.Administrator, account.Officer, account.Auditor
		operator, read, enroll  = account.Operator, account.Read, account.Enroll
	)
	readers := []account.Roles{admin, officer, operator, read, enroll}
	methods := []struct {
		name string
		call func(ctx context.Context, c *Client) error
		may  []account.Roles
	}{
		{"BackupPrepare", func(ctx context.Context, c *Client) error {
			err := c.calls.prepare(ctx, prepareArgs{flags: 1})
			if err == nil {
				err = c.calls.simple(ctx, opBackupEnd)
			}
			return err
		}, []account.Roles{operator}},
		{"BackupGetDynamicFiles", func(ctx context.Context, c *Client) error { _, err := c.DynamicFiles(ctx); return err }, []account.Roles{operator}},
		{"RestoreGetDatabaseLocations", func(ctx context.Context, c *Client) error { _, err := c.DatabaseLocations(ctx); return err }, []account.Roles{operator}},
		{"Ping", func(ctx context.Context, c *Client) error { return c.Ping(ctx) }, []account.Roles{admin}},
		{"Ping2", func(ctx context.Context, c *Client) error { return c.calls.ping(ctx, opPing2, nil) }, []account.Roles{admin}},
		{"GetMyRoles", func(ctx context.Context, c *Client) error { _, err := c.MyRoles(ctx); return err }, readers},
		{"GetCRL", func(ctx context.Context, c *Client) error { _, err := c.CRL(ctx); return err }, readers},
		{"GetCAProperty", func(ctx context.Context, c *Client) error {
			_, err := c.CAProperty(ctx, certadm.PropCAName, 0, certadm.PropertyString)
			return err
		}, readers},
		{"ServerControl", func(ctx context.Context, c *Client) error { _, err := c.ServerControl(ctx, 3); return err }, []account.Roles{admin, operator}},
		{"GetServerState", func(ctx context.Context, c *Client) error { _, err := c.IsServerOnline(ctx); return err },
			[]account.Roles{admin, officer, auditor, operator, read, enroll}},
	}
	clients := map[account.Roles]*Client{}
	for _, role := range []account.Roles{admin, officer, auditor, operator, read, enroll} {
		name := "has-" + role.String()
		secret, err := accounts.AddNTLM(t.Context(), name, role)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := s.mustDial(t, func(o *Options) { o.Credentials = NTLM(name, "", []byte(secret)) })
		clients[role] = c
		for _, m := range methods {
			may := false
			for _, r := range m.may {
				may = may || r == role
			}
			want := certadm.SOK
			if !may {
				want = certadm.EAccessDenied
			}
			wantCode(t, m.call(t.Context(), c), want, m.name+" by "+name)
		}
	}
	got, err := clients[operator].MyRoles(t.Context())
	if err != nil || account.Roles(got) != operator|read {
		t.Errorf("an operator's roles are %v, %v", got, err)
	}

	// To stop the authority takes more than to back it up.
	_, err = clients[operator].ServerControl(t.Context(), certadm.ControlShutdown)
	wantCode(t, err, certadm.EAccessDenied, "shutdown by an operator")

	// An account with a password of its own has no NT hash, and cannot log on; an
	// account that is removed can no more.
	if err := accounts.Add(t.Context(), "human", operator, []byte("a password of a human's")); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.dial(t, func(o *Options) { o.Credentials = NTLM("human", "", []byte("a password of a human's")) })
	wantCode(t, err, certadm.ErrorLogonFailure, "logon by a password")
	secret, err := accounts.AddNTLM(t.Context(), "leaver", operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := accounts.Remove(t.Context(), "leaver"); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.dial(t, func(o *Options) { o.Credentials = NTLM("leaver", "", []byte(secret)) })
	wantCode(t, err, certadm.ErrorLogonFailure, "logon of a removed account")

	_, err = clients[admin].ServerControl(t.Context(), certadm.ControlShutdown)
	wantCode(t, err, certadm.SOK, "shutdown by an administrator")
	<-ca.Done()
}

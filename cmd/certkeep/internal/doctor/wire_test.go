package doctor

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/serve"
	"github.com/certkeep/certkeep/connect"
)

// served is an embedded authority that is being served on the loopback address,
// and an account there with these roles.
func served(t *testing.T, roles account.Roles, flags certadm.InterfaceFlags) (dir, secret string, at connect.Address) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "pki")
	if err := certsrv.Init(t.Context(), dir, certsrv.InitOptions{Name: "Example CA", Host: "srv01", InterfaceFlags: flags}); err != nil {
		t.Fatal(err)
	}
	accounts, err := account.Open(filepath.Join(dir, "accounts.json"), account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if secret, err = accounts.AddNTLM(t.Context(), "backup", roles); err != nil {
		t.Fatal(err)
	}
	a, err := serve.Start(t.Context(), serve.Options{Dir: dir, Wire: serve.Wire{Listen: "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if at, err = connect.Parse(connect.ServeAddress(a.Wire)); err != nil {
		t.Fatal(err)
	}
	at.User = "backup"
	return dir, secret, at
}

// over examines a served authority as the command does.
func over(t *testing.T, at connect.Address, secret string) *Report {
	t.Helper()
	o := RemoteOptions{Server: at.String(), Host: at.Host, Port: at.Port, Authority: at.Name, User: at.User, Fix: "adcs://FIX"}
	o.Dial = func(ctx context.Context, stage func(connect.Stage, error)) (Session, error) {
		conn, err := at.Open(ctx, connect.Options{Stage: stage, Login: connect.Login{Password: func(context.Context, string) ([]byte, error) { return []byte(secret), nil }}})
		if err != nil {
			return nil, err
		}
		return conn.Service().(Session), nil
	}
	return examine(t, o)
}

// TestOverTheWire examines the embedded authority across the wire protocol, in
// the states that it can be in.
func TestOverTheWire(t *testing.T) {
	for name, v := range map[string]struct {
		roles  account.Roles
		flags  certadm.InterfaceFlags
		change func(at *connect.Address, secret *string)
		failed string
		mend   string
		want   map[string]State // of what is not good
	}{
		"healthy": {roles: account.Operator},
		"wrong secret": {roles: account.Operator, change: func(_ *connect.Address, secret *string) { *secret = "wrong" }, failed: checkAuthentication, mend: "password",
			want: map[string]State{checkAuthentication: Failed, checkActivation: NotChecked, checkDynamicPort: NotChecked, checkPrivacy: NotChecked, checkRoles: NotChecked,
				checkSeparation: NotChecked, checkBackup: NotChecked, checkCAName: NotChecked, checkClock: NotChecked}},
		"wrong name": {roles: account.Operator, change: func(at *connect.Address, _ *string) { at.Name = "Other CA" }, failed: checkCAName, mend: "adcs://FIX",
			want: map[string]State{checkRoles: NotChecked, checkSeparation: NotChecked, checkCAName: Failed}},
		"right name": {roles: account.Operator, change: func(at *connect.Address, _ *string) { at.Name = "example ca" }},
		"auditor alone": {roles: account.Auditor, failed: checkRoles,
			want: map[string]State{checkRoles: Failed, checkSeparation: NotChecked, checkBackup: Failed, checkCAName: NotChecked}},
		"everything": {roles: account.AllRoles, want: map[string]State{checkRoles: Warning}},
		"no backups from here": {roles: account.Operator, flags: certadm.IfNoLocalAdminBackup | certadm.IfNoRemoteAdminBackup, failed: checkBackup,
			mend: "-IF_NOREMOTEICERTADMINBACKUP", want: map[string]State{checkBackup: Failed}},
	} {
		t.Run(name, func(t *testing.T) {
			_, secret, at := served(t, v.roles, v.flags)
			if v.change != nil {
				v.change(&at, &secret)
			}
			rep := over(t, at, secret)
			if rep.Failed() != v.failed {
				t.Errorf("%q failed: %v", rep.Failed(), rep.Err)
			}
			for _, c := range rep.Checks {
				want := v.want[c.Name]
				if want == "" {
					want = Good
				}
				if c.State != want {
					t.Errorf("%s is %s: %s", c.Name, c.State, c.Detail)
				}
				if c.Name == v.failed && !strings.Contains(c.Mend, v.mend) {
					t.Errorf("%s: mend %q", c.Name, c.Mend)
				}
			}
		})
	}
}

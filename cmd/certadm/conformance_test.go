package main_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/csra/csratest"
	"github.com/certkeep/certkeep/internal/need"
)

// The suite through C: each client is a process that has loaded the library, and
// names the server as a program for Certadm.dll does. Restores are done in the
// authority's directory.
func TestConformance(t *testing.T) {
	lib, exe := sharedLibrary(t), program(t, hostC)
	certadmtest.Run(t, func(t *testing.T) certadmtest.Env {
		return newEnv(t, func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, exe, lib) }, func(path string) string { return path })
	}, deviations())
}

// deviations are the items that do not apply to the C functions.
func deviations() map[int]string {
	skip := map[int]string{
		19: "a C program cannot send what the library does not send",
		20: "each context has a connection of its own: to the server a second session of a program is a second client's, and the answer hrBackupInProgress",
		26: "a C program has no handle without a session",
		27: "a C program has no handle without a session",
		28: "the functions that list need a context",
		38: "a C program cannot send what the library does not send",
		55: "the rights of a caller are given by the account, no token's privilege is enabled",
		57: "whoever may write in the authority's directory may restore it: there are no other rights",
		58: "whoever may write in the authority's directory may restore it: there are no other rights",
	}
	if !need.Heavy() {
		skip[35] = "moving 4 GiB is for CERTKEEP_TEST_HEAVY"
	}
	return skip
}

// Names of the server for programs.
const (
	netBIOS = "CA1"
	dnsName = "ca1.example.org"
)

// env is an authority whose clients are processes with the library.
type env struct {
	*certsrvtest.Env
	wire    *csratest.Server
	command func(context.Context) *exec.Cmd
	path    func(string) string // what a path of this machine is to the process
	dir     string
}

// What the env can do besides what a certsrvtest.Env can.
var _ interface {
	certadmtest.Env
	certadmtest.Namer
	certadmtest.Breaker
	certadmtest.Wire
} = (*env)(nil)

func newEnv(t *testing.T, command func(context.Context) *exec.Cmd, path func(string) string) *env {
	e := &env{Env: certsrvtest.New(t), command: command, path: path, dir: t.TempDir()}
	e.wire = csratest.Serve(t, e.Env)
	return e
}

func (e *env) Connect(ctx context.Context, c certadmtest.Caller) (certadm.Service, error) {
	return e.ConnectTo(ctx, c, netBIOS)
}

func (e *env) ConnectTo(_ context.Context, c certadmtest.Caller, server string) (certadm.Service, error) {
	user, password := e.wire.Logon(c)
	secret := filepath.Join(e.dir, user)
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		return nil, err
	}
	cmd := e.command(context.Background())
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, servers(e.wire.Address), "CERTKEEP_USER="+user, "CERTKEEP_PASSWORD_FILE="+e.path(secret), "CERTKEEP_LOG=")
	h := startHost(e.T, cmd)
	svc := &client{host: h, server: server, restorable: "ca:" + e.path(e.Server.Dir()), authority: e.Server}
	e.T.Cleanup(func() {
		if err := h.leave(); err != nil {
			e.T.Errorf("the client's process: %v", err)
		}
	})
	return svc, nil
}

// servers is CERTKEEP_SERVERS for an authority under its names.
func servers(address string) string {
	return "CERTKEEP_SERVERS=" + netBIOS + "=" + address + "; " + dnsName + "=adcs://" + address
}

func (e *env) ServerNames() []string { return []string{netBIOS, dnsName, `\\` + netBIOS} }
func (e *env) ConfigString() string  { return dnsName + `\` + certsrvtest.Name }

func (e *env) Break(_ context.Context, svc certadm.Service) error {
	c := svc.(*client)
	c.kill()
	c.awaitLoss()
	return nil
}

func (e *env) Authority() string { return certsrvtest.Name }

func (e *env) Calls(context.Context) ([]certadmtest.WireCall, error) { return e.wire.Calls(), nil }

func (e *env) Dial(context.Context, certadmtest.Caller) (certadmtest.WireClient, error) {
	return nil, errors.Join(errors.ErrUnsupported, errors.New("the library makes the wire's calls by itself"))
}

// GrowFile has more to move than a test takes that is run every day.
func (e *env) GrowFile(ctx context.Context, atLeast int64) (unc string, size int64, tail []byte, err error) {
	if !need.Heavy() {
		return "", 0, nil, errors.Join(errors.ErrUnsupported, errors.New("moving 4 GiB is for CERTKEEP_TEST_HEAVY"))
	}
	return e.Env.GrowFile(ctx, atLeast)
}

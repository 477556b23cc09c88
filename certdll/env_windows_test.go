package certdll

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/csra/csratest"
)

// wineTB is a test whose directory is removed file by file, as far as that goes: Wine
// 8 lacks the call behind os.RemoveAll. The prefix is removed as a whole.
type wineTB struct {
	testing.TB
}

func (t wineTB) TempDir() string {
	dir, err := os.MkdirTemp("", "certdll-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(dir) })
	return dir
}

func removeTree(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); e.IsDir() {
			removeTree(path)
		} else {
			os.Remove(path)
		}
	}
	os.Remove(dir)
}

// dllEnv is an authority on the loopback interface, whose clients come through the
// library of cmd/certadm.
type dllEnv struct {
	*certsrvtest.Env
	served *csratest.Server
	path   string
	dir    string // of password files
}

var _ interface {
	certadmtest.Env
	certadmtest.Wire
	certadmtest.Namer
	certadmtest.Privileger
} = (*dllEnv)(nil)

func newDLLEnv(t testing.TB, path string) *dllEnv {
	tb := wineTB{t}
	e := &dllEnv{Env: certsrvtest.New(tb), path: path, dir: tb.TempDir()}
	e.served = csratest.Serve(tb, e.Env)
	return e
}

// environment is this process's, from which the library takes who logs on, and what
// names stand for, whenever it connects.
var environment sync.Mutex

// caller is a client that sets the environment before each call that connects.
type caller struct {
	*Client
	e            *dllEnv
	restores     *Client // names the directory
	user, secret string
	less         bool // this caller may do less than everything in a restore
}

// as calls fn as this caller.
func (c *caller) as(fn func()) {
	environment.Lock()
	defer environment.Unlock()
	for name, value := range map[string]string{
		"CERTKEEP_USER": c.user, "CERTKEEP_PASSWORD_FILE": c.secret,
		"CERTKEEP_SERVERS": "CA1=" + c.e.served.Address + ";ca1.example.org=" + c.e.served.Address,
	} {
		if err := os.Setenv(name, value); err != nil {
			c.e.T.Error(err)
		}
	}
	fn()
}

func (c *caller) IsServerOnline(ctx context.Context) (on bool, err error) {
	c.as(func() { on, err = c.Client.IsServerOnline(ctx) })
	return on, err
}

func (c *caller) ServerControl(ctx context.Context, control certadm.Control) (out []byte, err error) {
	c.as(func() { out, err = c.Client.ServerControl(ctx, control) })
	return out, err
}

func (c *caller) BackupPrepare(ctx context.Context, t certadm.BackupType) (b certadm.Backup, err error) {
	c.as(func() { b, err = c.Client.BackupPrepare(ctx, t) })
	return b, err
}

func (c *caller) Identity(ctx context.Context) (id certadm.Identity, err error) {
	c.as(func() { id, err = c.Client.Identity(ctx) })
	return id, err
}

// RestorePrepare is done in the authority's directory, where the library has no
// callers: whoever can write there may do everything.
func (c *caller) RestorePrepare(ctx context.Context, t certadm.RestoreType) (certadm.Restore, error) {
	if c.less {
		return nil, &certadm.Error{Op: certadm.FnRestorePrepare, Code: certadm.ENotImpl, Err: errors.New("the library knows no callers in a directory")}
	}
	return c.restores.RestorePrepare(ctx, t)
}

func (c *caller) Close() error { return errors.Join(c.Client.Close(), c.restores.Close()) }

func (e *dllEnv) Connect(ctx context.Context, c certadmtest.Caller) (certadm.Service, error) {
	return e.ConnectTo(ctx, c, e.served.Address)
}

func (e *dllEnv) ServerNames() []string { return []string{"CA1", "ca1.example.org"} }
func (e *dllEnv) ConfigString() string  { return `CA1\` + certsrvtest.Name }

func (e *dllEnv) ConnectTo(_ context.Context, c certadmtest.Caller, server string) (certadm.Service, error) {
	user, password := e.served.Logon(c)
	secret := filepath.Join(e.dir, user)
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		return nil, err
	}
	client, err := openFile(e.path, server)
	if err != nil {
		return nil, err
	}
	restores, err := openFile(e.path, "ca:"+e.Server.Dir())
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &caller{Client: client, e: e, restores: restores, user: user, secret: secret,
		less: c.Name == "nobody" || c.Rights&(certadmtest.Restore|certadmtest.LocalAdmin) == certadmtest.Restore}, nil
}

// openFile is Open with another file.
func openFile(path, server string) (*Client, error) {
	return open(func() (procs, error) { return loadLibrary(path, 0) }, server)
}

func (e *dllEnv) Authority() string { return certsrvtest.Name }

func (e *dllEnv) Calls(context.Context) ([]certadmtest.WireCall, error) { return e.served.Calls(), nil }

func (e *dllEnv) Dial(context.Context, certadmtest.Caller) (certadmtest.WireClient, error) {
	return nil, errors.Join(errors.ErrUnsupported, errors.New("the library makes no single calls"))
}

func (e *dllEnv) GrowFile(context.Context, int64) (string, int64, []byte, error) {
	return "", 0, nil, errors.Join(errors.ErrUnsupported, errors.New("4 GiB with a hole are not for Wine's disk"))
}

// EnablePrivilege works on a copy of the process's token, from which the privileges
// are removed that the caller has not.
func (e *dllEnv) EnablePrivilege(_ context.Context, c certadmtest.Caller, right certadmtest.Rights) error {
	var process, copied windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ALL_ACCESS, &process); err != nil {
		return err
	}
	defer process.Close()
	err := windows.DuplicateTokenEx(process, windows.TOKEN_ALL_ACCESS, nil, windows.SecurityImpersonation, windows.TokenPrimary, &copied)
	if err != nil {
		return err
	}
	defer copied.Close()
	names := map[certadmtest.Rights]string{certadmtest.Operator: SeBackupPrivilege, certadmtest.Restore: SeRestorePrivilege}
	for r, name := range names {
		if c.Rights&r == 0 {
			if _, err := (token{copied}).set(name, windows.SE_PRIVILEGE_REMOVED); err != nil {
				return errors.Join(errors.ErrUnsupported, err)
			}
		}
	}
	restore, err := (&privileges{token: token{copied}}).enable(names[right])
	if err != nil {
		return err
	}
	return restore()
}

// library is the path in an environment variable.
func libraryPath(t *testing.T, name string) string {
	t.Helper()
	path := os.Getenv(name)
	if path == "" {
		t.Skip("started by TestWine, with " + name)
	}
	if !strings.HasSuffix(path, ".dll") {
		t.Fatalf("%s=%s", name, path)
	}
	return path
}

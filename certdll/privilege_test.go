package certdll

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/certadm"
)

// fakeToken holds privileges, enabled or not.
type fakeToken struct {
	mu    sync.Mutex
	has   map[string]bool
	fails error // of disabling
}

func (f *fakeToken) adjust(name string, on bool) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, held := f.has[name]
	if !held {
		return false, certadm.ErrorNotAllAssigned
	}
	if !on && f.fails != nil {
		return was, f.fails
	}
	f.has[name] = on
	return was, nil
}

func (f *fakeToken) state() map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.has)
}

func TestPrivileges(t *testing.T) {
	token := &fakeToken{has: map[string]bool{SeBackupPrivilege: false, SeRestorePrivilege: true}}
	before := token.state()
	p := &privileges{token: token}
	first, err := p.enable(SeBackupPrivilege, SeRestorePrivilege)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.enable(SeBackupPrivilege)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second call does nothing
		if err := first(); err != nil {
			t.Error(err)
		}
	}
	if !token.state()[SeBackupPrivilege] {
		t.Error("the privilege was put back while somebody needed it")
	}
	if err := second(); err != nil {
		t.Error(err)
	}
	if !maps.Equal(token.state(), before) {
		t.Errorf("afterwards %v, before %v", token.state(), before)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			restore, err := p.enable(SeBackupPrivilege, SeRestorePrivilege)
			if err != nil {
				t.Error(err)
				return
			}
			if s := token.state(); !s[SeBackupPrivilege] || !s[SeRestorePrivilege] {
				t.Errorf("enabled: %v", s)
			}
			if err := restore(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !maps.Equal(token.state(), before) {
		t.Errorf("afterwards %v, before %v", token.state(), before)
	}
}

// An account without the privilege is a failure, and leaves the others as they were.
func TestPrivilegeNotHeld(t *testing.T) {
	token := &fakeToken{has: map[string]bool{SeBackupPrivilege: false}}
	p := &privileges{token: token}
	_, err := p.enable(SeBackupPrivilege, SeRestorePrivilege)
	wantCode(t, err, certadm.ErrorNotAllAssigned)
	var e *certadm.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint, `"Restore files and directories"`) || e.Path != SeRestorePrivilege {
		t.Errorf("%+v", e)
	}
	if token.state()[SeBackupPrivilege] {
		t.Error("the other privilege stayed enabled")
	}
	token.fails = errors.New("no")
	restore, err := p.enable(SeBackupPrivilege)
	if err != nil {
		t.Fatal(err)
	}
	if err := restore(); !errors.Is(err, token.fails) {
		t.Errorf("restore: %v", err)
	}
}

// A session has its privilege as long as it lasts, and does not begin without.
func TestSessionPrivileges(t *testing.T) {
	e, d := authority(t)
	c := d.client(t)
	token := &fakeToken{has: map[string]bool{SeBackupPrivilege: false, SeRestorePrivilege: false}}
	c.enable = (&privileges{token: token}).enable
	only := func(when, name string) {
		t.Helper()
		for p, on := range token.state() {
			if on != (p == name) {
				t.Errorf("%s: %s enabled: %v", when, p, on)
			}
		}
	}
	b := prepare(t, c)
	only("during a backup", SeBackupPrivilege)
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}
	only("after a backup", "")
	if _, err := c.BackupPrepare(t.Context(), certadm.BackupLogsOnly); err == nil {
		t.Error("an incremental backup before a full one succeeds")
	}
	only("after a failed Prepare", "")
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := c.RestorePrepare(t.Context(), certadm.RestoreFull)
	if err != nil {
		t.Fatal(err)
	}
	only("during a restore", SeRestorePrivilege)
	if err := r.End(t.Context()); err != nil {
		t.Error(err)
	}
	only("after a restore", "")

	token.has = nil
	prepares := d.called(expPrepare) + d.called(expRestorePrepare)
	_, err = c.BackupPrepare(t.Context(), certadm.BackupFull)
	wantCode(t, err, certadm.ErrorNotAllAssigned)
	_, err = c.RestorePrepare(t.Context(), certadm.RestoreFull)
	wantCode(t, err, certadm.ErrorNotAllAssigned)
	if n := d.called(expPrepare) + d.called(expRestorePrepare); n != prepares {
		t.Error("the library was asked all the same")
	}
}

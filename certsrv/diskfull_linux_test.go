package certsrv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
)

const diskEnv = "CERTKEEP_TEST_SMALL_DISK"

// A full disk: the test runs itself with a mount namespace of its own, in which
// a small file system can be mounted.
func TestDiskFull(t *testing.T) {
	if dir := os.Getenv(diskEnv); dir != "" {
		if err := syscall.Mount("none", dir, "tmpfs", 0, "size=12m"); err != nil {
			fmt.Println("CANNOT MOUNT", err)
			return
		}
		diskFull(t, dir)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestDiskFull$", "-test.v")
	cmd.Env = append(os.Environ(), diskEnv+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) || strings.Contains(string(out), "CANNOT MOUNT") {
		t.Skipf("no file system can be mounted here: %v %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func diskFull(t *testing.T, disk string) {
	ctx := context.Background()
	dir := filepath.Join(disk, "ca")
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Init(ctx, dir, InitOptions{Name: "Test CA", Host: "ca1"}); err != nil {
		t.Fatal(err)
	}
	s := openServer(t, dir, Options{GenerationSize: 1 << 20})
	mustStart(t, s)
	csr := newCSR(t, "host")
	var acknowledged []string
	fill := func() {
		for {
			res, err := s.Submit(ctx, root, csr, nil)
			if err == nil {
				acknowledged = append(acknowledged, res.Serial)
				continue
			}
			if !errors.Is(err, ErrDiskFull) {
				t.Fatalf("after %d certificates: %v", len(acknowledged), err)
			}
			t.Logf("after %d certificates: %v", len(acknowledged), err)
			return
		}
	}
	there := func(when string) {
		t.Helper()
		got := make(map[string]bool)
		for _, serial := range serials(t, s, schema.Issued) {
			got[serial] = true
		}
		for _, serial := range acknowledged {
			if !got[serial] {
				t.Fatalf("%s: %s was acknowledged and is not there", when, serial)
			}
		}
	}
	fill()
	there("full")
	// A revocation takes less room than a certificate: some may still fit.
	for {
		err := s.Revoke(ctx, root, acknowledged[0], schema.Unspecified)
		if errors.Is(err, ErrDiskFull) {
			break
		}
		if err != nil {
			t.Fatalf("revoke: %v", err)
		}
		if acknowledged = acknowledged[1:]; len(acknowledged) == 1 {
			t.Fatal("the disk is full, and everything could be revoked")
		}
	}
	// What a failed commit left in the WAL is room for the next, so this may fit.
	if _, err := s.PublishCRL(ctx, root); err != nil && !errors.Is(err, ErrDiskFull) {
		t.Errorf("CRL: %v", err)
	}
	// There is room for the audit log, but not for what a backup does.
	svc := s.Service(root)
	b, err := svc.BackupPrepare(ctx, certadm.BackupFull)
	if err == nil {
		_, err = b.Logs(ctx)
		b.End(ctx)
	}
	if certadm.CodeOf(err) != certadm.ErrorDiskFull {
		t.Errorf("backup: %v", err)
	}
	if st, err := s.Status(ctx); err != nil || st.LastFull != nil {
		t.Errorf("a backup was recorded: %+v, %v", st.LastFull, err)
	}
	if err := os.Remove(ballast); err != nil { // room again
		t.Fatal(err)
	}
	for range 5 {
		res, err := s.Submit(ctx, root, csr, nil)
		if err != nil {
			t.Fatalf("with room again: %v", err)
		}
		acknowledged = append(acknowledged, res.Serial)
	}
	there("with room again")
	if err := s.Revoke(ctx, root, acknowledged[0], schema.Unspecified); err != nil {
		t.Errorf("revoke: %v", err)
	}
	acknowledged = acknowledged[1:]
	if _, err := s.PublishCRL(ctx, root); err != nil {
		t.Errorf("CRL: %v", err)
	}
	set := take(t, s, certadm.BackupFull, true)
	mustStop(t, s)
	mustStart(t, s)
	there("after a restart")
	mustStop(t, s)
	if set.high == 0 {
		t.Error("no logs")
	}
}

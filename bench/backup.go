package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/folder"
)

// benchBackup compares a full backup to a folder with cp and sha256sum, and
// issuing beside a backup with issuing alone.
func benchBackup(ctx context.Context, dir string, s settings) error {
	ca := filepath.Join(dir, "authority")
	srv, stop, err := newAuthority(ctx, ca)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			stop()
		}
	}()
	csrs, err := requests(64)
	if err != nil {
		return err
	}
	submit := submitter(srv, csrs)
	database, err := fill(ctx, srv, submit, s.mib<<20)
	if err != nil {
		return err
	}
	fi, err := os.Stat(database)
	if err != nil {
		return err
	}
	mib := float64(fi.Size()) / (1 << 20)

	var plain, ours []time.Duration
	for i := range s.rounds {
		d, err := copyAndSum(ctx, database, filepath.Join(dir, "plain"))
		if err != nil {
			return err
		}
		plain = append(plain, d)
		began := time.Now()
		if err := full(ctx, srv, dir, fmt.Sprintf("set%d", i)); err != nil {
			return err
		}
		ours = append(ours, time.Since(began))
	}
	p, o := median(plain), median(ours)
	row(fmt.Sprintf("cp, then sha256sum, of %.0f MiB", mib), fmt.Sprintf("%.0f MiB/s", mib/p.Seconds()), "")
	row("full backup of it to a folder, synced to disk",
		fmt.Sprintf("%.0f MiB/s, %.0f %% of it", mib/o.Seconds(), 100*p.Seconds()/o.Seconds()), "at least 70 %")

	if err := besides(ctx, srv, submit, dir, s); err != nil {
		return err
	}
	stop()
	stopped = true
	return memory(ctx, ca, dir, mib, s)
}

// fill issues until the database file has the size.
func fill(ctx context.Context, srv *certsrv.Server, submit func(context.Context, int) error, size int64) (string, error) {
	locs, err := certadm.Locations(ctx, srv.Service(account.LocalUser()))
	if err != nil {
		return "", err
	}
	unc, _ := locs.Find(certadm.FileDatabase)
	name, err := srv.LocalPath(unc)
	if err != nil {
		return "", err
	}
	for {
		fi, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		if fi.Size() >= size {
			return name, nil
		}
		if _, err := load(ctx, 128, time.Second, submit); err != nil {
			return "", err
		}
	}
}

func copyAndSum(ctx context.Context, src, dst string) (time.Duration, error) {
	defer os.Remove(dst)
	began := time.Now()
	if err := exec.CommandContext(ctx, "cp", src, dst).Run(); err != nil {
		return 0, fmt.Errorf("cp: %w", err)
	}
	if err := exec.CommandContext(ctx, "sha256sum", dst).Run(); err != nil {
		return 0, fmt.Errorf("sha256sum: %w", err)
	}
	return time.Since(began), nil
}

// full takes one full backup and removes it.
func full(ctx context.Context, srv *certsrv.Server, dir, name string) (err error) {
	store := folder.Root(filepath.Join(dir, "sets"), folder.Options{})
	svc := srv.Service(account.LocalUser())
	defer func() { err = errors.Join(err, svc.Close(), os.RemoveAll(filepath.Join(dir, "sets", name))) }()
	_, err = backup.Take(ctx, backup.TakeOptions{Service: svc, Store: store, Name: name, Type: backup.Full})
	return err
}

// besides measures issuing alone and beside full backups that follow each other
// without a pause, in turns.
func besides(ctx context.Context, srv *certsrv.Server, submit func(context.Context, int) error, dir string, s settings) error {
	var idleRate, busyRate []float64
	var idleP99, busyP99 []time.Duration
	backups := 0
	for range s.rounds {
		idle, err := load(ctx, 128, s.window, submit)
		if err != nil {
			return err
		}
		bctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			var err error
			for bctx.Err() == nil && err == nil {
				err = full(ctx, srv, dir, "busy")
				backups++
			}
			done <- err
		}()
		busy, err := load(ctx, 128, s.window, submit)
		cancel()
		if err := errors.Join(err, <-done); err != nil {
			return err
		}
		idleRate, busyRate = append(idleRate, idle.rate()), append(busyRate, busy.rate())
		idleP99, busyP99 = append(idleP99, idle.percentile(99)), append(busyP99, busy.percentile(99))
	}
	row("issuing, 128 in flight, into that database",
		fmt.Sprintf("%.0f/s, p99 %.1f ms", median(idleRate), ms(median(idleP99))), "")
	row(fmt.Sprintf("the same while full backups run (%d of them)", backups),
		fmt.Sprintf("%.0f/s (%.0f %%), p99 %.1f ms (%.1f×)", median(busyRate), 100*median(busyRate)/median(idleRate),
			ms(median(busyP99)), float64(median(busyP99))/float64(median(idleP99))), "at least 70 %, at most 2×")
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// memory runs the program itself, because only a whole process has a peak.
func memory(ctx context.Context, ca, dir string, mib float64, s settings) error {
	if s.program == "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// A child begins with its parent's peak (Linux counts the time before exec),
	// so a small process of its own starts it.
	cmd := exec.CommandContext(ctx, self, "-peak", s.program, "backup", "ca:"+ca,
		"--folder", filepath.Join(dir, "mem", "set"), "--type", "full", "--quiet")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("certkeep backup: %w", err)
	}
	row(fmt.Sprintf("peak memory of certkeep backup, %.0f MiB", mib), strings.TrimSpace(string(out)), "under 64 MiB")
	return nil
}

// peak runs a program and prints its peak memory.
func peak(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	n, ok := peakMemory(cmd.ProcessState)
	if !ok {
		fmt.Println("not known on this system")
		return nil
	}
	fmt.Printf("%.0f MiB\n", float64(n)/(1<<20))
	return nil
}

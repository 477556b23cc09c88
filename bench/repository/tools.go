package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tool is a program under test, and its repository.
type tool struct {
	name string
	dir  string // its repository
	env  []string
	// The commands; nil means that it has no such step.
	init    []string
	backup  func(file string) []string
	restore func(target string) []string
	verify  []string
}

// tools are those that are installed, with repositories below dir. certkeep is the first.
func tools(dir, with string) ([]tool, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	all := []tool{{
		name: "certkeep", dir: at("certkeep"),
		init:    []string{self, "init", at("certkeep")},
		backup:  func(f string) []string { return []string{self, "backup", at("certkeep"), f} },
		restore: func(t string) []string { return []string{self, "restore", at("certkeep"), t} },
		verify:  []string{self, "verify", at("certkeep")},
	}}
	for name := range strings.SplitSeq(with, ",") {
		switch name {
		case "pipeline":
			all = append(all, tool{name: name, dir: at(name), backup: func(f string) []string { return []string{self, "pipeline", f} }})
			continue
		case "restic":
			r := func(args ...string) []string { return append([]string{"restic", "-q"}, args...) }
			all = append(all, tool{
				name: name, dir: at(name),
				env:     []string{"RESTIC_PASSWORD=bench", "RESTIC_REPOSITORY=" + at(name), "RESTIC_CACHE_DIR=" + at("restic-cache")},
				init:    r("init", "--repository-version", "2"),
				backup:  func(f string) []string { return r("backup", "--compression", "auto", f) },
				restore: func(t string) []string { return r("restore", "latest", "--target", t) },
				verify:  r("check", "--read-data"),
			})
		case "borg":
			all = append(all, tool{
				name: name, dir: at(name),
				env:  []string{"BORG_PASSPHRASE=bench", "BORG_REPO=" + at(name), "BORG_BASE_DIR=" + at("borg-base")},
				init: []string{"borg", "init", "--encryption", "repokey-blake2"},
				backup: func(f string) []string {
					return []string{"borg", "create", "--compression", "zstd,3", "::{utcnow:%s.%f}", f}
				},
				restore: func(t string) []string {
					return []string{"sh", "-c", `cd "$0" && borg extract "::$(borg list --last 1 --short)"`, t}
				},
				verify: []string{"borg", "check", "--verify-data"},
			})
		case "":
			continue
		default:
			return nil, fmt.Errorf("nothing here measures %q", name)
		}
		if _, err := exec.LookPath(name); err != nil {
			fmt.Printf("%s is not installed: left out\n", name)
			all = all[:len(all)-1]
		}
	}
	return all, nil
}

// cost is what a step took.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // bytes
}

func (t tool) run(ctx context.Context, command []string) (cost, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), t.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return cost{}, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return cost{took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peakMemory(cmd.ProcessState)}, nil
}

// stored is how many bytes lie below a directory.
func stored(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

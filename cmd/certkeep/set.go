package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/repo"
)

// setOptions say which set a verb works on: one in a folder, or one in a repository.
type setOptions struct {
	folder string
	repositoryOptions
	ca  string // authority, where a repository has several
	set string // an id, the beginning of one, or latest; empty is latest
}

func (o *setOptions) addFlags(f *pflag.FlagSet, folder string) {
	f.StringVar(&o.folder, "folder", "", folder)
	o.repositoryOptions.addFlags(f, "or the repository that the set is in")
	f.StringVar(&o.ca, "authority", "", "the authority whose sets are meant, where a repository has several: `NAME`")
}

// inRepository reports whether a repository is meant: by the flag, or by the environment
// where no folder is named.
func (o *setOptions) inRepository() bool { return o.address != "" || o.folder == "" && o.where() != "" }

func (o *setOptions) check() error {
	switch {
	case o.folder != "" && o.address != "":
		return usagef("--folder and -r exclude each other")
	case o.folder == "" && !o.inRepository():
		return usagef("--folder DIR or -r REPO is missing")
	case o.folder != "" && o.set != "":
		return usagef("%q is one argument too many: --folder names the set", o.set)
	}
	return nil
}

// place is where the sets are, for people.
func (o *setOptions) place() string {
	if o.folder == "" {
		return o.where()
	}
	return o.folder
}

// takeSet takes the argument SET, which may be left out.
func (o *setOptions) takeSet(args []string) {
	if len(args) > 0 {
		o.set = args[0]
	}
}

// optionalSet is cobra's check of such an argument.
func (c *console) optionalSet() cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		c.at(cmd)
		if len(args) > 1 {
			return usagef("%q is one argument too many", args[1])
		}
		return nil
	}
}

// source finds the chain that is meant. With --folder: if DIR is a set itself, the chain
// that ends in it, the other sets being beside it; else that of the newest set in
// DIR.
func (o *setOptions) source(ctx context.Context, c *console) (backup.Source, error) {
	var none backup.Source
	if err := o.check(); err != nil {
		return none, err
	}
	if o.inRepository() {
		r, err := o.open(ctx, c, toRead)
		if err != nil {
			return none, err
		}
		id, err := o.find(ctx, r)
		return backup.Source{Store: r, ID: id}, err
	}
	store, name, err := folder.Resolve(ctx, o.folder)
	if err != nil {
		if log, lerr := backup.FindCertLog(o.folder, ""); lerr == nil {
			return none, withHint(err, "this is a database directory of AD CS, not a backup: certkeep verify --folder %s checks it, and certkeep certs --database '%s' reads it", o.folder, log.Database)
		}
		return none, err
	}
	return backup.Source{Store: store, ID: name}, nil
}

// find finds the set in a repository.
func (o *setOptions) find(ctx context.Context, r *repo.Repository) (string, error) {
	entries, err := r.List(ctx)
	if err != nil {
		return "", err
	}
	e, err := findSet(entries, o.set, o.ca)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.Location(), err)
	}
	return e.ID, nil
}

const latest = "latest"

// findSet finds a set by its id, by the beginning of it, or the newest; of one authority, if
// that is named.
func findSet(entries []backupset.Entry, name, ca string) (backupset.Entry, error) {
	var fit []backupset.Entry
	names := map[string]bool{}
	for _, e := range entries {
		if ca != "" && !isOf(e.Manifest, ca) {
			continue
		}
		switch {
		case e.ID == name && name != "":
			return e, nil
		case name == "" || name == latest:
			if e.Manifest == nil {
				continue
			}
			names[e.Manifest.CA.Name] = true
		case !strings.HasPrefix(e.ID, name):
			continue
		}
		fit = append(fit, e)
	}
	switch {
	case len(fit) == 0 && (name == "" || name == latest):
		return backupset.Entry{}, fmt.Errorf("there is no set: %w", backupset.ErrNotFound)
	case len(fit) == 0:
		return backupset.Entry{}, withHint(fmt.Errorf("set %.80q: %w", name, backupset.ErrNotFound), "certkeep list shows the sets")
	case len(names) > 1:
		return backupset.Entry{}, withHint(fmt.Errorf("sets of %d authorities are there: %w", len(names), backupset.ErrAmbiguous),
			"name the set, or the authority with --authority: %s", strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	case len(names) == 0 && len(fit) > 1:
		return backupset.Entry{}, fmt.Errorf("%d sets begin with %q: %w", len(fit), name, backupset.ErrAmbiguous)
	}
	backupset.Sort(fit)
	return fit[len(fit)-1], nil
}

// chainOptions say how far to go in a chain, and what continues it.
type chainOptions struct {
	setOptions
	until    string
	openLog  string
	moreLogs []string
}

func (o *chainOptions) addFlags(f *pflag.FlagSet, folder string) {
	o.setOptions.addFlags(f, folder)
	f.StringVar(&o.until, "until", "", "stop at a point in time: `GENERATION` of the log (26, 0001a), or TIME (2006-01-02T15:04:05Z): the newest generation closed by then")
	f.StringVar(&o.openLog, "open-log", "", "the log that was still open, salvaged from the dead machine: `FILE` named NAME.db-wal")
	f.StringSliceVar(&o.moreLogs, "log", nil, "a closed log after the last set, salvaged from the dead machine: `FILE` named logNNNNN.log, or the directory of them; may be repeated")
}

// logs lists the salvaged logs: of a directory, what bears the name of a log.
// Those that a set holds already do no harm.
func (o *chainOptions) logs() ([]string, error) {
	var files []string
	for _, name := range o.moreLogs {
		fi, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("--log: %w", err)
		}
		if !fi.IsDir() {
			files = append(files, name)
			continue
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, fmt.Errorf("--log: %w", err)
		}
		before := len(files)
		for _, e := range entries {
			if _, ok := certadm.ParseLogGeneration(e.Name()); ok && e.Type().IsRegular() {
				files = append(files, filepath.Join(name, e.Name()))
			}
		}
		if len(files) == before {
			return nil, fmt.Errorf("--log: %s holds no log", name)
		}
	}
	return files, nil
}

// chain is what all verbs of a chain begin with.
type chain struct {
	backup.Source
	until backup.Until
	logs  []string
}

func (o *chainOptions) chain(ctx context.Context, c *console) (ch chain, err error) {
	if ch.until, err = backup.ParseUntil(o.until); err != nil {
		return ch, usagef("--until: %w", err)
	}
	if ch.Source, err = o.source(ctx, c); err != nil {
		return ch, err
	}
	ch.logs, err = o.logs()
	return ch, err
}

// jobProgress shows the progress of a job.
func (m *meter) job(p backup.Progress) { m.Set(p.Phase, p.Done, p.Total) }

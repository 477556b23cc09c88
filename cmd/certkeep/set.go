package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
)

// setOptions say which set a verb works on.
type setOptions struct {
	folder     string
	repository string
}

func (o *setOptions) addFlags(f *pflag.FlagSet, folder string) {
	f.StringVar(&o.folder, "folder", "", folder)
	f.StringVarP(&o.repository, "repository", "r", "", "a repository")
	f.Lookup("repository").Hidden = true // answered with one sentence, see check
}

func (o *setOptions) check() error { return needFolder(o.folder, o.repository) }

// source finds the chain that --folder means: if DIR is a set itself, the chain
// that ends in it, the other sets being beside it; else that of the newest set in
// DIR.
func (o *setOptions) source(ctx context.Context) (backup.Source, error) {
	var none backup.Source
	if err := o.check(); err != nil {
		return none, err
	}
	store, name, err := folder.Resolve(ctx, o.folder)
	if err != nil {
		return none, err
	}
	return backup.Source{Store: store, ID: name}, nil
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

func (o *chainOptions) chain(ctx context.Context) (c chain, err error) {
	if c.until, err = backup.ParseUntil(o.until); err != nil {
		return c, usagef("--until: %w", err)
	}
	if c.Source, err = o.source(ctx); err != nil {
		return c, err
	}
	c.logs, err = o.logs()
	return c, err
}

// jobProgress shows the progress of a job.
func (m *meter) job(p backup.Progress) { m.Set(p.Phase, p.Done, p.Total) }

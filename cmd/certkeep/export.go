package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/repo"
)

type exportOptions struct {
	repositoryOptions
	ca     string
	folder string
	chain  bool
	dryRun bool
}

func newExportCommand(c *console) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export -r REPO SET --folder DIR [--chain]",
		Short: "write sets of a repository to plain folders",
		Long: `export writes a set to a plain folder, in the layout of certutil: certutil -restoreDB takes
it, and so does every verb of certkeep with --folder. SET is an id, the beginning of one, or
latest. Every file is held against the manifest on the way. It takes a restore identity.

DIR becomes the set. With --chain the set and all before it in its chain are written, each
to a directory of its own in DIR that bears its id; an incremental set is of no use without.`,
		Args: c.exactly("SET"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runExport(ctx, c, o, args[0]) }),
	}
	f := cmd.Flags()
	o.addFlags(f, "the repository")
	f.StringVar(&o.ca, "authority", "", "the authority whose sets are meant, where a repository has several: `NAME`")
	f.StringVar(&o.folder, "folder", "", "write to `DIR`")
	f.BoolVar(&o.chain, "chain", false, "write the whole chain, each set to a directory in DIR")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be written, and write nothing")
	return describeRepository(cmd, "certkeep export -r /mnt/backup/pki --identity /media/safe/pki-restore.key latest --chain --folder D:\\export")
}

func runExport(ctx context.Context, c *console, o exportOptions, name string) error {
	if err := o.need(); err != nil {
		return err
	}
	if o.folder == "" {
		return usagef("--folder DIR is missing")
	}
	r, err := o.open(ctx, c, toRead)
	if err != nil {
		return err
	}
	s, all, err := findInfo(ctx, r, name, o.ca)
	if err != nil {
		return err
	}
	chain := backupset.Chain{s.Entry}
	if o.chain {
		if chain, err = backupset.Resolve(all, s.ID, backupset.ResolveOptions{AllowUnconfirmed: true}); err != nil {
			return err
		}
	}
	res := newTransferResult(r.Location(), o.folder, o.dryRun)
	for _, e := range chain {
		if err := exportOne(ctx, c, r, e, &o, res); err != nil {
			return err
		}
	}
	if !o.chain && s.Manifest.Type == backupset.Incremental {
		c.warn("set %s is incremental: a restore needs its whole chain (--chain)", s.ID)
	}
	return c.result(res, func(w io.Writer) error { return res.human(w, "exported") })
}

func exportOne(ctx context.Context, c *console, r *repo.Repository, e backupset.Entry, o *exportOptions, res *transferResult) error {
	var dst backupset.Store = folder.Root(o.folder, folder.Options{})
	name, dir := e.ID, filepath.Join(o.folder, e.ID)
	if !o.chain {
		store, n, err := folder.Split(o.folder, folder.Options{})
		if err != nil {
			return err
		}
		dst, name, dir = store, n, o.folder
	}
	t := newTransferred(e.Manifest, e.State())
	t.Folder = dir
	if !o.dryRun {
		set, err := r.Open(ctx, e.ID)
		if err != nil {
			return err
		}
		m := c.progress()
		defer m.Close()
		_, err = backupset.Transfer(ctx, dst, set, backupset.TransferOptions{Name: name,
			Progress: func(file string, done, total int64) { m.Set(e.Label()+": "+file, done, total) }})
		if o.chain && errors.Is(err, backupset.ErrExists) {
			res.There = append(res.There, e.ID)
			return nil
		}
		if err != nil {
			return err
		}
	}
	res.Sets = append(res.Sets, t)
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo"
)

type copyOptions struct {
	repositoryOptions
	to     repositoryOptions
	ca     string
	dryRun bool
}

func newCopyCommand(c *console) *cobra.Command {
	var o copyOptions
	cmd := &cobra.Command{
		Use:   "copy -r REPO --to REPO [SET…]",
		Short: "copy sets from one repository to another",
		Long: `copy copies the sets that the other repository lacks, or those that are named, with what is
before them in their chains.

Where the other has the same keys (certkeep init --like) they are copied as they are, sealed,
and no restore identity is needed. Otherwise each is opened with the identity, held against
its manifest, and sealed anew for those who may read the other repository. Writing takes this
machine's key of the other, or with --to-identity an identity of it.

A set that was forgotten in the other repository alone is copied again.`,
		Args: cobra.ArbitraryArgs,
		RunE: c.do(func(ctx context.Context, args []string) error { return runCopy(ctx, c, o, args) }),
	}
	f := cmd.Flags()
	o.addFlags(f, "copy from this repository")
	f.StringVar(&o.to.address, "to", "", "copy to the repository `REPO`")
	f.StringArrayVar(&o.to.identities, "to-identity", nil, "restore identity of the other repository, where this machine is no host of it: `FILE`, passphrase, or passphrase:FILE")
	f.StringVar(&o.to.hostKey, "to-host-key", "", "this host's key in the other repository: `FILE` (default in the configuration directory)")
	f.StringVar(&o.ca, "authority", "", "only sets of the authority `NAME`")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be copied, and copy nothing")
	return describeRepository(cmd, "certkeep copy -r /mnt/backup/pki --to s3://pki-copy?endpoint=https://s3.corp.example", exitPartly)
}

// How sets were copied.
const (
	copiedSealed = "sealed as they are"
	copiedOpened = "opened, and sealed anew"
)

func runCopy(ctx context.Context, c *console, o copyOptions, names []string) error {
	if err := o.need(); err != nil {
		return err
	}
	if o.to.address == "" {
		return usagef("--to REPO is missing")
	}
	o.to.up, o.to.down = o.up, o.down
	src, err := o.openAt(ctx, c, o.where(), toLook)
	if err != nil {
		return err
	}
	dst, err := o.openTo(ctx, c)
	if err != nil {
		return err
	}
	if src.Location() == dst.Location() {
		return usagef("both are the same repository")
	}
	cp := &copier{c: c, src: src, dst: dst}
	if src.ID() == dst.ID() {
		err = cp.run(ctx, &o, names, copiedSealed, cp.sealed)
	} else {
		err = repo.ErrOtherKeys
	}
	if errors.Is(err, repo.ErrOtherKeys) { // of another repository, or a recipient was removed from one of them
		if cp.src, err = o.openAt(ctx, c, o.where(), toRead); err != nil {
			return withHint(err, "the repositories have different keys, so that sets are opened and sealed anew: name the restore identity of %s with --identity", src.Location())
		}
		err = cp.run(ctx, &o, names, copiedOpened, cp.opened)
	}
	if err != nil {
		return err
	}
	return errors.Join(c.result(cp.res, func(w io.Writer) error { return cp.res.human(w, "copied") }), cp.res.partly())
}

// openTo opens the other repository for writing. The identities of this one are not tried on
// it: it may have others.
func (o *copyOptions) openTo(ctx context.Context, c *console) (*repo.Repository, error) {
	if len(o.to.identities) > 0 {
		return o.to.openAt(ctx, c, o.to.address, toWrite)
	}
	r, err := o.to.openAt(ctx, c, o.to.address, toLook)
	if err != nil {
		return nil, err
	}
	if _, err := r.Me(); err != nil {
		return nil, withHint(fmt.Errorf("%s: %w", r.Location(), err), "certkeep host add enrolls this machine there; --to-identity names a restore identity of it")
	}
	return r, nil
}

// run chooses the sets, and copies them in one way or the other.
func (cp *copier) run(ctx context.Context, o *copyOptions, names []string, how string, copy func(context.Context) error) error {
	cp.res = newTransferResult(cp.src.Location(), cp.dst.Location(), o.dryRun)
	cp.res.How, cp.sets = how, nil
	if err := cp.choose(ctx, names, o.ca); err != nil || o.dryRun {
		return err
	}
	return copy(ctx)
}

type copier struct {
	c        *console
	src, dst *repo.Repository
	res      *transferResult
	sets     []repo.SetInfo // to be copied, parents first
}

// choose finds the sets, and what their chains need.
func (cp *copier) choose(ctx context.Context, names []string, ca string) error {
	all, err := cp.src.Sets(ctx)
	if err != nil {
		return err
	}
	have, err := cp.dst.Sets(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, s := range have {
		there[s.ID] = true
	}
	entries := entriesOf(all)
	var wanted []backupset.Entry
	for _, name := range names {
		e, err := findSet(entries, name, ca)
		if err != nil {
			return fmt.Errorf("%s: %w", cp.src.Location(), err)
		}
		wanted = append(wanted, e)
	}
	if len(names) == 0 {
		for _, e := range entries {
			if ca == "" || isOf(e.Manifest, ca) {
				wanted = append(wanted, e)
			}
		}
	}
	infos := map[string]repo.SetInfo{}
	for _, s := range all {
		infos[s.ID] = s
	}
	seen := map[string]bool{}
	for _, e := range wanted {
		chain, err := backupset.Resolve(entries, e.ID, backupset.ResolveOptions{AllowUnconfirmed: true})
		if err != nil {
			chain = backupset.Chain{e} // hidden, or broken: it is copied as it is
		}
		for _, link := range chain {
			switch {
			case seen[link.ID]:
				continue
			case there[link.ID]:
				cp.res.There = append(cp.res.There, link.ID)
			default:
				cp.sets = append(cp.sets, infos[link.ID])
				if cp.res.DryRun {
					cp.add(infos[link.ID])
				}
			}
			seen[link.ID] = true
		}
	}
	return nil
}

func (cp *copier) add(s repo.SetInfo) {
	t := transferred{Set: s.ID, Bytes: s.Bytes, State: s.State()}
	if s.Hidden {
		t.State = stateHidden
	}
	if s.Manifest != nil {
		t = newTransferred(s.Manifest, s.State())
	}
	cp.res.Sets = append(cp.res.Sets, t)
}

func (cp *copier) sealed(ctx context.Context) error {
	m := cp.c.progress()
	defer m.Close()
	for _, s := range cp.sets {
		res, err := repo.Copy(ctx, cp.dst, cp.src, []string{s.ID}, repo.CopyOptions{
			Progress: func(set string, done, total int64) { m.Set(short(set)+": segments", done, total) }})
		switch {
		case err != nil && (ctx.Err() != nil || errors.Is(err, repo.ErrOtherKeys) || !ofSet(err)):
			return err
		case err != nil:
			cp.res.skip(s.ID, err)
		case len(res.Copied) == 0:
			cp.res.There = append(cp.res.There, s.ID)
		default:
			cp.add(s)
			cp.res.Stored += res.Bytes
		}
	}
	return nil
}

func (cp *copier) opened(ctx context.Context) error {
	for _, s := range cp.sets {
		err := cp.open(ctx, s)
		switch {
		case err == nil:
			cp.add(s)
			cp.res.Stored += cp.dst.StoredBy(s.ID)
		case errors.Is(err, backupset.ErrExists):
			cp.res.There = append(cp.res.There, s.ID)
		case ctx.Err() != nil || !ofSet(err):
			return err
		default:
			cp.res.skip(s.ID, err)
		}
	}
	return nil
}

func (cp *copier) open(ctx context.Context, s repo.SetInfo) error {
	set, err := cp.src.Open(ctx, s.ID)
	if err != nil {
		return err
	}
	m := cp.c.progress()
	defer m.Close()
	_, err = backupset.Transfer(ctx, cp.dst, set, backupset.TransferOptions{
		Progress: func(file string, done, total int64) { m.Set(short(s.ID)+": "+file, done, total) }})
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/repo"
)

type importOptions struct {
	repositoryOptions
	dryRun bool
}

func newImportCommand(c *console) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import FOLDER -r REPO",
		Short: "take plain folders into a repository",
		Long: `import takes backup folders into a repository: those of certkeep, of certutil -backupDB, and
of Backup-CARoleService. FOLDER is a set, whose chain is beside it, or a directory of sets.
Every file is held against the manifest on the way; sets that are there already are passed
over. The folders stay as they are.

A folder that certutil wrote has no manifest: one is made of what is there, and incremental
sets are chained as their logs show. Such sets are unconfirmed, because nobody knows how the
session ended.`,
		Args: c.exactly("FOLDER"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runImport(ctx, c, o, args[0]) }),
	}
	o.addFlags(cmd.Flags(), "into this repository")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would be taken in, and take in nothing")
	return describeRepository(cmd, "certkeep import E:\\CABackup -r /mnt/backup/pki", exitPartly)
}

// transferResult is what import, export and copy did.
type transferResult struct {
	From    string        `json:"from"`
	To      string        `json:"to"`
	How     string        `json:"how,omitempty"` // of copy: "sealed" as they are, or "opened" and sealed anew
	Sets    []transferred `json:"sets"`
	There   []string      `json:"there"`   // were there before
	Skipped []skippedSet  `json:"skipped"` // with the reason
	Stored  int64         `json:"stored,omitempty"`
	DryRun  bool          `json:"dry_run,omitempty"`
}

type transferred struct {
	Set       string `json:"set"`
	From      string `json:"from,omitempty"` // what it is called in a folder
	Authority string `json:"authority,omitempty"`
	Type      string `json:"type,omitempty"`
	Parent    string `json:"parent,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
	State     string `json:"state,omitempty"`
	Folder    string `json:"folder,omitempty"` // that export wrote
}

type skippedSet struct {
	Set string `json:"set"`
	Why string `json:"why"`

	err error
}

func newTransferResult(from, to string, dry bool) *transferResult {
	return &transferResult{From: from, To: to, Sets: []transferred{}, There: []string{}, Skipped: []skippedSet{}, DryRun: dry}
}

func newTransferred(m *backupset.Manifest, state string) transferred {
	return transferred{Set: m.ID, Authority: m.CA.Name, Type: string(m.Type), Parent: m.Parent, Bytes: m.Size(), State: state}
}

func (r *transferResult) skip(set string, err error) {
	r.Skipped = append(r.Skipped, skippedSet{set, err.Error(), err})
}

// partly is the error of what was passed over; where nothing went well it is the first error
// itself.
func (r *transferResult) partly() error {
	switch {
	case len(r.Skipped) == 0:
		return nil
	case len(r.Sets)+len(r.There) == 0:
		return r.Skipped[0].err
	}
	var parts []string
	for _, s := range r.Skipped {
		parts = append(parts, s.Why)
	}
	return withExit(exitPartly, fmt.Errorf("%s passed over: %s", plural(len(r.Skipped), "set was", "sets were"), strings.Join(parts, "; ")))
}

// human prints it; did is what was done to sets: "imported".
func (r *transferResult) human(w io.Writer, did string) error {
	if r.DryRun {
		did = "would be " + did
	}
	if len(r.Sets) > 0 {
		rows := [][]string{{"SET", "AUTHORITY", "TYPE", "CHAIN", "SIZE", "STATE", ""}}
		for _, s := range r.Sets {
			chain, place := "", s.From
			if s.Parent != "" {
				chain = "after " + short(s.Parent)
			}
			if s.Folder != "" {
				place = s.Folder
			}
			rows = append(rows, []string{s.Set, s.Authority, s.Type, chain, size(s.Bytes), s.State, place})
		}
		if err := table(w, rows); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	line := plural(len(r.Sets), "set", "sets") + " " + did
	if r.How != "" && len(r.Sets) > 0 {
		line += " " + r.How
	}
	if len(r.There) > 0 {
		line += ", " + plural(len(r.There), "was", "were") + " there before"
	}
	if r.Stored > 0 {
		line += ", " + size(r.Stored) + " stored"
	}
	_, err := fmt.Fprintln(w, oneLine(line))
	return err
}

func runImport(ctx context.Context, c *console, o importOptions, dir string) error {
	if err := o.need(); err != nil {
		return err
	}
	src, name, err := folder.Resolve(ctx, dir)
	if err != nil {
		return err
	}
	dst, err := o.open(ctx, c, toWrite)
	if err != nil {
		return err
	}
	im := &importer{c: c, src: src, dst: dst, res: newTransferResult(dir, dst.Location(), o.dryRun), done: map[string]*backupset.Manifest{}}
	if im.entries, err = src.List(ctx); err != nil {
		return err
	}
	if im.there, err = dst.List(ctx); err != nil {
		return err
	}
	for _, e := range im.entries {
		if name != "" && e.Key() != name && e.Name != name {
			continue
		}
		if err := im.take(ctx, e); err != nil {
			return err
		}
	}
	for _, s := range im.res.Sets {
		im.res.Stored += dst.StoredBy(s.Set)
	}
	return errors.Join(c.result(im.res, func(w io.Writer) error { return im.res.human(w, "imported") }), im.res.partly())
}

type importer struct {
	c       *console
	src     backupset.Store
	dst     *repo.Repository
	entries []backupset.Entry // in the folder
	there   []backupset.Entry // in the repository
	res     *transferResult
	done    map[string]*backupset.Manifest // as they are in the repository now, by key
}

// take takes in a set, and what is before it in its chain. What is wrong with a set is
// noted; the error is of an interruption, or of the repository.
func (im *importer) take(ctx context.Context, e backupset.Entry) error {
	if e.Manifest == nil {
		im.res.skip(e.Label(), fmt.Errorf("%s: %w", e.Label(), e.Err))
		return nil
	}
	chain, err := backupset.Resolve(im.entries, e.Key(), backupset.ResolveOptions{AllowUnconfirmed: true})
	if err != nil {
		if chain, err = im.continues(e); err != nil {
			im.res.skip(e.Label(), fmt.Errorf("%s: %w", e.Label(), err))
			return nil
		}
	}
	var parent *backupset.Manifest
	for _, link := range chain {
		if m := im.done[link.Key()]; m != nil {
			parent = m
			continue
		}
		m, err := im.one(ctx, link, parent)
		if err != nil {
			if ctx.Err() != nil || !ofSet(err) {
				return err
			}
			im.res.skip(e.Label(), err)
			return nil
		}
		im.done[link.Key()], parent = m, m
	}
	return nil
}

// ofSet reports whether an error is about the set, so that the next one may do better.
func ofSet(err error) bool {
	return errors.Is(err, backupset.ErrDamaged) || errors.Is(err, backupset.ErrChain) || errors.Is(err, backupset.ErrNotFound) || errors.Is(err, backupset.ErrNewer) ||
		errors.Is(err, repo.ErrNoted)
}

// continues finds the chain of a set whose parent is not in the folder, but in the repository.
func (im *importer) continues(e backupset.Entry) (backupset.Chain, error) {
	all := append(append([]backupset.Entry{}, im.there...), e)
	chain, err := backupset.Resolve(all, e.Key(), backupset.ResolveOptions{AllowUnconfirmed: true})
	if err != nil {
		return nil, err
	}
	for _, link := range chain[:len(chain)-1] {
		im.done[link.Key()] = link.Manifest
	}
	return chain, nil
}

func (im *importer) one(ctx context.Context, e backupset.Entry, parent *backupset.Manifest) (*backupset.Manifest, error) {
	for _, have := range im.there {
		if have.ID == e.ID && have.Manifest != nil {
			im.res.There = append(im.res.There, e.ID)
			return have.Manifest, nil
		}
	}
	if im.res.DryRun {
		m := *e.Manifest
		if parent != nil {
			m.Parent = parent.ID
		}
		im.add(&m, e)
		return &m, nil
	}
	meter := im.c.progress()
	defer meter.Close()
	ms, copied, err := backupset.TransferChain(ctx, im.dst, im.src, backupset.Chain{e},
		backupset.TransferOptions{Parent: parent, Progress: func(file string, done, total int64) { meter.Set(e.Label()+": "+file, done, total) }})
	if err != nil {
		return nil, err
	}
	if copied == 0 {
		im.res.There = append(im.res.There, ms[0].ID)
	} else {
		im.add(ms[0], e)
	}
	return ms[0], nil
}

func (im *importer) add(m *backupset.Manifest, e backupset.Entry) {
	t := newTransferred(m, e.State())
	t.From = e.Name
	im.res.Sets = append(im.res.Sets, t)
}

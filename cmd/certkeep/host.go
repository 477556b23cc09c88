package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/secretfile"
	"github.com/certkeep/certkeep/repo"
)

func newHostCommand(c *console) *cobra.Command {
	return c.verbs("host", "the machines that write to a repository", "certkeep host list -r /mnt/backup/pki",
		newHostListCommand(c), newHostAddCommand(c), newHostRevokeCommand(c))
}

type hostResult struct {
	ID          string   `json:"id,omitempty"`
	Name        string   `json:"name"`
	Roles       []string `json:"roles"`
	Authorities []string `json:"authorities,omitempty"` // whose keys it was given
	KeyFile     string   `json:"key_file,omitempty"`
	Revoked     bool     `json:"revoked,omitempty"`
	Reason      string   `json:"reason,omitempty"`
}

type hostsResult struct {
	Repository string       `json:"repository"`
	Hosts      []hostResult `json:"hosts"`
}

func newHostListCommand(c *console) *cobra.Command {
	var o repositoryOptions
	cmd := &cobra.Command{
		Use:   "list -r REPO",
		Short: "list them",
		Long:  `list shows which hosts the repository's root has certified, and what each may do. It takes no key.`,
		Args:  c.exactly(),
		RunE: c.do(func(ctx context.Context, _ []string) error {
			r, err := o.open(ctx, c, toLook)
			if err != nil {
				return err
			}
			res := hostsResult{Repository: r.Location(), Hosts: []hostResult{}}
			rows := [][]string{{"ID", "NAME", "MAY", "STANDING"}}
			for _, h := range r.Hosts() {
				res.Hosts = append(res.Hosts, hostResult{ID: h.ID, Name: h.Name, Roles: h.Roles, Revoked: h.Revoked, Reason: h.Reason})
				standing := "good"
				if h.Revoked {
					standing = "revoked"
					if h.Reason != "" {
						standing += ": " + h.Reason
					}
				}
				rows = append(rows, []string{h.ID, h.Name, strings.Join(h.Roles, ", "), standing})
			}
			return c.result(&res, func(w io.Writer) error { return table(w, rows) })
		}),
	}
	o.addFlags(cmd.Flags(), "the repository")
	return describe(cmd, "certkeep host list -r /mnt/backup/pki", exitOK, exitFailed, exitUsage, exitDamage, exitNoRepo, exitUnreachable, exitInterrupted)
}

type hostAddOptions struct {
	repositoryOptions
	out        string
	cas        []string
	appendOnly bool
	dryRun     bool
}

// hostChange is the outcome of enrolling or revoking a host.
type hostChange struct {
	Repository string     `json:"repository"`
	Host       hostResult `json:"host"`
	Next       []string   `json:"next,omitempty"` // what else is to be done
	DryRun     bool       `json:"dry_run,omitempty"`
}

func newHostAddCommand(c *console) *cobra.Command {
	var o hostAddOptions
	cmd := &cobra.Command{
		Use:   "add -r REPO NAME [--out FILE] [--ca NAME]…",
		Short: "enroll a host",
		Long: `add enrolls a host, so that it can write sets, and read none. It takes a restore
identity, so do it where that may be, and carry the host's key to the host: FILE goes
where --host-key or CERTKEEP_HOST_KEY says, or is named ID.host.json, with the repository's
id, in certkeep's configuration directory. Without --out it becomes this machine's.

With --ca the host gets the keys of an authority that the repository knows already, so that
it can list and show the sets of the host before it; otherwise it begins with keys of its
own. Either way its first set is a full one: it relies on nobody else's. With --append-only
it may take backups, and neither forget sets nor prune.`,
		Args: c.exactly("NAME"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runHostAdd(ctx, c, o, args[0]) }),
	}
	f := cmd.Flags()
	o.addFlags(f, "the repository")
	f.StringVar(&o.out, "out", "", "write the host's key to `FILE`, which must not exist (default this machine's own place)")
	f.StringArrayVar(&o.cas, "ca", nil, "give it the keys of the authority `NAME`; may be repeated")
	f.BoolVar(&o.appendOnly, "append-only", false, "for backups alone: it may neither forget sets nor prune")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and change nothing")
	return describeRepository(cmd, "certkeep host add -r /mnt/backup/pki --identity /media/safe/pki-restore.key ca02 --out ca02.host.json --ca 'Corp CA'")
}

func runHostAdd(ctx context.Context, c *console, o hostAddOptions, name string) error {
	name, err := hostName(name)
	if err != nil {
		return err
	}
	r, err := o.open(ctx, c, toRead)
	if err != nil {
		return err
	}
	for _, h := range r.Hosts() {
		if strings.EqualFold(h.Name, name) && !h.Revoked {
			return withHint(fmt.Errorf("host %s: %w", h.Name, backupset.ErrExists), "revoke the one before it (certkeep host revoke %s), or choose another name", h.ID)
		}
	}
	if err := knownAuthorities(ctx, r, o.cas); err != nil {
		return err
	}
	ring, err := o.ring()
	if err != nil {
		return err
	}
	file := o.out
	if file == "" {
		file = ring.HostPath(r.ID())
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("host's key %s: %w", file, backupset.ErrExists)
		}
		return withHint(err, "certkeep never writes over a key: name another file with --out")
	}
	roles := []string{repo.RoleBackup, repo.RoleRetention}
	if o.appendOnly {
		roles = roles[:1]
	}
	res := &hostChange{Repository: r.Location(), DryRun: o.dryRun, Host: hostResult{Name: name, Roles: roles, KeyFile: file, Authorities: o.cas}}
	if !o.dryRun {
		key, err := r.AddHost(ctx, name, roles, o.cas...)
		if err != nil {
			return err
		}
		res.Host.ID = key.Host
		b, err := key.Encode()
		if err == nil {
			err = secretfile.WriteNew(file, b)
		}
		if err != nil {
			return withHint(fmt.Errorf("host %s is enrolled, but its key could not be kept: %w", name, err), "certkeep host revoke %s, then enroll it again", key.Host)
		}
		if o.out != "" {
			res.Next = []string{"carry " + file + " to the host, and delete it here: who has it can write in the host's name"}
		}
	}
	return c.result(res, func(w io.Writer) error {
		if o.dryRun {
			_, err := fmt.Fprintln(w, oneLine("would enroll host "+name+" in "+res.Repository+", and write its key to "+file))
			return err
		}
		return res.human(w, "")
	})
}

func knownAuthorities(ctx context.Context, r *repo.Repository, names []string) error {
	if len(names) == 0 {
		return nil
	}
	all, err := r.CAs(ctx)
	if err != nil {
		return err
	}
	var have []string
	for _, ca := range all {
		have = append(have, ca.Name)
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(ca repo.CAKeys) bool { return strings.EqualFold(ca.Name, name) || ca.ID == name }) {
			return withHint(fmt.Errorf("authority %.80q: %w", name, backupset.ErrNotFound), "the repository knows %s", orNone(have))
		}
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (h *hostChange) human(w io.Writer, reason string) error {
	roles := ""
	if !h.Host.Revoked {
		roles = strings.Join(h.Host.Roles, ", ")
	}
	pairs := []string{"repository", h.Repository, "host", h.Host.Name, "id", h.Host.ID, "may", roles,
		"authorities", strings.Join(h.Host.Authorities, ", "), "key", h.Host.KeyFile, "revoked", reason}
	for _, n := range h.Next {
		pairs = append(pairs, "next", n)
	}
	return fields(w, pairs...)
}

type hostRevokeOptions struct {
	repositoryOptions
	reason string
	since  uint64
	none   bool
	dryRun bool
}

func newHostRevokeCommand(c *console) *cobra.Command {
	var o hostRevokeOptions
	cmd := &cobra.Command{
		Use:   "revoke -r REPO HOST",
		Short: "end a host's standing",
		Long: `revoke ends a host's standing, for example because it was stolen: what it wrote until now
stays, what it writes from now on counts for nothing. HOST is a name, or an id that list
shows. It takes a restore identity. If more of what it wrote turns out to be forged, revoke it
again, by its id, as of an earlier entry: --last-entry, or --no-entry. A repository made like
this one (init --like) does not hear of it: revoke the host there, too.

That is not all there is to do. The host's account at the CA can still take a fresh backup,
and its credentials still reach the storage: disable the one, and change the other.`,
		Args: c.exactly("HOST"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runHostRevoke(ctx, c, o, args[0]) }),
	}
	f := cmd.Flags()
	o.addFlags(f, "the repository")
	f.StringVar(&o.reason, "reason", "", "`TEXT` that list shows")
	f.Uint64Var(&o.since, "last-entry", 0, "of its journal, the last entry that is still to count: `NUMBER` (default all there are)")
	f.BoolVar(&o.none, "no-entry", false, "nothing that the host ever wrote is to count")
	f.BoolVar(&o.dryRun, "dry-run", false, "say who would be revoked, and change nothing")
	return describeRepository(cmd, "certkeep host revoke -r /mnt/backup/pki --identity /media/safe/pki-restore.key ca01 --reason stolen")
}

func runHostRevoke(ctx context.Context, c *console, o hostRevokeOptions, name string) error {
	r, err := o.open(ctx, c, toRead)
	if err != nil {
		return err
	}
	h, err := findHost(r.Hosts(), name)
	if err != nil {
		return err
	}
	switch {
	case o.none && o.since > 0:
		return usagef("--last-entry and --no-entry exclude each other")
	case o.none:
		o.since = repo.NoEntry
	case h.Revoked && o.since == 0:
		return withHint(fmt.Errorf("host %s: revoked already", h.Name), "--last-entry or --no-entry revokes it as of earlier")
	}
	res := &hostChange{Repository: r.Location(), DryRun: o.dryRun,
		Host: hostResult{ID: h.ID, Name: h.Name, Roles: h.Roles, Revoked: true, Reason: o.reason},
		Next: []string{"disable its account at the CA: with that a fresh backup can be taken",
			"change the credentials that reach the storage", "look at the sets it wrote last: certkeep list"}}
	if !o.dryRun {
		if err := r.RevokeHost(ctx, h.ID, o.reason, o.since); err != nil {
			return err
		}
	}
	return c.result(res, func(w io.Writer) error {
		if o.dryRun {
			_, err := fmt.Fprintln(w, oneLine(fmt.Sprintf("would revoke host %s (%s) in %s", h.Name, h.ID, res.Repository)))
			return err
		}
		reason := o.reason
		if reason == "" {
			reason = "now"
		}
		return res.human(w, reason)
	})
}

// findHost finds a host by its id, the beginning of it, or its name if it is in standing.
func findHost(all []repo.HostInfo, name string) (repo.HostInfo, error) {
	var hits []repo.HostInfo
	for _, h := range all {
		if h.ID == name {
			hits = []repo.HostInfo{h}
			break
		}
		if name != "" && (strings.EqualFold(h.Name, name) && !h.Revoked || strings.HasPrefix(h.ID, name)) {
			hits = append(hits, h)
		}
	}
	switch {
	case len(hits) == 0:
		return repo.HostInfo{}, withHint(fmt.Errorf("host %.80q: %w", name, backupset.ErrNotFound), "certkeep host list shows them")
	case len(hits) > 1:
		return repo.HostInfo{}, withHint(fmt.Errorf("%d hosts are called %q: %w", len(hits), name, backupset.ErrAmbiguous), "name one by its id; certkeep host list shows them")
	}
	return hits[0], nil
}

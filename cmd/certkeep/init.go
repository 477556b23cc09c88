package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/secretfile"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/keyring"
)

type initOptions struct {
	repositoryOptions
	recipients  []string
	comment     string
	identityOut string
	postQuantum bool
	hostName    string
	noHost      bool
	appendOnly  bool
	like        string
	dryRun      bool
}

func newInitCommand(c *console) *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init -r REPO [--recipient AGE|passphrase]… [--like REPO]",
		Short: "make a repository",
		Long: `init makes a repository in a directory or a bucket that holds none, and enrolls this
machine in it as a host: it can write sets from then on, and read none.

Reading takes a restore identity. Without --recipient init makes one and writes it to a
file: take that file away from this machine, keep two copies offline. Without it nothing
can be restored, and with it everything can be read. --recipient names the public key
of an identity that is elsewhere already: age1… (age-keygen, also post-quantum), one of a
plugin for hardware keys, or passphrase, which asks for one.

With --like the repository gets the keys of another: the same identities open it, the same
hosts write to it, and sets are copied between the two without a restore identity. What is
changed later (recipient, host) is not: do it in both.`,
		Args: c.exactly(),
		RunE: c.do(func(ctx context.Context, _ []string) error { return runInit(ctx, c, o) }),
	}
	f := cmd.Flags()
	f.StringVarP(&o.address, "repository", "r", "", "where it is made: `REPO` is a path, file:///PATH, or s3://BUCKET/PREFIX?endpoint=URL (default $CERTKEEP_REPOSITORY)")
	f.StringArrayVar(&o.recipients, "recipient", nil, "who can restore: `AGE` is a public key of age, or passphrase, or passphrase:FILE; may be repeated")
	f.StringVar(&o.comment, "comment", "", "`TEXT` that recipient list shows beside the recipients")
	f.StringVar(&o.identityOut, "identity-out", "", "write the new restore identity to `FILE`, which must not exist (default certkeep-restore-ID.key in the current directory)")
	f.BoolVar(&o.postQuantum, "post-quantum", false, "make an identity that a quantum computer does not break either (X25519 and ML-KEM); it takes age 1.3 to use it without certkeep")
	f.StringVar(&o.hostName, "host-name", "", "`NAME` of this machine in the repository (default its own)")
	f.BoolVar(&o.noHost, "no-host", false, "do not enroll this machine")
	f.BoolVar(&o.appendOnly, "append-only", false, "enroll this machine for backups alone: it may neither forget sets nor prune")
	f.StringVar(&o.like, "like", "", "take over the keys of the repository `REPO`")
	o.addHostFlags(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and make nothing")
	return describeRepository(cmd, "certkeep init -r /mnt/backup/pki --identity-out /media/safe/pki-restore.key\n"+
		"certkeep init -r s3://pki-backup/ca01?endpoint=https://minio.corp.example --recipient age1… --append-only")
}

type initResult struct {
	Repository string            `json:"repository"`
	ID         string            `json:"id,omitempty"`
	RootKey    string            `json:"root_key,omitempty"`
	Like       string            `json:"like,omitempty"`
	Identity   *identityResult   `json:"identity,omitempty"` // that was made
	Recipients []recipientResult `json:"recipients,omitempty"`
	Host       *hostResult       `json:"host,omitempty"`
	DryRun     bool              `json:"dry_run,omitempty"`
}

type identityResult struct {
	File   string `json:"file"`
	Public string `json:"public"`
}

func (o *initOptions) check() error {
	if err := o.need(); err != nil {
		return err
	}
	switch {
	case o.like != "" && (len(o.recipients) > 0 || o.identityOut != "" || o.postQuantum || o.comment != ""):
		return usagef("--like takes the recipients over: it excludes --recipient, --comment, --identity-out and --post-quantum")
	case o.like != "" && (o.hostName != "" || o.noHost || o.appendOnly):
		return usagef("--like takes the hosts over: it excludes --host-name, --no-host and --append-only")
	case len(o.recipients) > 0 && (o.identityOut != "" || o.postQuantum):
		return usagef("with --recipient no identity is made: it excludes --identity-out and --post-quantum")
	case o.noHost && (o.hostName != "" || o.appendOnly):
		return usagef("--no-host excludes --host-name and --append-only")
	}
	return nil
}

func runInit(ctx context.Context, c *console, o initOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	ring, err := o.ring()
	if err != nil {
		return err
	}
	r := &initResult{Repository: o.where(), Like: o.like, DryRun: o.dryRun}
	if err := o.vacant(ctx); err != nil {
		return err
	}
	if o.like != "" {
		return runInitLike(ctx, c, o, r)
	}
	to, id, err := o.parties(ctx, c, r)
	if err != nil {
		return err
	}
	io := repo.InitOptions{Recipients: to}
	if !o.noHost {
		if io.Host, err = o.host(ring); err != nil {
			return err
		}
		if o.appendOnly {
			io.Roles = []string{repo.RoleBackup}
		}
		r.Host = &hostResult{Name: io.Host, Roles: io.Roles}
		if io.Roles == nil {
			r.Host.Roles = []string{repo.RoleBackup, repo.RoleRetention}
		}
	}
	if o.dryRun {
		return c.result(r, r.human)
	}
	// The identity is on disk before anything is sealed to it.
	if id != nil {
		if err := secretfile.WriteNew(r.Identity.File, id.file(o.where())); err != nil {
			return withExit(exitFailed, fmt.Errorf("restore identity: %w", err))
		}
	}
	key, err := o.found(ctx, io)
	if err != nil {
		return errors.Join(err, o.giveUp(ctx, c, r.Identity))
	}
	if key != nil {
		if err := ring.Save(key); err != nil {
			return withHint(fmt.Errorf("the repository is made, but this host's key could not be kept: %w", err),
				"certkeep host add %s -r %s --identity FILE enrolls it again", key.Name, o.where())
		}
		r.Host.ID, r.Host.KeyFile = key.Host, ring.HostPath(key.Repository)
	}
	return o.look(ctx, c, r)
}

// vacant finds out whether a repository can be made, before anybody is asked for a passphrase.
func (o *initOptions) vacant(ctx context.Context) error {
	store, err := o.store(ctx, o.where(), false)
	if err == nil {
		var id string
		if id, err = repo.Peek(ctx, store); err == nil {
			return fmt.Errorf("%s: the repository %s: %w", store.Location(), id, backupset.ErrExists)
		}
	}
	if errors.Is(err, repo.ErrNoRepository) && !errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	return err
}

func (o *initOptions) host(ring *keyring.Keyring) (string, error) {
	// A file that is named is that of one repository, and a key in it must not be lost.
	if path := ring.HostPath("any"); path == ring.HostPath("other") {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return "", withHint(fmt.Errorf("host's key %s: %w", path, backupset.ErrExists), "it belongs to another repository: name another file with --host-key")
		}
	}
	return hostName(o.hostName)
}

func hostName(name string) (string, error) {
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return "", withHint(err, "name this machine with --host-name")
		}
	}
	if name == "" || len(name) > 255 || inert(name) != name {
		return "", usagef("%.80q is no name of a host", name)
	}
	return name, nil
}

// parties are those who will be able to restore: the recipients named, or an identity that is
// made.
func (o *initOptions) parties(ctx context.Context, c *console, r *initResult) ([]repo.Recipient, *newIdentity, error) {
	if len(o.recipients) > 0 {
		var out []repo.Recipient
		for _, text := range o.recipients {
			rc, err := parseRecipient(ctx, c, text, o.comment)
			if err != nil {
				return nil, nil, err
			}
			out = append(out, rc)
			r.Recipients = append(r.Recipients, newRecipientResult(rc))
		}
		return out, nil, nil
	}
	id, to, err := makeIdentity(o.postQuantum)
	if err != nil {
		return nil, nil, err
	}
	name := o.identityOut
	if name == "" {
		name = id.name()
	}
	if err := o.outside(name); err != nil {
		return nil, nil, err
	}
	if _, err := os.Lstat(name); err == nil {
		return nil, nil, withHint(fmt.Errorf("restore identity %s: %w", name, backupset.ErrExists), "certkeep never writes over a key: name another file with --identity-out, or its public key with --recipient")
	}
	r.Identity = &identityResult{File: name, Public: id.public}
	rc := repo.NewRecipient(id.public, o.comment, to)
	r.Recipients = []recipientResult{newRecipientResult(rc)}
	return []repo.Recipient{rc}, id, nil
}

// outside refuses to write the key into what it opens.
func (o *initOptions) outside(name string) error {
	dir, isFile := strings.CutPrefix(o.where(), "file://")
	if !isFile && strings.Contains(dir, "://") {
		return nil // a bucket
	}
	file, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if rel, err := filepath.Rel(dir, file); err == nil && filepath.IsLocal(rel) {
		return usagef("the restore identity would lie in the repository that it opens: name another file with --identity-out")
	}
	return nil
}

func (o *initOptions) found(ctx context.Context, io repo.InitOptions) (*repo.HostKey, error) {
	store, err := o.create(ctx)
	if err != nil {
		return nil, err
	}
	return repo.Init(ctx, repo.Options{Blob: store}, io)
}

// create opens the place, which is made if it is not there. It refuses one where this machine has seen another repository:
// the one to be made would look as if that had been rolled back.
func (o *initOptions) create(ctx context.Context) (blob.Store, error) {
	ring, err := o.ring()
	if err != nil {
		return nil, err
	}
	store, err := o.store(ctx, o.where(), true)
	if err != nil {
		return nil, err
	}
	switch seen, err := ring.Heads(store.Location()).Load(); {
	case err != nil:
		return nil, err
	case seen != nil:
		return nil, withHint(fmt.Errorf("%s: %w: this machine has seen a repository here", store.Location(), repo.ErrRolledBack),
			"if it is gone and is not to come back, move %s aside", ring.HeadsPath(store.Location()))
	}
	return store, nil
}

// giveUp removes an identity that opens nothing; if there may be a repository after
// all, it stays.
func (o *initOptions) giveUp(ctx context.Context, c *console, id *identityResult) error {
	if id == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := o.vacant(ctx); err == nil {
		return os.Remove(id.File)
	}
	c.warn("the restore identity in %s is kept: a repository may have been made that it opens", id.File)
	return nil
}

// look opens what was made with the keys that were kept, and remembers what is seen.
func (o *initOptions) look(ctx context.Context, c *console, r *initResult) error {
	a := toWrite
	if r.Host == nil {
		a = toLook
	}
	rep, err := o.openAt(ctx, c, o.where(), a)
	if err != nil {
		return err
	}
	r.Repository, r.ID, r.RootKey, r.Recipients = rep.Location(), rep.ID(), rep.Root(), nil
	if r.Identity != nil {
		if err := noteRoot(r.Identity.File, rep.Root()); err != nil {
			return err
		}
	}
	for _, rc := range rep.Recipients() {
		r.Recipients = append(r.Recipients, newRecipientResult(rc))
	}
	if err := c.result(r, r.human); err != nil || r.Identity == nil {
		return err
	}
	c.warn("take %s away from this machine, and keep two copies offline: without it nothing can be restored, with it everything can be read", r.Identity.File)
	return nil
}

// noteRoot adds the root key to the file of the identity: whoever restores with nothing else can
// tell the repository by it from one that somebody made up.
func noteRoot(name, root string) error {
	b, err := secretfile.Read(name, maxIdentityFile)
	if err != nil {
		return err
	}
	return secretfile.Write(name, fmt.Appendf(b, "# root key of the repository, for --root-key: %s\n", root))
}

func runInitLike(ctx context.Context, c *console, o initOptions, r *initResult) error {
	like, err := o.openAt(ctx, c, o.like, toLook)
	if err != nil {
		return err
	}
	r.ID = like.ID()
	if !o.dryRun {
		store, err := o.create(ctx)
		if err != nil {
			return err
		}
		if err := repo.InitLike(ctx, repo.Options{Blob: store}, like); err != nil {
			return err
		}
		return o.look(ctx, c, r)
	}
	return c.result(r, r.human)
}

func (r *initResult) human(w io.Writer) error {
	if r.DryRun {
		_, err := fmt.Fprintln(w, oneLine("would make a repository in "+r.Repository))
		return err
	}
	var who []string
	for _, rc := range r.Recipients {
		who = append(who, rc.text())
	}
	identity, host, key := "", "", ""
	if r.Identity != nil {
		identity = r.Identity.File
	}
	if r.Host != nil {
		host, key = r.Host.Name+" ("+strings.Join(r.Host.Roles, ", ")+")", r.Host.KeyFile
	}
	return fields(w, "repository", r.Repository, "id", r.ID, "root key", r.RootKey, "keys of", r.Like, "recipients", strings.Join(who, ", "),
		"restore identity", identity, "host", host, "its key", key)
}

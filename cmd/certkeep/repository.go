package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/keyring"
	"github.com/certkeep/certkeep/repo/place"
)

// repositoryOptions say which repository, and with which keys.
type repositoryOptions struct {
	address    string
	hostKey    string
	root       string
	identities []string
	up, down   rate
}

// addFlags adds the flags; without identity for verbs that never need one.
func (o *repositoryOptions) addFlags(f *pflag.FlagSet, what string) {
	f.StringVarP(&o.address, "repository", "r", "", what+": `REPO` is a path, file:///PATH, or s3://BUCKET/PREFIX?endpoint=URL (default $CERTKEEP_REPOSITORY)")
	o.addKeyFlags(f)
}

func (o *repositoryOptions) addKeyFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.identities, "identity", nil, "restore identity: `FILE` as age-keygen writes it, or passphrase, or passphrase:FILE; may be repeated (default $CERTKEEP_IDENTITY_FILE)")
	o.addHostFlags(f)
}

// addHostFlags adds the flags of verbs that need no restore identity.
func (o *repositoryOptions) addHostFlags(f *pflag.FlagSet) {
	f.StringVar(&o.root, "root-key", "", "the repository's root key, as init said it, `HEX`: a machine that never saw the repository tells it by this from one that somebody made up (default $CERTKEEP_ROOT_KEY)")
	f.StringVar(&o.hostKey, "host-key", "", "this host's key in the repository: `FILE` (default $CERTKEEP_HOST_KEY, else in the configuration directory)")
	f.Var(&o.up, "limit-upload", "send at most `RATE` bytes a second to a bucket (2M)")
	f.Var(&o.down, "limit-download", "fetch at most `RATE` bytes a second from a bucket")
}

// where is the repository's address: of the flag, or of the environment.
func (o *repositoryOptions) where() string {
	if o.address != "" {
		return o.address
	}
	return os.Getenv("CERTKEEP_REPOSITORY")
}

func (o *repositoryOptions) need() error {
	if o.where() == "" {
		return usagef("-r REPO is missing")
	}
	return nil
}

func (o *repositoryOptions) ring() (*keyring.Keyring, error) {
	name := o.hostKey
	if name == "" {
		name = os.Getenv("CERTKEEP_HOST_KEY")
	}
	return keyring.Default(name)
}

func (o *repositoryOptions) store(ctx context.Context, address string, create bool) (blob.Store, error) {
	return place.Open(ctx, address, place.Options{Create: create, Up: int64(o.up), Down: int64(o.down)})
}

// access is what a verb wants to do.
type access int

const (
	toList  access = iota // see which sets there are: a host's key, or an identity
	toRead                // read what sets hold: an identity
	toWrite               // write: a host's key, or an identity
	toLook                // look at objects: no key
)

// open opens the repository with the keys at hand.
func (o *repositoryOptions) open(ctx context.Context, c *console, a access) (*repo.Repository, error) {
	if err := o.need(); err != nil {
		return nil, err
	}
	return o.openAt(ctx, c, o.where(), a)
}

// kept is how to open the repository in a store with what this machine keeps of it: the key of
// the host, if it has one, which would be in keyFile, and what it saw before.
func (o *repositoryOptions) kept(ctx context.Context, store blob.Store) (ro repo.Options, keyFile string, err error) {
	id, err := repo.Peek(ctx, store)
	if err != nil {
		return ro, "", err
	}
	ring, err := o.ring()
	if err != nil {
		return ro, "", err
	}
	root := o.root
	if root == "" {
		root = os.Getenv("CERTKEEP_ROOT_KEY")
	}
	host, err := ring.Host(id)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return repo.Options{Root: root, Blob: store, Host: host, Memory: ring.Heads(store.Location()), SaveHost: ring.Save}, ring.HostPath(id), err
}

func (o *repositoryOptions) openAt(ctx context.Context, c *console, address string, a access, change ...func(*repo.Options)) (*repo.Repository, error) {
	if os.Getenv("GOGC") == "" {
		// What a run holds are large buffers, which are used again: less garbage beside them saves a good part of the
		// memory. Writing makes hardly any; reading somewhat more, where collecting it earlier would cost.
		debug.SetGCPercent(50)
		if a == toWrite {
			debug.SetGCPercent(25)
		}
	}
	store, err := o.store(ctx, address, false)
	if err != nil {
		return nil, err
	}
	ro, keyFile, err := o.kept(ctx, store)
	if err != nil {
		return nil, err
	}
	if a == toRead || ro.Host == nil && a != toLook || len(o.identities) > 0 {
		if ro.Identities, err = o.readIdentities(ctx, c); err != nil {
			return nil, err
		}
	}
	switch {
	case a == toRead && len(ro.Identities) == 0:
		return nil, withHint(fmt.Errorf("%s: %w", store.Location(), repo.ErrNoIdentity), "name its file with --identity, or in CERTKEEP_IDENTITY_FILE")
	case a != toLook && ro.Host == nil && len(ro.Identities) == 0:
		return nil, withHint(withExit(exitSecret, fmt.Errorf("%s: this machine has no key of it, neither a host's (%s) nor a restore identity", store.Location(), keyFile)),
			"certkeep host add enrolls a host; --identity FILE names a restore identity")
	}
	for _, f := range change {
		f(&ro)
	}
	r, err := repo.Open(ctx, ro)
	if err != nil {
		return nil, err
	}
	for _, p := range r.Problems() {
		c.warn("%s: %v", r.Location(), p)
	}
	return r, nil
}

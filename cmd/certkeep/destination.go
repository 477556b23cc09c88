package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/several"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/repo"
)

// destinationOptions say where a set goes: into a folder, or into repositories.
type destinationOptions struct {
	folder    string
	addresses []string
	quorum    int
	retain    string
	keys      repositoryOptions
}

func (o *destinationOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.folder, "folder", "", "write the set to `DIR`, in certutil's layout; the sets beside it are its chain")
	f.StringArrayVarP(&o.addresses, "repository", "r", nil, "write the set to a repository: `REPO` is a path, file:///PATH, or s3://BUCKET/PREFIX?endpoint=URL; may be repeated (default $CERTKEEP_REPOSITORY)")
	f.IntVar(&o.quorum, "quorum", 0, "how many of the repositories must have the set before logs are truncated: `N` (default all)")
	f.StringVar(&o.retain, "retain-until", "", "ask the store to refuse deleting the set before `TIME`: a date, or 90d; takes a bucket with object lock")
	o.keys.addKeyFlags(f)
}

// repositories are the addresses: of the flags, or of the environment.
func (o *destinationOptions) repositories() []string {
	if len(o.addresses) > 0 || o.folder != "" {
		return o.addresses
	}
	if a := os.Getenv("CERTKEEP_REPOSITORY"); a != "" {
		return []string{a}
	}
	return nil
}

func (o *destinationOptions) check() error {
	n := len(o.repositories())
	switch {
	case o.folder != "" && n > 0:
		return usagef("--folder and -r exclude each other")
	case o.folder == "" && n == 0:
		return usagef("--folder DIR or -r REPO is missing")
	case o.quorum < 0 || o.quorum > max(n, 0) && o.quorum != 0:
		return usagef("--quorum %d of %s", o.quorum, plural(n, "repository", "repositories"))
	case o.retain != "" && n == 0:
		return usagef("--retain-until belongs to -r")
	}
	return nil
}

func (o *destinationOptions) place() string {
	if o.folder != "" {
		return o.folder
	}
	return strings.Join(o.repositories(), ", ")
}

// destination is where a set goes.
type destination struct {
	store backupset.Store
	name  string
	dir   string             // of a folder
	repos []*repo.Repository // opened
	tee   *several.Store     // if there are several
}

func (o *destinationOptions) open(ctx context.Context, c *console) (*destination, error) {
	if o.folder != "" {
		store, name, err := folder.Split(o.folder, folder.Options{})
		return &destination{store: store, name: name, dir: o.folder}, err
	}
	until, err := parseRetain(o.retain, time.Now())
	if err != nil {
		return nil, usagef("--retain-until: %w", err)
	}
	d := &destination{}
	missing := map[string]error{}
	var stores []backupset.Store
	for _, address := range o.repositories() {
		r, err := o.keys.openAt(ctx, c, address, toWrite, func(ro *repo.Options) { ro.RetainUntil, ro.OwnSets = until, true })
		if err != nil && o.quorum > 0 && ctx.Err() == nil {
			missing[address] = err
			continue
		}
		if err != nil {
			return nil, err
		}
		d.repos, stores = append(d.repos, r), append(stores, r)
	}
	if len(stores) < o.quorum {
		return nil, errors.Join(slices.Collect(maps.Values(missing))...)
	}
	if len(stores) == 1 && len(missing) == 0 {
		d.store = stores[0]
		return d, nil
	}
	d.tee, err = several.New(stores, o.quorum)
	if err != nil {
		return nil, err
	}
	for address, err := range missing {
		d.tee.AddMissing(address, err)
	}
	d.store = d.tee
	return d, nil
}

// parseRetain reads a date, or a number of days from now on.
func parseRetain(s string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 100_000 {
			return now.AddDate(0, 0, n).UTC(), nil
		}
	}
	t, err := parseDate(s)
	if err == nil && !t.IsZero() && !t.After(now) {
		err = fmt.Errorf("%s is over", s)
	}
	return t, err
}

func (d *destination) repositories() (out []string) {
	for _, r := range d.repos {
		out = append(out, r.Location())
	}
	return out
}

// missed are the repositories that did not get the set.
func (d *destination) missed() (out []string) {
	if d.tee == nil {
		return nil
	}
	for _, m := range d.tee.Missed() {
		out = append(out, fmt.Sprintf("%s: %v", m.Store, m.Err))
	}
	return out
}

// degraded is the error of a set that is not everywhere.
func (d *destination) degraded() error {
	if m := d.missed(); len(m) > 0 {
		return withExit(exitPartly, withHint(errors.New("not stored in every repository: "+strings.Join(m, "; ")), "certkeep copy brings what is missing"))
	}
	return nil
}

// added is how much a set added to the first repository that has it.
func (d *destination) added(id string) int64 {
	for _, r := range d.repos {
		if n := r.StoredBy(id); n > 0 {
			return n
		}
	}
	return 0
}

package repo

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/internal/journal"
)

// HostInfo describes a host.
type HostInfo struct {
	ID, Name string
	Roles    []string
	Revoked  bool
	Reason   string // of the revocation
}

// Hosts are those the root has certified, in the order of their ids.
func (r *Repository) Hosts() []HostInfo {
	s := r.now()
	var out []HostInfo
	for _, id := range slices.Sorted(maps.Keys(s.hosts)) {
		h := s.hosts[id]
		i := HostInfo{ID: id, Name: h.Name, Roles: h.Roles}
		if h.gone != nil {
			i.Revoked, i.Reason = true, h.gone.Reason
		}
		out = append(out, i)
	}
	return out
}

func (r *Repository) newHost(name string, roles []string) (*HostKey, hostRecord, error) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, hostRecord{}, err
	}
	if roles == nil {
		roles = []string{RoleBackup, RoleRetention}
	}
	h := &HostKey{Schema: schema, Repository: r.id, Root: hex.EncodeToString(r.root), Host: newID(), Name: name, Seed: hex.EncodeToString(key.Seed())}
	return h, hostRecord{typeHost, h.Host, name, hex.EncodeToString(pub), roles}, nil
}

// AddHost enrolls a host; it takes a restore identity. The host gets the keys of the
// authorities named, so that it reads their earlier manifests; with none it makes
// new ones when it first backs an authority up.
func (r *Repository) AddHost(ctx context.Context, name string, roles []string, cas ...string) (*HostKey, error) {
	if r.rootKey == nil {
		return nil, ErrNoIdentity
	}
	h, rec, err := r.newHost(name, roles)
	if err != nil {
		return nil, err
	}
	all, err := r.CAs(ctx)
	if err != nil {
		return nil, err
	}
	for _, want := range cas {
		n := len(h.CAs)
		for _, c := range all {
			if strings.EqualFold(c.Name, want) || c.ID == want {
				h.CAs = append(h.CAs, c)
			}
		}
		if len(h.CAs) == n {
			return nil, fmt.Errorf("authority %.80q: %w", want, backupset.ErrNotFound)
		}
	}
	_, err = r.appendAs(ctx, journal.Root, r.rootKey, nil, rec)
	return h, err
}

// CAs are the keys of all authorities; it takes a restore identity.
func (r *Repository) CAs(ctx context.Context) ([]CAKeys, error) {
	if !r.Readable() {
		return nil, ErrNoIdentity
	}
	s := r.now()
	var out []CAKeys
	for _, id := range slices.Sorted(maps.Keys(s.cas)) {
		c, err := r.openCA(ctx, s.cas[id])
		if err != nil {
			return nil, err
		}
		out = append(out, *c)
	}
	return out, nil
}

// NoEntry as since has nothing count that a host wrote.
const NoEntry = ^uint64(0)

// RevokeHost ends a host's standing: what it wrote until now stays, what it may write from
// now on counts for nothing. It takes a restore identity. since, if not zero, is the number of
// the last entry of its journal that is still to count, or [NoEntry]. A host that was revoked can
// be revoked again as of an earlier entry, by its id.
func (r *Repository) RevokeHost(ctx context.Context, id, reason string, since uint64) error {
	if r.rootKey == nil {
		return ErrNoIdentity
	}
	if err := r.refresh(ctx); err != nil {
		return err
	}
	var hit *HostInfo
	for _, h := range r.Hosts() {
		if h.ID == id || strings.EqualFold(h.Name, id) && !h.Revoked {
			if hit != nil {
				return fmt.Errorf("host %.80q: %w", id, backupset.ErrAmbiguous)
			}
			hit = &h
		}
	}
	switch {
	case hit == nil:
		return fmt.Errorf("host %.80q: %w", id, backupset.ErrNotFound)
	case hit.Revoked && since == 0:
		return fmt.Errorf("host %s: revoked already", hit.Name)
	}
	r.mu.Lock()
	j := r.journals[hit.ID]
	r.mu.Unlock()
	var last journal.Head
	if j != nil {
		for _, e := range j.Entries {
			if since == 0 || e.Seq <= since && since != NoEntry {
				last = e.Head()
			}
		}
	}
	_, err := r.appendAs(ctx, journal.Root, r.rootKey, nil, hostGoneRecord{typeHostGone, hit.ID, last, reason})
	return err
}

// announce says that there is a repository.
func (r *Repository) announce(ctx context.Context) error {
	a := announcement{announceFormat, schema, r.id, hex.EncodeToString(r.root)}
	b, err := a.encode()
	if err != nil {
		return err
	}
	return r.put(ctx, announceKey, b)
}

// Me is this machine as the root has certified it; with a restore identity and no host's key
// it is the root. ErrNoHost if it is nobody in good standing.
func (r *Repository) Me() (HostInfo, error) {
	author, _, err := r.author()
	if err != nil {
		return HostInfo{}, err
	}
	for _, h := range r.Hosts() {
		if h.ID == author {
			return h, nil
		}
	}
	return HostInfo{ID: author, Name: author, Roles: []string{RoleBackup, RoleRetention}}, nil
}

package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// putMeta stores an object under its hash.
func (r *Repository) putMeta(ctx context.Context, data []byte) (Ref, error) {
	h := sha256.Sum256(data)
	ref := Ref{hex.EncodeToString(h[:]), int64(len(data))}
	err := r.put(ctx, ref.key(), data)
	if errors.Is(err, blob.ErrExists) {
		// The same content; unless it was damaged since.
		if _, err = r.getMeta(ctx, ref); err == nil {
			err = r.unnoted(ctx, ref)
		}
		if err != nil {
			return ref, fmt.Errorf("storing it again: %w", err)
		}
	}
	return ref, err
}

// unnoted fails with ErrNoted if a prune has noted as dead an object that was there when it was to be stored.
// The lease of a run protects what is younger than the run, and that is older. If no prune has noted it by now,
// none deletes it before the grace is over, and by then something refers to it.
func (r *Repository) unnoted(ctx context.Context, ref Ref) error {
	if r.now() == nil {
		return nil // the repository is only being made
	}
	if err := r.refresh(ctx); err != nil {
		return err
	}
	since, err := r.noted(ctx)
	if err != nil {
		return err
	}
	if _, ok := since[ref.key()]; ok {
		return hint.With(fmt.Errorf("%s: %w", ref.key(), ErrNoted), "certkeep prune deletes it when its time has come; then do this again")
	}
	return nil
}

// getMeta reads an object and compares it with its hash.
func (r *Repository) getMeta(ctx context.Context, ref Ref) ([]byte, error) {
	if ref.Size < 0 || ref.Size > blob.MaxSize || len(ref.SHA256) != 2*sha256.Size || strings.Trim(ref.SHA256, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("object %.80q of %d bytes: %w", ref.SHA256, ref.Size, backupset.ErrDamaged)
	}
	b, err := r.blob.Get(ctx, ref.key(), 0, -1)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", err, backupset.ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	if h := sha256.Sum256(b); hex.EncodeToString(h[:]) != ref.SHA256 || int64(len(b)) != ref.Size {
		return nil, fmt.Errorf("%s: %w: its hash is another", ref.key(), backupset.ErrDamaged)
	}
	return b, nil
}

// putSealed seals an object and stores it.
func (r *Repository) putSealed(ctx context.Context, plain []byte, to age.Recipient) (Ref, error) {
	b, err := seal.Seal(plain, to)
	if err != nil {
		return Ref{}, err
	}
	return r.putMeta(ctx, b)
}

// getSealed reads an object and opens it.
func (r *Repository) getSealed(ctx context.Context, ref Ref, limit int64, keys ...age.Identity) ([]byte, error) {
	b, err := r.getMeta(ctx, ref)
	if err != nil {
		return nil, err
	}
	plain, err := seal.Open(b, limit, keys...)
	if err != nil {
		return nil, damage(fmt.Errorf("%s: %w", ref.key(), err))
	}
	return plain, nil
}

// damage makes what the packages beneath call damaged a backupset.ErrDamaged.
func damage(err error) error {
	switch {
	case err == nil || errors.Is(err, backupset.ErrDamaged):
		return err
	case isDamage(err):
		return fmt.Errorf("%w (%w)", err, backupset.ErrDamaged)
	}
	return err
}

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
		if _, err = r.getMeta(ctx, ref); err != nil {
			return ref, fmt.Errorf("storing it again: %w", err)
		}
	}
	return ref, err
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

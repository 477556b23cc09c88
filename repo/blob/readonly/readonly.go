// Package readonly keeps a blob.Store from being changed.
package readonly

import (
	"context"
	"fmt"

	"github.com/certkeep/certkeep/repo/blob"
)

// New wraps s: Put and Delete fail with blob.ErrReadOnly.
func New(s blob.Store) blob.Store { return store{s} }

type store struct{ blob.Store }

func (s store) Unwrap() blob.Store { return s.Store }

func (s store) Put(_ context.Context, key string, _ []byte, _ blob.PutOptions) (blob.Info, error) {
	return blob.Info{}, refused("put", key)
}

func (s store) Delete(_ context.Context, key string) error { return refused("delete", key) }

func refused(what, key string) error { return fmt.Errorf("%s %s: %w", what, key, blob.ErrReadOnly) }

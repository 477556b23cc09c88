package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/certkeep/certkeep/repo/blob"
)

// Get is that of blob.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := errors.Join(blob.ValidateKey(key), ctx.Err()); err != nil {
		return nil, err
	}
	if off < 0 || n > blob.MaxSize {
		_, err := blob.Span(key, 0, off, n)
		return nil, err
	}
	if n == 0 { // HTTP has no empty range
		return nil, s.reaches(ctx, key, off, n)
	}
	var o minio.GetObjectOptions
	switch {
	case n > 0 && off > 1<<62:
		return nil, s.reaches(ctx, key, off, n)
	case n > 0:
		if err := o.SetRange(off, off+n-1); err != nil {
			return nil, err
		}
	case off > 0:
		if err := o.SetRange(off, 0); err != nil {
			return nil, err
		}
	}
	body, got, header, err := s.core.GetObject(ctx, s.a.Bucket, s.prefix+key, o)
	if code(err) == "InvalidRange" {
		return nil, s.reaches(ctx, key, off, n)
	}
	if err != nil {
		return nil, s.mapped(ctx, "get", key, err)
	}
	defer body.Close()
	ranged := n > 0 || off > 0
	if begin := fmt.Sprintf("bytes %d-", off); ranged && !strings.HasPrefix(header.Get("Content-Range"), begin) {
		return nil, fmt.Errorf("get %s: the server does not send the part that was asked for", key)
	}
	switch {
	case n > 0 && got.Size < n:
		return nil, fmt.Errorf("%s: ends %d bytes after %d: %w", key, got.Size, off, blob.ErrShort)
	case n > 0 && got.Size > n:
		return nil, fmt.Errorf("get %s: the server sends more than was asked for", key)
	case got.Size < 0 || got.Size > blob.MaxSize:
		return nil, fmt.Errorf("%s: %d bytes: %w", key, got.Size, blob.ErrTooLarge)
	}
	b := make([]byte, got.Size)
	if _, err := io.ReadFull(body, b); err != nil {
		return nil, s.mapped(ctx, "get", key, err)
	}
	return b, nil
}

// reaches says what is wrong with a part of an object that cannot be asked for.
func (s *Store) reaches(ctx context.Context, key string, off, n int64) error {
	i, err := s.Stat(ctx, key)
	if err != nil {
		return err
	}
	if n, err = blob.Span(key, i.Size, off, n); err == nil && n > 0 {
		err = fmt.Errorf("get %s: the server refuses %d bytes from %d on of %d", key, n, off, i.Size)
	}
	return err
}

// List is that of blob.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := errors.Join(blob.ValidatePrefix(prefix), ctx.Err()); err != nil {
			yield(blob.Info{}, err)
			return
		}
		owner := false
		last := ""
		for o := range s.core.Client.ListObjectsIter(ctx, s.a.Bucket, minio.ListObjectsOptions{
			Prefix: s.prefix + prefix, Recursive: true, FetchOwner: &owner, MaxKeys: s.page,
		}) {
			if err := ctx.Err(); err != nil || o.Err != nil {
				yield(blob.Info{}, s.mapped(ctx, "list", prefix, errors.Join(err, o.Err)))
				return
			}
			key, ok := strings.CutPrefix(o.Key, s.prefix)
			if !ok || !strings.HasPrefix(key, prefix) || o.Size < 0 {
				yield(blob.Info{}, fmt.Errorf("list %s: the server names what was not asked for", prefix))
				return
			}
			// Names of others, "directories" that browsers make, and our own trial.
			if blob.ValidateKey(key) != nil {
				continue
			}
			// Who repeats a page, or does not sort, would have objects taken for missing.
			if key <= last {
				yield(blob.Info{}, fmt.Errorf("list %s: the server names %s after %s", prefix, key, last))
				return
			}
			last = key
			if !yield(info(key, o), nil) {
				return
			}
		}
		// A listing that is called off ends as if it were complete.
		if err := ctx.Err(); err != nil {
			yield(blob.Info{}, err)
		}
	}
}

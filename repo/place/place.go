// Package place finds the store that the address of a repository means: a path or
// file:///…, a directory; s3://BUCKET/PREFIX?endpoint=…, a bucket.
package place

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/file"
	"github.com/certkeep/certkeep/repo/blob/limit"
	"github.com/certkeep/certkeep/repo/blob/retry"
	"github.com/certkeep/certkeep/repo/blob/s3"
)

// Options are the options of Open.
type Options struct {
	// Create makes a directory that is not there.
	Create bool
	// Up and Down bound the rate of a bucket, in bytes a second; 0 is no bound.
	Up, Down int64
	// Note is told of what is tried again.
	Note func(op, key string, err error)
}

// Open opens the store at an address. repo.ErrNoRepository if there is nothing.
func Open(ctx context.Context, address string, o Options) (blob.Store, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	switch {
	case address == "":
		return nil, errors.New("the address of the repository is empty")
	case !ok:
		return directory(address, o)
	case scheme == "file":
		dir, err := filePath(rest)
		if err != nil {
			return nil, err
		}
		return directory(dir, o)
	case scheme == "s3":
		return bucket(ctx, address, o)
	}
	return nil, hint.With(fmt.Errorf("%.20s:// is no kind of repository", scheme), "a repository is a path, file:///PATH, or s3://BUCKET/PREFIX?endpoint=URL")
}

func directory(dir string, o Options) (blob.Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if o.Create {
		return file.Create(dir)
	}
	s, err := file.Open(dir)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, hint.With(fmt.Errorf("%s: %w", dir, repo.ErrNoRepository), "certkeep init makes one")
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func filePath(rest string) (string, error) {
	host, path, ok := strings.Cut(rest, "/")
	if !ok || host != "" && host != "localhost" {
		return "", fmt.Errorf("file://%.80s: a file address is file:///PATH", rest)
	}
	p, err := url.PathUnescape(path)
	if err != nil {
		return "", fmt.Errorf("file:///%.80s: %w", path, err)
	}
	if runtime.GOOS != "windows" {
		p = "/" + p
	}
	return filepath.FromSlash(p), nil
}

// attempt is how long one request to a bucket may take: a pack on a slow line.
const attempt = 10 * time.Minute

func bucket(ctx context.Context, address string, o Options) (blob.Store, error) {
	a, err := s3.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	s, err := s3.Open(ctx, a, s3.Options{})
	if errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", repo.ErrNoRepository, err)
	}
	if err != nil {
		return nil, err
	}
	var store blob.Store = s
	if o.Up > 0 || o.Down > 0 {
		store = limit.New(store, limit.Options{Up: o.Up, Down: o.Down})
	}
	return retry.New(store, retry.Options{Timeout: attempt}), nil
}

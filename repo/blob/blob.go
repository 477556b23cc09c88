// Package blob keeps the bytes of a repository: objects under keys, written
// once, each whole or not at all. A directory (package file) and a bucket
// (package s3) are Stores, and blobtest is the suite that each passes. Others
// wrap a Store: retry, limit, readonly, and fault for tests.
//
// Nothing is ever replaced: a repository gives each object a name of its own,
// and what has to change becomes a new object. That is what lets it live with
// credentials that cannot delete, and lets many machines write at once.
//
// # Keys
//
// A key is one or more elements joined by "/". An element has one to 128 bytes
// out of a-z, 0-9, "-", "_" and ".", and does not begin or end with ".". Upper case
// is not allowed, because some file systems do not tell it from lower case, nor a
// "." at the end, because Windows drops it. See [ValidateKey].
//
// No key is another's directory: where there is an object "a" there can be no "a/b".
// A directory cannot store both, and Put fails with some error.
package blob

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// MaxSize is the largest object in bytes. A repository's objects are far
// smaller; the bound is what may be allocated because a store says so.
const MaxSize = 96 << 20

// What goes wrong. Errors wrap these, with the key or the place concerned.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already there")
	ErrTooLarge    = errors.New("too large")
	ErrShort       = errors.New("shorter than asked for")
	ErrReadOnly    = errors.New("read only")
	ErrUnsupported = errors.New("not supported by this store")
	ErrDenied      = errors.New("access denied")
	ErrKey         = errors.New("no key of an object")
)

// Info describes an object.
type Info struct {
	Key  string
	Size int64
	// Time is when the object was written, by the store's own clock: that of a
	// server, or of a file system. All times that are compared with each other come
	// from the store, so that no machine needs a right clock.
	Time time.Time
}

// PutOptions are the options of Store.Put.
type PutOptions struct {
	// RetainUntil asks the store to refuse deleting and replacing the object
	// before that time. Put fails with ErrUnsupported where it cannot.
	RetainUntil time.Time
	// Untimed says that the caller does not need Info.Time, which may then be zero: it saves
	// a bucket a request.
	Untimed bool
}

// Store keeps objects. It may be used by several goroutines and by several
// machines at once.
type Store interface {
	// Put stores data under key, durably, and returns what Stat would. If it
	// returns an error, the object is there whole or not at all. An object that is
	// there already is not replaced: that is ErrExists. (A bucket that does not know
	// conditional writes cannot promise it; see its Check.) A Put whose answer was
	// lost may have stored the object: a caller that retries takes ErrExists for
	// success if the content is the same.
	Put(ctx context.Context, key string, data []byte, o PutOptions) (Info, error)

	// Get returns n bytes of an object from off on, or all that follow if n is
	// negative. ErrShort if it ends earlier, ErrNotFound if it is missing, ErrTooLarge
	// if that were more than MaxSize. See [Span].
	Get(ctx context.Context, key string, off, n int64) ([]byte, error)

	// Stat describes an object. ErrNotFound if it is missing.
	Stat(ctx context.Context, key string) (Info, error)

	// List yields the objects whose keys begin with prefix, which may end within an
	// element ([ValidatePrefix]), in the byte order of
	// keys. After an error it ends. What is written or deleted meanwhile may or may
	// not be listed.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// Delete removes an object, durably. A missing one is no error.
	Delete(ctx context.Context, key string) error

	// Location says where the store is, for people; it has no secrets in it.
	Location() string
}

// Checker is a Store that knows how well it is protected, for doctor.
type Checker interface {
	Check(ctx context.Context) ([]Finding, error)
}

// Finding is something that Check saw.
type Finding struct {
	// Code names what was looked at: "versioning", "object-lock",
	// "conditional-write", "permissions", "durability".
	Code string
	OK   bool
	Text string // a sentence
	Hint string // what to do, if it is not OK
}

// ValidateKey checks the form of a key.
func ValidateKey(key string) error {
	n := 0
	for i := range len(key) {
		switch c := key[i]; {
		case c == '/':
			if n == 0 || key[i-1] == '.' {
				return keyError(key)
			}
			n = -1
		case c == '.' && n == 0, n >= 128:
			return keyError(key)
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return keyError(key)
		}
		n++
	}
	if n == 0 || key[len(key)-1] == '.' || len(key) > 512 {
		return keyError(key)
	}
	return nil
}

func keyError(key string) error {
	if len(key) > 80 {
		key = key[:80] + "…"
	}
	return fmt.Errorf("%q is %w", key, ErrKey)
}

// ValidatePrefix checks that keys can begin with prefix: it is empty, a key, or what is
// left when a key is cut off anywhere.
func ValidatePrefix(prefix string) error {
	if prefix == "" || ValidateKey(prefix) == nil || len(prefix) < 512 && ValidateKey(prefix+"x") == nil {
		return nil
	}
	return fmt.Errorf("prefix: %w", keyError(prefix))
}

// Span is the number of bytes that Get returns of an object of that size: n, or for a
// negative n all from off on. A negative off is an error.
func Span(key string, size, off, n int64) (int64, error) {
	switch {
	case off < 0:
		return 0, fmt.Errorf("%s: offset %d is negative", key, off)
	case n > MaxSize:
		return 0, fmt.Errorf("%s: %d bytes: %w", key, n, ErrTooLarge)
	case off > size, n > size-off:
		return 0, fmt.Errorf("%s: has %d bytes: %w (%d from %d on)", key, size, ErrShort, n, off)
	case n >= 0:
		return n, nil
	case size-off > MaxSize:
		return 0, fmt.Errorf("%s: %d bytes: %w", key, size-off, ErrTooLarge)
	}
	return size - off, nil
}

// ValidatePut checks what every Store must refuse.
func ValidatePut(key string, data []byte) error {
	if err := ValidateKey(key); err != nil {
		return err
	}
	if len(data) > MaxSize {
		return fmt.Errorf("%s: %d bytes: %w", key, len(data), ErrTooLarge)
	}
	return nil
}

// Check asks s, or the Store that it wraps, how well it is protected. It finds
// nothing where none of them knows.
func Check(ctx context.Context, s Store) ([]Finding, error) {
	for s != nil {
		if c, ok := s.(Checker); ok {
			return c.Check(ctx)
		}
		w, ok := s.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		s = w.Unwrap()
	}
	return nil, nil
}

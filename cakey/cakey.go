// Package cakey exports the private key of a CA as PFX (PKCS #12, RFC 7292), on
// an explicit request and at no other time.
//
// No backup holds the key: Certadm.dll does not hand it out, and a set must stay
// safe to copy to where a CA's key must not be. The key is needed after
// installation and after each renewal of the CA certificate, and then once, in a
// place of its own.
//
//	r, err := cakey.Export(ctx, cakey.Store(sha1), cakey.ExportOptions{File: `E:\safe\ca.pfx`, Password: password})
//
// [Store] is a key in this Windows machine's certificate store, where AD CS keeps
// its own; [InMemory] is any other.
package cakey

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/durable"
)

// A Source is a CA key that may be exported.
type Source interface {
	// PFX returns the key, its certificate and the chain above it, encrypted
	// under the password. It keeps neither.
	PFX(ctx context.Context, password []byte) (*PFX, error)
}

// A PFX is what a Source exports.
type PFX struct {
	Data        []byte // PKCS #12
	Certificate []byte // DER; the key in Data must be that of this certificate
}

// ExportOptions say where a key goes.
type ExportOptions struct {
	// File must not exist yet, its directory must, and that must not be in a
	// set's folder. Only the caller, and on Windows administrators and SYSTEM, may
	// read it.
	File string
	// Password is UTF-8, at least [MinPassword] characters. Clearing it is the
	// caller's job; the copies in UTF-16 that Windows is given are cleared here, those
	// that the PKCS #12 library makes are left to the garbage collector.
	Password []byte
}

// Result says what an export has written.
type Result struct {
	File        string // absolute
	Size        int64
	Certificate []byte // DER
	// Protection is how the key is encrypted, read from the file.
	Protection string
	// Weak says that it is an old method: the system could do no better, and the
	// password alone must hold.
	Weak bool
	// Unchecked is nil when the file was read back, opened with the password, and
	// the key in it was found to be that of the certificate. Otherwise it says why
	// that could not be found out; what was found to be wrong is an error of Export.
	Unchecked error
}

// Export writes a key to a file. The file appears under its name only when it is
// on disk and has been read back; on an error there is none.
func Export(ctx context.Context, src Source, o ExportOptions) (*Result, error) {
	if err := CheckPassword(o.Password); err != nil {
		return nil, fmt.Errorf("export key: %w", err)
	}
	file, err := checkPlace(o.File)
	if err != nil {
		return nil, fmt.Errorf("export key: %w", err)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("export key: %w", err)
	}
	pfx, err := src.PFX(ctx, o.Password)
	if err != nil {
		return nil, fmt.Errorf("export key: %w", err)
	}
	r := &Result{File: file, Size: int64(len(pfx.Data)), Certificate: pfx.Certificate}
	if err := r.write(ctx, pfx, o.Password); err != nil {
		return nil, fmt.Errorf("export key: %w", err)
	}
	return r, nil
}

func (r *Result) write(ctx context.Context, pfx *PFX, password []byte) (err error) {
	f, err := durable.Create(privateFS{durable.OS}, r.File, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Abort()) }() // does nothing after Commit
	if _, err := f.Write(pfx.Data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	back := make([]byte, len(pfx.Data)+1)
	n, _ := f.ReadAt(back, 0) // io.EOF, or the comparison fails
	if !bytes.Equal(back[:n], pfx.Data) {
		return fmt.Errorf("%s: what was read back is not what was written", r.File)
	}
	if err := r.check(back[:n], password); err != nil {
		return fmt.Errorf("%s: %w", r.File, err)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return placeError(r.File, f.Commit())
}

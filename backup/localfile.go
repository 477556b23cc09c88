package backup

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/certkeep/certkeep/backupset"
)

// copyLocal copies a file of this machine and returns its SHA-256 and size.
func copyLocal(ctx context.Context, src, dst string) (sum string, size int64, err error) {
	in, err := os.Open(src)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, err
	}
	size, sum, err = backupset.Copy(ctx, out, in)
	return sum, size, errors.Join(err, out.Close())
}

// digest reads a file of this machine.
func digest(ctx context.Context, path string) (sum string, size int64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	size, sum, err = backupset.Copy(ctx, io.Discard, in)
	return sum, size, err
}

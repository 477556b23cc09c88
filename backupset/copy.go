package backupset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// Copy copies src to dst to its end and returns the number of bytes and their
// SHA-256 in lower-case hexadecimal. Hashing goes on beside reading and
// writing; memory is a few buffers, whatever the size. When ctx is done it
// stops between two buffers.
func Copy(ctx context.Context, dst io.Writer, src io.Reader) (n int64, sum string, err error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return n, "", err
		}
		k, rerr := io.ReadFull(src, buf)
		h.Write(buf[:k])
		if w, err := dst.Write(buf[:k]); err != nil {
			return n + int64(w), "", err
		}
		n += int64(k)
		if rerr == io.EOF || rerr == io.ErrUnexpectedEOF {
			return n, hex.EncodeToString(h.Sum(nil)), nil
		}
		if rerr != nil {
			return n, "", rerr
		}
	}
}

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// readSize is the buffer of one CertSrvBackupRead, in bytes, as in Microsoft's
// sample.
const readSize = 512 << 10

// copyFile is steps 7 to 9 for one file of a list. It returns the file as it
// stands in the manifest, and its first bytes.
func (t *taker) copyFile(ctx context.Context, role backupset.Role, name string) (f backupset.File, head []byte, err error) {
	src, err := t.b.OpenFile(ctx, name, readSize)
	if err != nil {
		return f, nil, err
	}
	t.phase.Total = max(t.phase.Total, t.phase.Done+src.Size())
	in, pages := t.watchPages(role, name, src.Size(), src, t.o.BadPages)
	head, err = t.store(ctx, role, certadm.BaseName(name), name, src.Size(), in)
	if pages != nil && err != nil {
		_ = pages.finish(false) // ends its goroutine; the first error is the one that counts
	} else if pages != nil {
		err = t.pagesChecked(pages)
	}
	if err = errors.Join(err, src.Close()); err != nil {
		return f, nil, err
	}
	return t.m.Files[len(t.m.Files)-1], head, nil
}

// store streams one file into the set, hashing it on the way, and notes it in
// the manifest.
func (t *taker) store(ctx context.Context, role backupset.Role, name, source string, size int64, src io.Reader) (head []byte, err error) {
	dst, err := t.w.CreateFile(ctx, role, name, size)
	if err != nil {
		return nil, err
	}
	w := &watched{Reader: src, progress: func(n int) {
		t.bytes += int64(n)
		t.phase.Done += int64(n)
		t.phase.File = name
		if t.o.Progress != nil {
			t.o.Progress(t.phase)
		}
	}}
	n, sum, err := backupset.Copy(ctx, dst, w)
	if err = errors.Join(err, dst.Close()); err != nil {
		return nil, fmt.Errorf("storing %s: %w", name, err)
	}
	if n != size {
		return nil, fmt.Errorf("storing %s: the server announced %d bytes and sent %d", name, size, n)
	}
	t.m.Files = append(t.m.Files, backupset.File{Role: role, Name: name, Source: source, Size: n, SHA256: sum})
	return w.head, nil
}

func (t *taker) begin(phase string) { t.phase = Progress{Phase: phase} }

// watched is a reader that tells of its progress and keeps the first bytes.
type watched struct {
	io.Reader
	head     []byte
	progress func(int)
}

const headSize = 4096

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if room := headSize - len(w.head); room > 0 && n > 0 {
		w.head = append(w.head, p[:min(room, n)]...)
	}
	w.progress(n)
	return n, err
}

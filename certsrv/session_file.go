package certsrv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// backupFile is the file that a session has open.
type backupFile struct {
	b      *session
	ctx    context.Context // the open's; it governs the reads
	name   string
	from   io.ReaderAt
	close  func() error
	size   int64
	at     int64
	mark   *progress
	closed bool

	asked time.Time // when the last Read began
}

// restFactor is how long a backup rests under load, in parts of the time that it
// worked: with 2 it takes a third of one processor.
const restFactor = 2

// maxRest bounds one rest; a client that is slow by itself needs none.
const maxRest = 50 * time.Millisecond

// pace slows a backup down while the processors are busy issuing, which has to
// go on at nearly full speed. Reading, hashing and writing as fast as possible
// would take a whole processor. The time between two reads is what the client
// worked on the data; it is made up for by a rest.
func (f *backupFile) pace() error {
	now := time.Now()
	worked := now.Sub(f.asked)
	first := f.asked.IsZero()
	f.asked = now
	if first || f.b.r.issuing.Load() < int64(runtime.GOMAXPROCS(0)) || worked > maxRest {
		return f.ctx.Err()
	}
	t := time.NewTimer(min(restFactor*worked, maxRest))
	defer t.Stop()
	select {
	case <-t.C:
		f.asked = time.Now()
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

func (b *session) OpenFile(ctx context.Context, name string, readHint int) (certadm.BackupFile, error) {
	unlock, err := b.use(ctx, certadm.FnBackupOpenFile)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if b.file != nil {
		return nil, pathError(certadm.FnBackupOpenFile, shorten(name), certadm.EUnexpected, errors.New("another file is open"), "")
	}
	mark, gen := b.find(name)
	if mark == nil {
		return nil, pathError(certadm.FnBackupOpenFile, shorten(name), certadm.EUnexpected, errors.New("the name is not in the session's lists"),
			"open the names that DatabaseNames and Logs return, without their tag")
	}
	if b.readSize == 0 {
		b.readSize = certadm.ReadBufferSize(readHint)
	}
	f := &backupFile{b: b, ctx: ctx, name: name, mark: mark}
	if gen == 0 {
		err = f.openDatabase(ctx)
	} else {
		err = f.openLog(gen)
	}
	if err != nil {
		return nil, wrapCode(certadm.FnBackupOpenFile, err)
	}
	mark.read = false
	b.file = f
	return f, nil
}

// startCopy begins to read the database, anew if it was read before and the
// logs were listed for that.
func (b *session) startCopy(ctx context.Context) error {
	if b.copy != nil {
		if err := b.copy.Close(); err != nil {
			return err
		}
		b.copy = nil
	}
	c, err := b.r.db.StartCopy(ctx)
	if err != nil {
		return err
	}
	b.copy = c
	return nil
}

func (f *backupFile) openDatabase(ctx context.Context) error {
	b := f.b
	if b.truncated {
		return outOfSequence(certadm.FnBackupOpenFile, "the logs were truncated: no database can be opened in this session any more")
	}
	if b.copy == nil || len(b.logs) > 0 {
		if err := b.startCopy(ctx); err != nil {
			return err
		}
		b.stale = len(b.logs) > 0
	}
	b.s.observe(PhaseCopying)
	f.from, f.size, f.close = b.copy, b.copy.Size(), func() error { return nil }
	return nil
}

func (f *backupFile) openLog(gen uint32) error {
	file, size, err := f.b.r.db.OpenLog(gen)
	if err != nil {
		return err
	}
	f.from, f.size, f.close = file, size, file.Close
	return nil
}

// Size is the length at the open.
func (f *backupFile) Size() int64 { return f.size }

// Read fills p except at the end of the file.
func (f *backupFile) Read(p []byte) (int, error) {
	b := f.b
	if err := f.pace(); err != nil {
		return 0, newError(certadm.FnBackupRead, certadm.ErrorCancelled, err, "")
	}
	unlock, err := b.use(f.ctx, certadm.FnBackupRead)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if f.closed {
		return 0, outOfSequence(certadm.FnBackupRead, "no file is open")
	}
	if len(p) == 0 {
		return 0, nil
	}
	left := f.size - f.at
	if left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), left)]
	n, err := f.from.ReadAt(p, f.at)
	f.at += int64(n)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("the file ends at %d bytes, it had %d", f.at, f.size)
	}
	return n, pathError(certadm.FnBackupRead, f.name, certadm.HrDiskIO, err, "")
}

// Close closes the file; if it was read to its end, it is backed up.
func (f *backupFile) Close() error {
	b := f.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return invalidHandle(certadm.FnBackupClose)
	}
	if f.closed {
		return outOfSequence(certadm.FnBackupClose, "no file is open")
	}
	if b.broken != nil {
		return newError(certadm.FnBackupClose, certadm.ErrorServiceNotActive, b.broken, "")
	}
	f.mark.read = f.at == f.size
	return wrapCode(certadm.FnBackupClose, f.shut())
}

// shut closes the file underneath; the session's lock is held.
func (f *backupFile) shut() error {
	f.closed = true
	f.b.file = nil
	return f.close()
}

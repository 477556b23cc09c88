package csra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/certadm"
)

// backup is the client's side of a session.
type backup struct {
	c    *Client
	kind certadm.BackupType

	mu       sync.Mutex
	over     bool
	readSize int32 // set by the first open
	file     *file
	partial  map[string]bool // files that the consumer did not read to their end
	buffers  [][]byte        // for the next file
}

// BackupPrepare starts a session, and proves that it is of type t: the wire does
// not say clearly which parameter carries the type, but a full session lists
// databases and an incremental one does not. If the server took the one for the
// other the session is ended, and nothing else is done in it.
func (c *Client) BackupPrepare(ctx context.Context, t certadm.BackupType) (certadm.Backup, error) {
	if t != certadm.BackupFull && t != certadm.BackupLogsOnly {
		return nil, local(certadm.FnBackupPrepare, "", certadm.EInvalidArg, fmt.Sprintf("backup type %d is not known: 1 is a full backup, 2 an incremental one", t))
	}
	leave, err := c.enter(ctx, certadm.FnBackupPrepare)
	if err != nil {
		return nil, err
	}
	defer leave()
	args := prepareArgs{authority: c.authority, flags: uint32(t)}
	if t == certadm.BackupLogsOnly {
		args.grbitJet = 1
	}
	b := &backup{c: c, kind: t, partial: make(map[string]bool)}
	c.mu.Lock()
	if c.session != nil {
		c.mu.Unlock()
		return nil, outOfSequence(certadm.FnBackupPrepare, "", "this client has a backup session already")
	}
	c.session = b
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	if err := c.calls.prepare(ctx, args); err != nil {
		c.forget(b)
		return nil, fail(certadm.FnBackupPrepare, "", err)
	}
	if err := b.prove(ctx); err != nil {
		b.over = true
		ectx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.patience)
		defer cancel()
		endErr := c.simple(ectx, certadm.FnBackupEnd, "", func(ctx context.Context) error { return c.calls.simple(ctx, opBackupEnd) })
		if endErr != nil {
			c.log.Warn("ending a session of the wrong type", slog.Any("error", endErr))
		}
		c.forget(b)
		return nil, fail(certadm.FnBackupPrepare, "", err)
	}
	return b, nil
}

// prove lists the databases, and compares what comes with what has to.
func (b *backup) prove(ctx context.Context) error {
	l, err := b.c.list(ctx, opBackupGetAttachments)
	if b.kind == certadm.BackupLogsOnly {
		switch {
		case outOfOrder(err) || err == nil && len(l) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("listing the databases of an incremental backup, which has none: %w", err)
		}
		return wrongType("an incremental backup was asked for, and the server lists databases as in a full one")
	}
	if err != nil {
		return fmt.Errorf("listing the databases of a full backup: %w", err)
	}
	for _, e := range l {
		if e.Type == certadm.FileDatabase {
			return nil
		}
	}
	return wrongType("a full backup was asked for, and the server lists no database")
}

func wrongType(why string) error {
	return &certadm.Error{Op: certadm.FnBackupPrepare, Code: certadm.EUnexpected, Err: errors.New(why + "; the session was ended, and nothing was truncated"),
		Hint: "the server reads BackupPrepare in another way than is known: please report it"}
}

// outOfOrder reports whether the server says that the call has no place in this
// session, with whatever code. A list that makes no sense does not say that, nor
// does a fault, nor a failure that might come of a full session as well.
func outOfOrder(err error) bool {
	var code certadm.HRESULT
	if !errors.As(err, &code) || err != error(code) {
		return false
	}
	switch code {
	case certadm.EAccessDenied, certadm.EOutOfMemory, certadm.ErrorServiceNotActive, certadm.ErrorCancelled:
		return false
	}
	return true
}

func (c *Client) forget(b *backup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == b {
		c.session = nil
	}
}

// check refuses calls after End.
func (b *backup) check(op string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return invalidHandle(op)
	}
	return nil
}

func (b *backup) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	if err := b.check(certadm.FnRestoreGetDatabaseLocations); err != nil {
		return nil, err
	}
	return b.c.DatabaseLocations(ctx)
}

func (b *backup) DynamicFiles(ctx context.Context) ([]string, error) {
	if err := b.check(certadm.FnBackupGetDynamicFileList); err != nil {
		return nil, err
	}
	return b.c.DynamicFiles(ctx)
}

func (b *backup) DatabaseNames(ctx context.Context) (certadm.FileList, error) {
	if err := b.check(certadm.FnBackupGetDatabaseNames); err != nil {
		return nil, err
	}
	if b.kind != certadm.BackupFull {
		return nil, local(certadm.FnBackupGetDatabaseNames, "", certadm.HrInvalidBackupSequence, "an incremental backup has no databases")
	}
	return do(ctx, b.c, certadm.FnBackupGetDatabaseNames, "", func(ctx context.Context) (certadm.FileList, error) { return b.c.list(ctx, opBackupGetAttachments) })
}

func (b *backup) Logs(ctx context.Context) (certadm.FileList, error) {
	if err := b.check(certadm.FnBackupGetBackupLogs); err != nil {
		return nil, err
	}
	return do(ctx, b.c, certadm.FnBackupGetBackupLogs, "", func(ctx context.Context) (certadm.FileList, error) { return b.c.list(ctx, opBackupGetLogs) })
}

// TruncateLogs is refused here already while a file is open, or as long as one
// was opened and not read to its end: the server may have sent all of it.
func (b *backup) TruncateLogs(ctx context.Context) error {
	b.mu.Lock()
	var err error
	switch {
	case b.over:
		err = invalidHandle(certadm.FnBackupTruncateLogs)
	case b.file != nil:
		err = outOfSequence(certadm.FnBackupTruncateLogs, b.file.name, "a file is open")
	case len(b.partial) > 0:
		err = outOfSequence(certadm.FnBackupTruncateLogs, one(b.partial), "the file was not read to its end; nothing was truncated")
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.c.simple(ctx, certadm.FnBackupTruncateLogs, "", func(ctx context.Context) error { return b.c.calls.simple(ctx, opBackupTruncateLogs) })
}

func one(m map[string]bool) string {
	for k := range m {
		return k
	}
	return ""
}

// End ends the session, whatever comes of it; also when ctx has ended, for as
// long as the client waits for a call that was given up.
func (b *backup) End(ctx context.Context) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), b.c.patience)
		defer cancel()
	}
	b.mu.Lock()
	if b.over {
		b.mu.Unlock()
		return invalidHandle(certadm.FnBackupEnd)
	}
	b.over = true
	f, partial := b.file, one(b.partial)
	b.file = nil
	b.mu.Unlock()
	defer b.c.forget(b)
	if f != nil {
		f.stop(ctx)
		if f.ended { // it is open here only
			b.reopen(ctx, f.name, true)
		}
	} else if partial != "" {
		b.reopen(ctx, partial, false)
	}
	return b.c.simple(ctx, certadm.FnBackupEnd, "", func(ctx context.Context) error { return b.c.calls.simple(ctx, opBackupEnd) })
}

// reopen opens a file again that the server holds for read and the consumer did
// not read to its end, or did not close: so the server does not take the backup
// for a whole one.
func (b *backup) reopen(ctx context.Context, name string, leave bool) {
	err := b.c.simple(ctx, certadm.FnBackupOpenFile, name, func(ctx context.Context) error {
		if _, err := b.c.calls.openFile(ctx, name); err != nil || leave {
			return err
		}
		return b.c.calls.simple(ctx, opBackupCloseFile)
	})
	if err != nil {
		b.c.log.Debug("opening a file again that was not read to its end or not closed", slog.Any("error", err))
	}
}

// abandon ends the session on this side; the connection is about to be closed.
func (b *backup) abandon() {
	b.mu.Lock()
	f := b.file
	b.over, b.file = true, nil
	b.mu.Unlock()
	if f != nil {
		ctx, cancel := context.WithCancel(b.c.life)
		cancel() // nobody waits for the read but Close, for as long as its patience lasts
		f.stop(ctx)
	}
}

// untag strips the tag of a UNC name, if it has one.
func untag(name string) string {
	if !strings.HasPrefix(name, `\\`) {
		for i := range name {
			if i > 0 {
				if strings.HasPrefix(name[i:], `\\`) {
					return name[i:]
				}
				break
			}
		}
	}
	return name
}

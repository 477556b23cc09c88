package certdll

import (
	"context"
	"log/slog"

	"github.com/certkeep/certkeep/certadm"
)

// backup is a backup session.
type backup struct {
	*session
	kind certadm.BackupType

	// Of the session's thread:
	open      bool            // the library has a file open
	file      *file           // the one, until the consumer closes it
	last      string          // the last one that was opened
	partial   map[string]bool // files that the consumer did not read to their end
	truncated bool            // TruncateLogs was called
	buf       []byte          // for reads; its size is set by the first open
}

// BackupPrepare starts a session. The first argument of the function that says
// something is the flags: grbitJet is documented as 0, whatever the type.
func (c *Client) BackupPrepare(ctx context.Context, t certadm.BackupType) (certadm.Backup, error) {
	if t != certadm.BackupFull && t != certadm.BackupLogsOnly {
		return nil, local(certadm.FnBackupPrepare, "", certadm.EInvalidArg, "backup type %d is not known: 1 is a full backup, 2 an incremental one", t)
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(certadm.FnBackupPrepare, "", err)
	}
	b := &backup{session: c.newSession(), kind: t, partial: make(map[string]bool)}
	b.abort = b.breakOff
	b.turn <- struct{}{}
	if err := c.claim(ctx, b); err != nil {
		close(b.jobs)
		return nil, err
	}
	if err := b.privilege(SeBackupPrivilege, certadm.FnBackupPrepare); err != nil {
		b.close()
		return nil, err
	}
	err, over := b.run(ctx, certadm.FnBackupPrepare, "", func() error {
		h, hr := c.procs.backupPrepare(c.server, 0, uint32(t))
		return b.begun(h, hr, c.procs.backupEnd)
	}, b.breakOff)
	switch {
	case over:
		return nil, err
	case err != nil:
		b.close()
		return nil, err
	}
	<-b.turn
	return b, nil
}

// begun looks at what a Prepare returned; on the thread.
func (s *session) begun(h handle, hr certadm.HRESULT, end func(handle) certadm.HRESULT) error {
	if err := result(hr); err != nil {
		if hr&0x80000000 == 0 && h != 0 { // a success of an unknown kind
			end(h)
		}
		return err
	}
	if h == 0 {
		return bad("the library returned no handle")
	}
	s.h = h
	return nil
}

// claim makes b the client's backup session. One that was given up is waited for.
func (c *Client) claim(ctx context.Context, b *backup) error {
	for {
		c.mu.Lock()
		old := c.backup
		if old == nil {
			c.backup = b
			c.mu.Unlock()
			err := c.begin(certadm.FnBackupPrepare, b.session)
			if err != nil {
				c.mu.Lock()
				c.backup = nil
				c.mu.Unlock()
			}
			return err
		}
		c.mu.Unlock()
		select {
		case <-old.gone:
		case <-old.ended:
		default:
			return outOfSequence(certadm.FnBackupPrepare, "", "this client has a backup session already")
		}
		select {
		case <-old.ended:
		case <-ctx.Done():
			return fail(certadm.FnBackupPrepare, "", ctx.Err())
		}
	}
}

// privilege enables one as long as the session lasts.
func (s *session) privilege(name, op string) error {
	if s.c.enable == nil {
		return nil
	}
	restore, err := s.c.enable(name)
	if err != nil {
		return fail(op, "", err)
	}
	s.release = func() {
		if err := restore(); err != nil {
			s.c.log.Warn("a privilege could not be put back", slog.String("privilege", name), slog.Any("error", err))
		}
	}
	return nil
}

func (b *backup) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	return b.locations(ctx)
}

func (b *backup) DatabaseNames(ctx context.Context) (certadm.FileList, error) {
	if b.kind != certadm.BackupFull {
		if err := b.call(ctx, certadm.FnBackupGetDatabaseNames, "", func() error { return nil }); err != nil {
			return nil, err // it has ended
		}
		return nil, local(certadm.FnBackupGetDatabaseNames, "", certadm.HrInvalidBackupSequence, "an incremental backup has no databases")
	}
	return b.list(ctx, certadm.FnBackupGetDatabaseNames, b.c.procs.databaseNames)
}

func (b *backup) Logs(ctx context.Context) (certadm.FileList, error) {
	return b.list(ctx, certadm.FnBackupGetBackupLogs, b.c.procs.backupLogs)
}

func (b *backup) DynamicFiles(ctx context.Context) ([]string, error) {
	return b.strings(ctx, certadm.FnBackupGetDynamicFileList, b.c.procs.dynamicFiles)
}

// TruncateLogs is refused here already while a file is open, or as long as one was
// opened and not read to its end: the library reads ahead, and the server may
// take what it sent for read.
func (b *backup) TruncateLogs(ctx context.Context) error {
	return b.call(ctx, certadm.FnBackupTruncateLogs, "", func() error {
		if b.file != nil {
			return outOfSequence(certadm.FnBackupTruncateLogs, shorten(b.file.name), "a file is open")
		}
		for name := range b.partial {
			return outOfSequence(certadm.FnBackupTruncateLogs, shorten(name), "the file was not read to its end; nothing was truncated")
		}
		b.truncated = true
		return result(b.c.procs.truncateLogs(b.h))
	})
}

// End ends the session, whatever comes of it; also when ctx has ended.
//
// The server may hold for read what the consumer did not read to its end, or did
// not close: all of it may have come already. Such a file is opened once more
// before, so that the backup is not taken for a whole one.
func (b *backup) End(ctx context.Context) error {
	return b.end(ctx, certadm.FnBackupEnd, func() error {
		switch {
		case b.open:
		case b.file != nil:
			b.c.procs.openFile(b.h, b.file.name, 0)
		default:
			for name := range b.partial {
				if _, hr := b.c.procs.openFile(b.h, name, 0); hr == certadm.SOK {
					b.c.procs.closeFile(b.h)
				}
				break
			}
		}
		return result(b.c.procs.backupEnd(b.h))
	})
}

// breakOff ends the session so that it does not count: with a file open. Where the
// logs were truncated the consumer has all of it.
func (b *backup) breakOff() {
	if b.h == 0 { // Prepare failed
		return
	}
	if !b.open && b.last != "" && !b.truncated {
		b.c.procs.openFile(b.h, b.last, 0)
	}
	if err := result(b.c.procs.backupEnd(b.h)); err != nil {
		b.c.log.Debug("ending a backup session early", slog.Any("error", err))
	}
}

package certsrv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/audit"
	"github.com/certkeep/certkeep/sqlitelog"
)

// session is a backup session. It belongs to the client that prepared it, and
// there is one at a time.
//
// The copy of the database is fuzzy: it is good together with the logs from the
// generation at which reading began to one that is closed after reading ended.
// So Logs closes the open generation, and a database that is read again after
// it needs the logs listed again.
type session struct {
	s    *Server
	r    *run
	c    *client
	kind certadm.BackupType

	mu     sync.Mutex
	over   bool  // after End
	broken error // why the service ended it

	readSize  int // set by the first open
	file      *backupFile
	copy      *sqlitelog.Copy // full: from the first open of the database on
	database  progress
	stale     bool // the database was opened after the logs were listed
	logs      []listedLog
	truncated bool
	first     uint32 // of the logs listed
	last      uint32
}

// progress of a file.
type progress struct{ read bool } // to its end, and closed

type listedLog struct {
	gen uint32
	progress
}

// auditType is the backup type as the audit log has it.
func auditType(t certadm.BackupType) string {
	if t == certadm.BackupFull {
		return audit.TypeFull
	}
	return audit.TypeLogsOnly
}

func (c *client) BackupPrepare(ctx context.Context, t certadm.BackupType) (certadm.Backup, error) {
	if err := c.open(ctx, certadm.FnBackupPrepare); err != nil {
		return nil, err
	}
	if t != certadm.BackupFull && t != certadm.BackupLogsOnly {
		return nil, newError(certadm.FnBackupPrepare, certadm.EInvalidArg, fmt.Errorf("backup type %d is not known", t), "1 is a full backup, 2 an incremental one")
	}
	r, leave, err := c.s.enterBackup()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := c.permit(certadm.FnBackupPrepare, account.BackupPrepare); err != nil {
		return nil, err
	}
	s := c.s
	s.backupMu.Lock()
	defer s.backupMu.Unlock()
	switch {
	case s.session != nil && s.session.c == c:
		return nil, outOfSequence(certadm.FnBackupPrepare, "this client has a backup session already")
	case s.session != nil:
		return nil, newError(certadm.FnBackupPrepare, certadm.HrBackupInProgress, errors.New("another client's backup is running"), "try again when it has ended")
	}
	if t == certadm.BackupLogsOnly {
		if err := r.mayIncrement(); err != nil {
			return nil, err
		}
	}
	rec := c.event(audit.BackupStarted, "ok")
	rec.Type = auditType(t)
	if err := r.audit.Append(rec); err != nil {
		return nil, wrapCode(certadm.FnBackupPrepare, fmt.Errorf("audit log: %w", err))
	}
	s.session = &session{s: s, r: r, c: c, kind: t}
	s.observe(PhaseBackup)
	s.log.Info("backup started", slog.String("by", c.p.Name), slog.String("from", c.origin), slog.String("type", rec.Type))
	return s.session, nil
}

// enterBackup is enter with the codes of BackupPrepare.
func (s *Server) enterBackup() (*run, func(), error) {
	r, leave, err := s.enter()
	if err == nil {
		return r, leave, nil
	}
	s.mu.RLock()
	st := s.state
	s.mu.RUnlock()
	switch st {
	case starting:
		return nil, nil, newError(certadm.FnBackupPrepare, certadm.HrBackupNotAllowedYet, errors.New("the service is recovering"), "try again when it has started")
	case stopping:
		return nil, nil, newError(certadm.FnBackupPrepare, certadm.HrTermInProgress, errors.New("the service is stopping"), "")
	case suspended:
		return nil, nil, newError(certadm.FnBackupPrepare, certadm.HrBackupNotAllowedYet, ErrSuspended, "resume the service")
	}
	return nil, nil, notActive(certadm.FnBackupPrepare)
}

// mayIncrement refuses an incremental backup that nothing could be restored
// with.
func (r *run) mayIncrement() error {
	if r.s.config().CircularLogging {
		return newError(certadm.FnBackupPrepare, certadm.HrInvalidBackup, errors.New("circular logging keeps no logs for an incremental backup"),
			"take a full backup, or turn circular logging off")
	}
	missing := func(why string) error {
		return newError(certadm.FnBackupPrepare, certadm.HrMissingFullBackup, errors.New(why), "take a full backup first")
	}
	marks := r.marks()
	st := r.db.Status()
	chain := marks.chain(st.Signature.String())
	switch {
	case chain == nil:
		return missing("there is no full backup of this database since it was made, restored or repaired")
	case st.Oldest > chain.Last+1:
		return missing(fmt.Sprintf("the logs on disk begin at generation %d, and the last backup ended with %d", st.Oldest, chain.Last))
	}
	return nil
}

// use begins a call of the session; it returns with the lock held.
func (b *session) use(ctx context.Context, op string) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, newError(op, certadm.ErrorCancelled, err, "")
	}
	b.mu.Lock()
	switch {
	case b.over:
		err = invalidHandle(op)
	case b.broken != nil:
		err = newError(op, certadm.ErrorServiceNotActive, b.broken, "start over when the service runs")
	default:
		return b.mu.Unlock, nil
	}
	b.mu.Unlock()
	return nil, err
}

func (b *session) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	unlock, err := b.use(ctx, certadm.FnRestoreGetDatabaseLocations)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return b.s.locations(), nil
}

func (b *session) DynamicFiles(ctx context.Context) ([]string, error) {
	unlock, err := b.use(ctx, certadm.FnBackupGetDynamicFileList)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, err := b.s.dynamicFiles()
	return l, wrapCode(certadm.FnBackupGetDynamicFileList, err)
}

func (b *session) DatabaseNames(ctx context.Context) (certadm.FileList, error) {
	unlock, err := b.use(ctx, certadm.FnBackupGetDatabaseNames)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if b.kind != certadm.BackupFull {
		return nil, newError(certadm.FnBackupGetDatabaseNames, certadm.HrInvalidBackupSequence, errors.New("an incremental backup has no databases"), "")
	}
	return certadm.FileList{{Type: certadm.FileDatabase, Path: b.databaseName()}}, nil
}

func (b *session) databaseName() string {
	c := b.s.config()
	return c.uncName(c.Database)
}

func (b *session) Logs(ctx context.Context) (certadm.FileList, error) {
	unlock, err := b.use(ctx, certadm.FnBackupGetBackupLogs)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if b.file != nil {
		return nil, outOfSequence(certadm.FnBackupGetBackupLogs, "a file is open")
	}
	if len(b.logs) == 0 || b.stale {
		if err := b.listLogs(ctx); err != nil {
			return nil, wrapCode(certadm.FnBackupGetBackupLogs, err)
		}
	}
	return b.present(), nil
}

// listLogs closes the open generation and fixes which logs belong to the set.
func (b *session) listLogs(ctx context.Context) error {
	db := b.r.db
	need := uint32(0) // the lowest without which the set is of no use
	if b.kind == certadm.BackupFull {
		if b.copy == nil { // the database was not read yet
			if err := b.startCopy(ctx); err != nil {
				return err
			}
		}
		info, err := b.copy.Finish(ctx)
		if err != nil {
			return err
		}
		need, b.last = info.First, info.Last
	} else {
		last, err := db.Roll(ctx)
		if err != nil {
			return err
		}
		b.last = last
		marks := b.r.marks()
		if c := marks.chain(db.Status().Signature.String()); c != nil {
			need = c.Last + 1
		}
	}
	files := b.logFiles()
	// Every log since the last truncation, back to where they are whole.
	var logs []listedLog
	for _, f := range files {
		if f.Generation > b.last {
			break
		}
		if n := len(logs); n > 0 && logs[n-1].gen+1 != f.Generation {
			logs = logs[:0]
		}
		l := listedLog{gen: f.Generation}
		if p, _ := b.find(b.s.logName(l.gen)); p != nil {
			l.progress = *p // listed, and perhaps read, before
		}
		logs = append(logs, l)
	}
	if n := len(logs); n == 0 || logs[0].gen > need || logs[n-1].gen != b.last {
		return newError(certadm.FnBackupGetBackupLogs, certadm.HrMissingLogFile, fmt.Errorf("some of the log generations %d to %d are gone", need, b.last), "take a full backup")
	}
	b.first, b.logs, b.stale = logs[0].gen, logs, false
	return nil
}

// present is the part of the list that is still on disk: all of it, unless the
// logs were truncated.
func (b *session) present() certadm.FileList {
	there := make(map[uint32]bool)
	for _, f := range b.logFiles() {
		there[f.Generation] = true
	}
	l := certadm.FileList{}
	for _, g := range b.logs {
		if there[g.gen] {
			l = append(l, certadm.FileEntry{Type: certadm.FileLog, Path: b.s.logName(g.gen)})
		}
	}
	return l
}

// logFiles lists the good logs on disk. One that is damaged is as good as gone:
// whether it matters shows when it is missed.
func (b *session) logFiles() []sqlitelog.LogFile {
	files, err := b.r.db.Logs()
	if err != nil {
		b.s.log.Error("a log is damaged", slog.Any("error", err))
	}
	return files
}

// find returns where the progress of a listed file is kept, nil if the name is
// not in the lists. Names are compared as Windows does.
func (b *session) find(name string) (p *progress, gen uint32) {
	if b.kind == certadm.BackupFull && strings.EqualFold(name, b.databaseName()) {
		return &b.database, 0
	}
	for i := range b.logs {
		if strings.EqualFold(name, b.s.logName(b.logs[i].gen)) {
			return &b.logs[i].progress, b.logs[i].gen
		}
	}
	return nil, 0
}

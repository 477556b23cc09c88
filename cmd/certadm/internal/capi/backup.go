package capi

import (
	"io"

	"github.com/certkeep/certkeep/certadm"
)

// BackupPrepare connects to a server and starts a backup session of the type that
// flags say. The result is 0 if it fails.
//
// CertSrvBackupPrepareW's other number, grbitJet, is not looked at: it should be 0
// and the type is in the flags.
func (l *Library) BackupPrepare(server string, flags uint32) (h Handle, code certadm.HRESULT) {
	code = l.call(fnPrepare, shown(server), func() error {
		t := certadm.BackupType(flags)
		if t != certadm.BackupFull && t != certadm.BackupLogsOnly { // before anybody is asked
			return invalid(fnPrepare, "dwBackupFlags is CSBACKUP_TYPE_FULL (1) or CSBACKUP_TYPE_LOGS_ONLY (2)")
		}
		c, err := l.open(fnPrepare, server)
		if err != nil {
			return err
		}
		b, err := c.Service().BackupPrepare(background(), t)
		if err != nil {
			c.Close()
			return err
		}
		h = l.contexts.add(&session{kind: forBackup, server: server, conn: c, backup: b})
		return nil
	})
	return h, code
}

// list makes a call that returns a list.
func (l *Library) list(fn string, h Handle, kinds kind, get func(*session) ([]byte, error)) (b []byte, code certadm.HRESULT) {
	code = l.in(fn, "", h, kinds, func(s *session) (err error) {
		b, err = get(s)
		return err
	})
	if code != certadm.SOK {
		return nil, code
	}
	return b, code
}

func encode(l certadm.FileList, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return certadm.EncodeList(l)
}

// DatabaseLocations takes a backup or a restore context. An empty list is no
// bytes, here and in the other lists.
func (l *Library) DatabaseLocations(h Handle) ([]byte, certadm.HRESULT) {
	return l.list(fnLocations, h, forBackup|forRestore, func(s *session) ([]byte, error) {
		if s.kind == forRestore {
			return encode(s.restore.DatabaseLocations(background()))
		}
		return encode(s.backup.DatabaseLocations(background()))
	})
}

// DatabaseNames is the list of databases.
func (l *Library) DatabaseNames(h Handle) ([]byte, certadm.HRESULT) {
	return l.list(fnNames, h, forBackup, func(s *session) ([]byte, error) { return encode(s.backup.DatabaseNames(background())) })
}

// BackupLogs is the list of logs.
func (l *Library) BackupLogs(h Handle) ([]byte, certadm.HRESULT) {
	return l.list(fnLogs, h, forBackup, func(s *session) ([]byte, error) { return encode(s.backup.Logs(background())) })
}

// DynamicFiles is the list without tags.
func (l *Library) DynamicFiles(h Handle) ([]byte, certadm.HRESULT) {
	return l.list(fnDynamic, h, forBackup, func(s *session) ([]byte, error) {
		names, err := s.backup.DynamicFiles(background())
		if err != nil {
			return nil, err
		}
		return certadm.EncodeStrings(names)
	})
}

// OpenFile opens a file of the lists and returns its size. One is open at a time.
func (l *Library) OpenFile(h Handle, name string, readHint uint32) (size int64, code certadm.HRESULT) {
	code = l.in(fnOpen, name, h, forBackup, func(s *session) error {
		if s.file != nil {
			return outOfSequence(fnOpen, "another file is open in this context")
		}
		f, err := s.backup.OpenFile(background(), name, int(min(readHint, certadm.MaxReadBuffer)))
		if err != nil {
			return err
		}
		s.file, size = f, f.Size()
		return nil
	})
	return size, code
}

// Read fills p, except at the end of the file. With a failure nothing was read
// that counts, even if a part of p was filled.
func (l *Library) Read(h Handle, p []byte) (n int, code certadm.HRESULT) {
	code = l.in(fnRead, "", h, forBackup, func(s *session) (err error) {
		if s.file == nil {
			return outOfSequence(fnRead, "no file is open in this context")
		}
		// Not errors.Is: a connection that was lost may have an unexpected EOF in it.
		if n, err = io.ReadFull(s.file, p); err == io.EOF || err == io.ErrUnexpectedEOF {
			err = nil
		}
		return err
	})
	if code != certadm.SOK {
		return 0, code
	}
	return n, code
}

// CloseFile closes the open file, also if that fails.
func (l *Library) CloseFile(h Handle) certadm.HRESULT {
	return l.in(fnClose, "", h, forBackup, func(s *session) error {
		f := s.file
		if f == nil {
			return outOfSequence(fnClose, "no file is open in this context")
		}
		s.file = nil
		return f.Close()
	})
}

// TruncateLogs deletes the logs that are in the backup, and not needed any more.
func (l *Library) TruncateLogs(h Handle) certadm.HRESULT {
	return l.in(fnTruncate, "", h, forBackup, func(s *session) error { return s.backup.TruncateLogs(background()) })
}

// BackupEnd ends the session and its connection.
func (l *Library) BackupEnd(h Handle) certadm.HRESULT {
	return l.end(fnEnd, h, forBackup, func(s *session) error { return s.backup.End(background()) })
}

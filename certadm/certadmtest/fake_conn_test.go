package certadmtest

import (
	"io"
	"os"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// conn is one client as the server sees it: the calls of MS-CSRA.
type conn struct {
	f      *fake
	caller Caller
	lost   bool
}

// session is the server's only backup session.
type session struct {
	c         *conn
	full      bool
	databases bool // listed
	logs      bool // listed
	listed    map[string]*listedFile
	open      *os.File
	openName  string
	truncated bool
}

type listedFile struct{ database, opened, read bool }

// call notes a call and checks that the connection is there.
func (c *conn) call(w WireCall) certadm.HRESULT {
	if c.lost {
		return certadm.HrCommunicationError
	}
	c.f.wireCalls = append(c.f.wireCalls, w)
	return certadm.SOK
}

// mine is the session, if it is this client's.
func (c *conn) mine() *session {
	if s := c.f.session; s != nil && s.c == c {
		return s
	}
	return nil
}

func (c *conn) prepare(authority string, grbit, flags, id uint32) certadm.HRESULT {
	f := c.f
	if code := c.call(WireCall{Method: "BackupPrepare", GrbitJet: grbit, Flags: flags, ClientID: id}); code != certadm.SOK {
		return code
	}
	switch {
	case f.is("the authority's case counts"):
		if authority != fakeName {
			return certadm.EInvalidArg
		}
	case !certadm.IsAuthorityName(authority, fakeName) && !f.is("any authority"):
		return certadm.EInvalidArg
	}
	full := grbit == 0
	if (flags == 1 || flags == 2) && !f.is("flags are not looked at") {
		full = flags == 1
	}
	if flags > 2 && !f.is("unknown type is full") {
		return certadm.EInvalidArg
	}
	switch f.state {
	case stopped:
		if !f.is("prepares when stopped") {
			return certadm.ErrorServiceNotActive
		}
	case recovering:
		if !f.is("prepares while recovering") {
			return certadm.HrBackupNotAllowedYet
		}
	case stopping:
		if !f.is("prepares while stopping") {
			return certadm.HrTermInProgress
		}
	}
	refuse := c.caller.Origin == Remote && f.flags&NoRemoteBackup != 0 || c.caller.Origin != Remote && f.flags&NoLocalBackup != 0
	if f.is("a flag refuses everybody") && f.flags&(NoRemoteBackup|NoLocalBackup) != 0 || f.is("the snapshot flag refuses") && f.flags&NoSnapshotBackup != 0 {
		refuse = true
	}
	if refuse && !f.is("flags are ignored") {
		if f.is("flags with another code") {
			return certadm.EUnexpected
		}
		return certadm.EAccessDenied
	}
	allowed := c.caller.Rights&Operator != 0 && (c.caller.Rights&Read != 0 || !f.is("operators need Read"))
	if !allowed && !f.is("readers back up") {
		if f.is("session left after a refusal") {
			f.session = &session{c: c, full: true}
		}
		return certadm.EAccessDenied
	}
	if f.session != nil && !f.is("sessions are not counted") {
		same := f.session.c == c
		switch {
		case same && f.is("second Prepare ends the first session"), !same && f.is("another Prepare ends the first session"):
			f.endSession(f.session)
		case same && f.is("second Prepare closes the file"):
			f.session.close()
		case same && f.is("second Prepare is accepted"):
			return certadm.SOK
		}
		if !same {
			if f.is("another client's Prepare: wrong code") {
				return certadm.EUnexpected
			}
			return certadm.HrBackupInProgress
		}
		if f.is("second Prepare: wrong code") {
			return certadm.HrBackupInProgress
		}
		return certadm.EUnexpected
	}
	if !full {
		if f.circular && !f.is("circular logging is ignored") {
			return certadm.HrInvalidBackup
		}
		if f.full.IsZero() && !f.is("incremental before full") {
			if f.is("incremental before full: wrong code") {
				return certadm.HrFullBackupNotTaken
			}
			return certadm.HrMissingFullBackup
		}
	}
	f.session = &session{c: c, full: full, listed: make(map[string]*listedFile)}
	f.event(AuditBackupRestore, AuditEvent{ID: 4876, Who: c.caller.Name, Type: map[bool]string{true: "full", false: "logs only"}[full]})
	return certadm.SOK
}

func (f *fake) event(bit uint32, e AuditEvent) {
	if f.is("audit without types") {
		e.Type = ""
	}
	if f.is("audit without names") {
		e.Who = ""
	}
	if (f.audit&bit != 0 || f.is("audits always")) && !f.is("audits never") {
		f.events = append(f.events, e)
	}
}

// endSession drops the session; nothing is noted as backed up.
func (f *fake) endSession(s *session) {
	if s != nil && f.session == s {
		s.close()
		f.session = nil
	}
}

func (s *session) close() {
	if s.open != nil {
		s.open.Close()
		s.open = nil
	}
}

// whole reports whether everything was read.
func (s *session) whole() bool {
	f := s.c.f
	if (s.full && !s.databases && !f.is("databases need not be listed")) || (!s.logs && !f.is("logs need not be listed")) {
		return false
	}
	for _, l := range s.listed {
		read := l.read || f.is("databases need not be read") && l.database || f.is("logs need not be read") && !l.database ||
			f.is("to be opened is enough") && l.opened
		if !read {
			return false
		}
	}
	return true
}

func (c *conn) end() certadm.HRESULT {
	f := c.f
	if code := c.call(WireCall{Method: "BackupEnd"}); code != certadm.SOK {
		return code
	}
	s := c.mine()
	if s == nil {
		return certadm.EUnexpected
	}
	now := time.Now()
	if (s.whole() && s.open == nil || f.is("everything counts") || f.is("an open file counts") && s.whole()) && !f.is("nothing counts") {
		if s.full {
			f.full = now
		} else {
			f.inc = now
		}
		if f.is("incrementals count as full") {
			f.full = now
		}
	}
	if f.is("truncates at the end") {
		f.remove(s)
	}
	f.event(AuditBackupRestore, AuditEvent{ID: 4877, Who: c.caller.Name})
	if f.is("sessions are never released") {
		return certadm.SOK
	}
	incomplete := s.open != nil
	if incomplete && f.is("End keeps a session with an open file") {
		return certadm.EUnexpected
	}
	f.endSession(s)
	if incomplete && !f.is("End takes an open file") || f.is("End wants everything read") && !s.whole() {
		return certadm.HrError
	}
	return certadm.SOK
}

func (c *conn) attachments() (certadm.FileList, certadm.HRESULT) {
	f := c.f
	if code := c.call(WireCall{Method: "BackupGetAttachmentInformation"}); code != certadm.SOK {
		return nil, code
	}
	s := c.mine()
	if s == nil || !s.full && !f.is("incrementals list databases") {
		if f.is("names out of sequence: wrong code") {
			return nil, certadm.EUnexpected
		}
		return nil, certadm.HrInvalidBackupSequence
	}
	if s.databases && f.is("lists only once") {
		return nil, certadm.SOK
	}
	s.databases = true
	if s.listed[f.database] == nil {
		s.listed[f.database] = &listedFile{database: true}
	}
	return certadm.FileList{{Type: certadm.FileDatabase, Path: f.database}}, certadm.SOK
}

func (c *conn) logs() (certadm.FileList, certadm.HRESULT) {
	f := c.f
	if code := c.call(WireCall{Method: "BackupGetBackupLogs"}); code != certadm.SOK {
		return nil, code
	}
	s := c.mine()
	if s == nil {
		return nil, certadm.EUnexpected
	}
	f.roll()
	gens := f.closed()
	if f.is("the newest log is left out") && len(gens) > 1 {
		gens = gens[:len(gens)-1]
	}
	s.logs = true
	var l certadm.FileList
	for _, gen := range gens {
		unc := join(logDir, logName(gen))
		if s.listed[unc] == nil {
			s.listed[unc] = &listedFile{}
		}
		e := certadm.FileEntry{Type: certadm.FileLog, Path: unc}
		if f.is("logs are tagged as patch files") {
			e.Type = certadm.FilePatch
		}
		l = append(l, e)
	}
	return l, certadm.SOK
}

func (c *conn) openFile(path string) (int64, certadm.HRESULT) {
	f := c.f
	if code := c.call(WireCall{Method: "BackupOpenFile"}); code != certadm.SOK {
		return 0, code
	}
	s := c.mine()
	if s == nil {
		return 0, certadm.EUnexpected
	}
	if s.open != nil {
		if !f.is("two files at once") {
			return 0, certadm.EUnexpected
		}
		s.close()
	}
	l := s.listed[path]
	if l == nil && f.is("a tag is taken off") && len(path) > 1 {
		path = path[1:]
		l = s.listed[path]
	}
	if l == nil {
		any := f.is("opens anything") || f.is("incrementals open databases") && path == f.database
		if local, err := f.LocalPath(path); !any || err != nil || local == f.path(logDir) {
			return 0, certadm.HrFileNotFound
		}
		l = &listedFile{}
	}
	if l.database && s.truncated && !f.is("databases open after truncation") {
		return 0, certadm.EUnexpected
	}
	if l.read && f.is("each file once") {
		return 0, certadm.EUnexpected
	}
	file, err := os.Open(f.path(path))
	if err != nil {
		return 0, certadm.HrFileNotFound
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return 0, certadm.HrDiskIO
	}
	s.open, s.openName = file, path
	l.opened = true
	switch size := info.Size(); {
	case f.is("sizes of 32 bits"):
		return int64(uint32(size)), certadm.SOK
	case f.is("sizes are wrong"):
		return size + 1, certadm.SOK
	case f.is("truncates early"):
		return size - 1, certadm.SOK
	default:
		return size, certadm.SOK
	}
}

const maxWireRead = 16 << 20

// readFile returns cb bytes, whatever was read.
func (c *conn) readFile(cb int32) ([]byte, int32, certadm.HRESULT) {
	f := c.f
	if code := c.call(WireCall{Method: "BackupReadFile", Size: cb}); code != certadm.SOK {
		return nil, 0, code
	}
	s := c.mine()
	if s == nil || s.open == nil {
		return nil, 0, certadm.EUnexpected
	}
	if cb <= 0 || cb > maxWireRead {
		if f.is("takes any read size") {
			return nil, 0, certadm.SOK
		}
		return nil, 0, certadm.EInvalidArg
	}
	buf := make([]byte, cb)
	n, err := io.ReadFull(s.open, buf)
	if err == io.EOF && s.listed[s.openName] != nil {
		s.listed[s.openName].read = true
	}
	if f.is("answers with what was read") {
		buf = buf[:n]
	}
	return buf, int32(n), certadm.SOK
}

func (c *conn) closeFile() certadm.HRESULT {
	if code := c.call(WireCall{Method: "BackupCloseFile"}); code != certadm.SOK {
		return code
	}
	s := c.mine()
	if s == nil || s.open == nil {
		return certadm.EUnexpected
	}
	s.close()
	return certadm.SOK
}

func (c *conn) truncate() certadm.HRESULT {
	f := c.f
	if code := c.call(WireCall{Method: "BackupTruncateLogs"}); code != certadm.SOK {
		return code
	}
	s := c.mine()
	if s == nil {
		if f.is("truncates without a session") {
			return certadm.SOK
		}
		return certadm.EUnexpected
	}
	if s.open != nil && !f.is("truncates with a file open") {
		return certadm.EUnexpected
	}
	if !s.whole() && !f.is("truncates anything") {
		if f.is("refuses, but truncates") {
			f.remove(s)
		}
		return certadm.EUnexpected
	}
	s.truncated = true
	if !f.is("truncates nothing") {
		f.remove(s)
	}
	if f.is("truncation takes the database") {
		os.Remove(f.path(f.database))
	}
	if f.is("truncation takes another file") {
		os.Remove(f.path(join(logDir, "edb.chk")))
	}
	if f.is("truncates too much") {
		f.roll()
		for _, gen := range f.closed() {
			os.Remove(f.path(join(logDir, logName(gen))))
		}
	}
	return certadm.SOK
}

// remove deletes the logs that a session has listed.
func (f *fake) remove(s *session) {
	for unc, l := range s.listed {
		if !l.database {
			os.Remove(f.path(unc))
		}
	}
}

// mayList is the right to list without a session.
func (c *conn) mayList(method string) certadm.HRESULT {
	f := c.f
	if code := c.call(WireCall{Method: method}); code != certadm.SOK {
		return code
	}
	switch {
	case f.state != running:
		return certadm.ErrorServiceNotActive
	case c.caller.Rights&Operator == 0 && !f.is("readers list"):
		return certadm.EAccessDenied
	case c.mine() == nil && f.is("lists need a session"):
		return certadm.EUnexpected
	case c.mine() != nil && !c.mine().full && f.is("lists need a full session"):
		return certadm.HrInvalidBackupSequence
	}
	return certadm.SOK
}

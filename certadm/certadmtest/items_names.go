package certadmtest

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/certadm"
)

// sequenceItems are items 26 to 28: which calls need a session.
func sequenceItems() []item {
	return []item{
		{26, []part{
			{"in an incremental session", func(p *probe) {
				p.take(certadm.BackupFull, false)
				b := p.prepare(p.connect(operator), certadm.BackupLogsOnly)
				l, err := b.DatabaseNames(p.ctx)
				p.code(err, "DatabaseNames in an incremental session", certadm.HrInvalidBackupSequence)
				if len(l) != 0 {
					p.Errorf("DatabaseNames = %v with its error", l)
				}
				p.readList(b, p.logs(b)) // the session goes on
				p.ok(b.End(p.ctx), "End")
			}},
			{"without a session", func(p *probe) {
				_, err := p.dial(ability[Wire](p)).BackupGetAttachmentInformation(p.ctx)
				if certadm.CodeOf(err) != certadm.HrInvalidBackupSequence {
					p.Errorf("BackupGetAttachmentInformation without a session: %v, want %v", err, certadm.HrInvalidBackupSequence)
				}
			}},
		}},
		{27, []part{
			{"after the session", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				db, log := p.databases(b)[0].Path, p.logs(b)[0].Path
				p.must(b.End(p.ctx), "End")
				_, err := b.Logs(p.ctx)
				p.failed(err, "Logs after End")
				for _, name := range []string{db, log} {
					f, err := b.OpenFile(p.ctx, name, 0)
					p.failed(err, "OpenFile after End")
					if f != nil {
						p.Errorf("OpenFile after End returned a file")
					}
				}
				p.failed(b.TruncateLogs(p.ctx), "TruncateLogs after End")
				p.failed(b.End(p.ctx), "End after End")
			}},
			{"without a session", func(p *probe) {
				c := p.dial(ability[Wire](p))
				_, err := c.BackupGetBackupLogs(p.ctx)
				p.wireFailed(err, "BackupGetBackupLogs")
				_, err = c.BackupOpenFile(p.ctx, `\\SRV\C$\x`)
				p.wireFailed(err, "BackupOpenFile")
				_, _, err = c.BackupReadFile(p.ctx, 4096)
				p.wireFailed(err, "BackupReadFile")
				p.wireFailed(c.BackupCloseFile(p.ctx), "BackupCloseFile")
				p.wireFailed(c.BackupTruncateLogs(p.ctx), "BackupTruncateLogs")
				p.wireFailed(c.BackupEnd(p.ctx), "BackupEnd")
			}},
		}},
		{28, []part{
			{"in a session of either type", func(p *probe) {
				p.take(certadm.BackupFull, false)
				for _, t := range []certadm.BackupType{certadm.BackupFull, certadm.BackupLogsOnly} {
					b := p.prepare(p.connect(operator), t)
					p.locations(b)
					_, err := b.DynamicFiles(p.ctx)
					p.ok(err, "DynamicFiles")
					p.ok(b.End(p.ctx), "End")
				}
			}},
			{"without a session", func(p *probe) {
				svc := p.connect(operator)
				l, ok := svc.(certadm.Lister)
				if !ok {
					p.unsupported("the Service is no Lister")
				}
				locations, err := l.DatabaseLocations(p.ctx)
				p.must(err, "DatabaseLocations without a session")
				dynamic, err := l.DynamicFiles(p.ctx)
				p.must(err, "DynamicFiles without a session")
				// The same during a session of another client, and in it.
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				for who, l := range map[string]certadm.Lister{"another client's": l, "its own": b} {
					loc, err := l.DatabaseLocations(p.ctx)
					if err != nil || !slices.Equal(loc, locations) {
						p.Errorf("DatabaseLocations during %s session = %v, %v, want %v", who, loc, err, locations)
					}
					dyn, err := l.DynamicFiles(p.ctx)
					if err != nil || !slices.Equal(dyn, dynamic) {
						p.Errorf("DynamicFiles during %s session = %v, %v, want %v", who, dyn, err, dynamic)
					}
				}
				p.ok(b.End(p.ctx), "End")
			}},
		}},
	}
}

// wireFailed fails unless a single call was refused with a code.
func (p *probe) wireFailed(err error, what string) {
	var code certadm.HRESULT
	if !errors.As(err, &code) {
		p.Errorf("%s without a session: %v, want a failure with a code", what, err)
	}
}

// nameItems are items 29 to 33: the lists, and which names can be opened.
func nameItems() []item {
	return []item{
		{29, []part{
			{"tags of databases and logs", func(p *probe) {
				p.issue(1)
				svc := p.connect(operator)
				b := p.prepare(svc, certadm.BackupFull)
				p.tags(p.databases(b), certadm.FileDatabase)
				p.tags(p.logs(b), certadm.FileLog)
				p.must(b.End(p.ctx), "End")
				p.take(certadm.BackupFull, false)
				b = p.prepare(svc, certadm.BackupLogsOnly)
				p.tags(p.logs(b), certadm.FileLog)
				p.ok(b.End(p.ctx), "End")
			}},
			{"patch files are understood", func(p *probe) {
				l, err := certadm.DecodeList(utf16le("!\\\\S\\edb00001.log\x00%\\\\S\\ca.pat\x00\x00"))
				if err != nil || len(l) != 2 || l[1].Type != certadm.FilePatch {
					p.Errorf("decoded to %v, %v", l, err)
				}
				if low, high, err := l.LogRange(); low != 1 || high != 1 || err != nil {
					p.Errorf("log range %d to %d, %v", low, high, err)
				}
			}},
		}},
		{30, []part{{"one entry of each kind", func(p *probe) {
			l, _ := p.locations(p.prepare(p.connect(operator), certadm.BackupFull))
			if len(l) != 3 {
				p.Errorf("%d locations, want 3: %v", len(l), l)
			}
		}}}},
		{31, []part{{"UNC names of the server", func(p *probe) {
			svc := p.connect(operator)
			b := p.prepare(svc, certadm.BackupFull)
			locations, _ := p.locations(b)
			names, err := b.DynamicFiles(p.ctx)
			p.must(err, "DynamicFiles")
			for _, e := range slices.Concat(locations, p.databases(b), p.logs(b)) {
				names = append(names, e.Path)
			}
			server := ""
			if id, ok := svc.(certadm.Identifier); ok {
				identity, err := id.Identity(p.ctx)
				p.must(err, "Identity")
				server = identity.Host
			}
			for _, name := range names {
				host := p.host(name)
				if server == "" {
					server = host
				}
				if !sameMachine(host, server) {
					p.Errorf("%s is not a name of the server %s", name, server)
				}
			}
		}}}},
		{32, []part{{"name without its tag", func(p *probe) {
			b := p.prepare(p.connect(operator), certadm.BackupFull)
			dbs := p.databases(b)
			for _, e := range slices.Concat(dbs, p.logs(b)) {
				f, err := b.OpenFile(p.ctx, string(rune(e.Type))+e.Path, 0)
				p.failed(err, "OpenFile of a name with its tag")
				p.noFile(f)
				f, err = b.OpenFile(p.ctx, e.Path, 0)
				p.must(err, "OpenFile")
				p.ok(f.Close(), "Close")
			}
		}}}},
		{33, []part{
			{"names outside the lists", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				dynamic, err := b.DynamicFiles(p.ctx)
				p.must(err, "DynamicFiles")
				dbs := p.databases(b)
				names := slices.Concat(dynamic, p.strangeNames(b, dbs[0].Path))
				for range 2 { // before the logs are listed, and after
					for _, name := range names {
						f, err := b.OpenFile(p.ctx, name, 0)
						p.failed(err, "OpenFile of "+name)
						p.noFile(f)
					}
					p.logs(b)
				}
				p.readList(b, dbs) // the session is as it was
				p.ok(b.End(p.ctx), "End")
			}},
			{"a database in an incremental session", func(p *probe) {
				full := p.take(certadm.BackupFull, false)
				b := p.prepare(p.connect(operator), certadm.BackupLogsOnly)
				p.logs(b)
				f, err := b.OpenFile(p.ctx, full.databases[0].unc, 0)
				p.failed(err, "OpenFile of a database in an incremental session")
				p.noFile(f)
			}},
		}},
	}
}

// strangeNames are names that no list of a backup has: directories, neighbours,
// files of the system and of the authority, and ways around the list.
func (p *probe) strangeNames(b certadm.Backup, db string) []string {
	_, m := p.locations(b)
	share := `\\` + p.host(db) + `\`
	return []string{
		"", `\`, `\\`, share, "D", "!", ".", "..",
		m.LogDir, m.CheckpointDir, sibling(db, ""), db + `\`, db + " ", db + ".", db + "::$DATA", db + "\x00", db + "\x00.txt",
		strings.TrimLeft(db, `\`), certadm.BaseName(db), strings.ReplaceAll(db, `\`, "/") + "/../../x",
		sibling(db, `..\..\private\ca.key`), sibling(db, `..\config.json`), sibling(db, `..\accounts.json`), sibling(db, "private.key"), sibling(db, "edb.chk"),
		db + `\..\..\private\ca.key`, join(m.LogDir, `..\..\private\ca.key`), join(m.LogDir, "edbfffff.log"), join(m.LogDir, "logfffff.log"), join(m.CheckpointDir, "state"),
		share + `C$\Windows\System32\config\SAM`, share + `C$\pagefile.sys`, share + `IPC$\certsrv`, `\\other` + db[len(share)-1:],
		`C:\Windows\System32\config\SAM`, "/etc/passwd", "../../../../etc/passwd", `HKLM\SYSTEM\CurrentControlSet\Services\CertSvc`,
		strings.Repeat(`A`, 40000),
	}
}

func (p *probe) noFile(f certadm.BackupFile) {
	if f != nil {
		p.Errorf("OpenFile returned a file, though it should have failed")
		f.Close()
	}
}

func (p *probe) tags(l certadm.FileList, want certadm.FileType) {
	for _, e := range l {
		if e.Type != want {
			p.Errorf("%s has the tag %#x, want %#x", e.Path, uint16(e.Type), uint16(want))
		}
	}
}

// host is the server in a UNC name.
func (p *probe) host(unc string) string {
	rest, ok := strings.CutPrefix(unc, `\\`)
	host, path, _ := strings.Cut(rest, `\`)
	if !ok || host == "" || path == "" {
		p.Fatalf("%q is not a UNC name", unc)
	}
	return host
}

// sameMachine compares a NetBIOS or DNS name with another.
func sameMachine(a, b string) bool {
	short := func(s string) string { s, _, _ = strings.Cut(s, "."); return s }
	return strings.EqualFold(a, b) || strings.EqualFold(short(a), short(b)) && (short(a) == a || short(b) == b)
}

// swapCase changes the case of ASCII letters.
func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, s)
}

var _ certadm.Lister = certadm.Backup(nil) // item 28 asks a session like a Service

// drain reads a file to its end and returns the number of bytes.
func (p *probe) drain(f certadm.BackupFile) int64 {
	buf := make([]byte, 64<<10)
	var total int64
	for {
		n, err := f.Read(buf)
		total += int64(n)
		if err != nil {
			if !isEOF(err) {
				p.Errorf("Read: %v", err)
			}
			return total
		}
		if p.ctx.Err() != nil {
			p.Fatalf("Read goes on for ever: %v", context.Cause(p.ctx))
		}
	}
}

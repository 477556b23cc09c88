package certadmtest

import (
	"context"
	"io"
	"path/filepath"
	"slices"

	"github.com/certkeep/certkeep/certadm"
)

// truncateItems are items 41 to 46: lost clients, and what truncation may delete.
func truncateItems() []item {
	return []item{
		{41, []part{
			{"client closes", func(p *probe) {
				p.lostClient(func(svc certadm.Service) { p.must(svc.Close(), "Close of the client") })
			}},
			{"connection breaks", func(p *probe) {
				br := ability[Breaker](p)
				p.lostClient(func(svc certadm.Service) { p.must(br.Break(p.ctx, svc), "breaking the connection") })
			}},
			{"read is cancelled", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				ctx, cancel := context.WithCancel(p.ctx)
				f, err := b.OpenFile(ctx, p.databases(b)[0].Path, 0)
				p.must(err, "OpenFile")
				cancel()
				if _, err := io.Copy(io.Discard, f); err == nil {
					p.Errorf("Read goes on after the open's context was cancelled")
				}
				f.Close()
				b.End(p.ctx)
				p.ok(p.prepare(p.connect(operator), certadm.BackupFull).End(p.ctx), "End of the next session")
			}},
		}},
		{42, []part{
			{"nothing was listed", func(p *probe) { p.refuseTruncation(func(certadm.Backup) {}) }},
			{"nothing was read", func(p *probe) {
				p.refuseTruncation(func(b certadm.Backup) { p.databases(b); p.logs(b) })
			}},
			{"the database was not read", func(p *probe) {
				p.refuseTruncation(func(b certadm.Backup) { p.databases(b); p.readList(b, p.logs(b)) })
			}},
			{"the logs were not listed", func(p *probe) {
				p.refuseTruncation(func(b certadm.Backup) { p.readList(b, p.databases(b)) })
			}},
			{"the database was not listed", func(p *probe) {
				p.refuseTruncation(func(b certadm.Backup) { p.readList(b, p.logs(b)) })
			}},
			{"one log was not read", func(p *probe) {
				p.refuseTruncation(func(b certadm.Backup) {
					p.readList(b, p.databases(b))
					p.readList(b, p.logs(b)[1:])
				})
			}},
			{"a file was not read to its end", func(p *probe) {
				p.refuseTruncation(func(b certadm.Backup) {
					p.readList(b, p.databases(b))
					logs := p.logs(b)
					p.readList(b, logs[1:])
					f, err := b.OpenFile(p.ctx, logs[0].Path, 0)
					p.must(err, "OpenFile")
					_, err = io.ReadFull(f, make([]byte, f.Size()-1))
					p.must(err, "Read")
					p.must(f.Close(), "Close")
				})
			}},
			{"a log of an incremental session was not read", func(p *probe) {
				p.severalLogs(2)
				b := p.prepare(p.connect(operator), certadm.BackupLogsOnly)
				logs := p.logs(b)
				p.readList(b, logs[:len(logs)-1])
				p.sequence(b.TruncateLogs(p.ctx), "TruncateLogs")
				p.readList(b, logs[len(logs)-1:])
				p.ok(b.TruncateLogs(p.ctx), "TruncateLogs after the last log was read")
				p.ok(b.End(p.ctx), "End")
			}},
		}},
		{43, []part{{"with a file open", func(p *probe) {
			p.severalLogs(2)
			b := p.prepare(p.connect(operator), certadm.BackupFull)
			s := p.gather(b, certadm.BackupFull)
			f, err := b.OpenFile(p.ctx, s.logs[0].unc, 0)
			p.must(err, "OpenFile")
			p.sequence(b.TruncateLogs(p.ctx), "TruncateLogs with a file open")
			if n := p.drain(f); n != int64(len(s.logs[0].data)) {
				p.Errorf("read %d of %d bytes after it", n, len(s.logs[0].data))
			}
			p.must(f.Close(), "Close")
			p.unchanged(b, s)
			p.gather(b, certadm.BackupFull)
			p.ok(b.TruncateLogs(p.ctx), "TruncateLogs with the file closed")
			p.ok(b.End(p.ctx), "End")
		}}}},
		{44, []part{
			{"only logs that were backed up go", func(p *probe) {
				ability[Locator](p)
				p.severalLogs(3)
				svc := p.connect(operator)
				b := p.prepare(svc, certadm.BackupFull)
				s := p.gather(b, certadm.BackupFull)
				p.issue(3) // into a log that this backup does not have
				before := p.filesIn(s.where.LogDir)
				p.must(b.TruncateLogs(p.ctx), "TruncateLogs")
				after := p.filesIn(s.where.LogDir)
				listed := make(map[string]bool)
				for _, f := range s.logs {
					listed[filepath.Base(p.local(f.unc))] = true
				}
				gone := 0
				for name := range before {
					if after[name] {
						continue
					}
					if gone++; !listed[name] {
						p.Errorf("truncation removed %s, which was not in the backup", name)
					}
				}
				if gone == 0 {
					p.Errorf("truncation removed nothing, though the backup has %d logs", len(s.logs))
				}
				if !p.exists(s.where.Database) {
					p.Errorf("truncation removed the database")
				}
				p.ok(b.End(p.ctx), "End")
			}},
			{"fewer logs are listed afterwards", func(p *probe) {
				p.severalLogs(3)
				old := p.take(certadm.BackupFull, true)
				p.issue(1)
				next := p.take(certadm.BackupFull, false)
				if len(next.logs) >= len(old.logs) || next.low <= old.low {
					p.Errorf("generations %#x to %#x before truncation, and %#x to %#x in the next backup", old.low, old.high, next.low, next.high)
				}
			}},
			{"nothing that is needed goes", func(p *probe) {
				serials := p.severalLogs(3)
				svc := p.connect(operator)
				b := p.prepare(svc, certadm.BackupFull)
				s := p.gather(b, certadm.BackupFull)
				serials = append(serials, p.issue(3)...)
				p.must(b.TruncateLogs(p.ctx), "TruncateLogs")
				p.must(b.End(p.ctx), "End")
				serials = append(serials, p.issue(2)...)
				inc := p.take(certadm.BackupLogsOnly, true)
				if inc.low > s.high+1 || inc.high <= s.high {
					p.Errorf("the full backup ends with generation %#x, the incremental one has %#x to %#x", s.high, inc.low, inc.high)
				}
				p.mustStop()
				p.mustStart()
				p.wantSerials(serials, "after truncation and a restart")
				p.issue(1)
			}},
		}},
		{45, []part{{"no database after it", func(p *probe) {
			b := p.prepare(p.connect(operator), certadm.BackupFull)
			s := p.gather(b, certadm.BackupFull)
			p.must(b.TruncateLogs(p.ctx), "TruncateLogs")
			f, err := b.OpenFile(p.ctx, s.databases[0].unc, 0)
			p.sequence(err, "OpenFile of a database after TruncateLogs")
			p.noFile(f)
			p.ok(b.End(p.ctx), "End")
		}}}},
		{46, []part{
			{"differential without it", func(p *probe) {
				p.issue(2)
				full := p.take(certadm.BackupFull, false)
				p.issue(2)
				first := p.take(certadm.BackupLogsOnly, false)
				p.issue(2)
				second := p.take(certadm.BackupLogsOnly, false)
				for _, s := range []*set{full, first} {
					for _, f := range s.logs {
						if !slices.ContainsFunc(second.logs, func(g setFile) bool { return g.unc == f.unc && string(g.data) == string(f.data) }) {
							p.Errorf("%s of an earlier backup is not in the next incremental one, though nothing was truncated", f.unc)
						}
					}
				}
				if second.high <= first.high {
					p.Errorf("the second incremental backup ends with generation %#x, the first one with %#x", second.high, first.high)
				}
			}},
			{"incremental with it", func(p *probe) {
				p.severalLogs(2)
				p.take(certadm.BackupFull, true)
				p.issue(2)
				first := p.take(certadm.BackupLogsOnly, true)
				p.issue(2)
				second := p.take(certadm.BackupLogsOnly, true)
				if second.low <= first.low || second.low > first.high+1 {
					p.Errorf("generations %#x to %#x, truncated, and then %#x to %#x", first.low, first.high, second.low, second.high)
				}
			}},
		}},
	}
}

// lostClient loses a client in the middle of a backup: at first with a file half
// read, then with everything read. The server ends the session either way.
func (p *probe) lostClient(lose func(certadm.Service)) {
	p.severalLogs(2)
	want := p.take(certadm.BackupFull, false)
	for _, half := range []bool{true, false} {
		svc := p.connect(operator)
		b := p.prepare(svc, certadm.BackupFull)
		var f certadm.BackupFile
		if half {
			var err error
			f, err = b.OpenFile(p.ctx, p.databases(b)[0].Path, 0)
			p.must(err, "OpenFile")
			_, err = io.ReadFull(f, make([]byte, 10))
			p.must(err, "Read")
		} else {
			p.gather(b, certadm.BackupFull)
		}
		lose(svc)
		if half {
			if _, err := io.Copy(io.Discard, f); err == nil {
				p.Errorf("the file can be read although the client is gone")
			}
		}
		p.failed(b.TruncateLogs(p.ctx), "TruncateLogs of a lost client")
		p.failed(b.End(p.ctx), "End of a lost client")
		next := p.connect(operator)
		b = p.prepare(next, certadm.BackupFull)
		p.unchanged(b, want)
		p.ok(b.End(p.ctx), "End of the next session")
	}
}

// refuseTruncation makes a session in which do reads less than everything, and
// wants TruncateLogs to fail and to delete nothing.
func (p *probe) refuseTruncation(do func(certadm.Backup)) {
	p.severalLogs(2)
	want := p.take(certadm.BackupFull, false)
	svc := p.connect(operator)
	b := p.prepare(svc, certadm.BackupFull)
	do(b)
	p.sequence(b.TruncateLogs(p.ctx), "TruncateLogs")
	p.unchanged(b, want)
	p.gather(b, certadm.BackupFull) // it can be made good in the same session
	p.ok(b.TruncateLogs(p.ctx), "TruncateLogs after everything was read")
	p.ok(b.End(p.ctx), "End")
}

// unchanged fails if a log of an earlier set is not listed any more, or differs.
func (p *probe) unchanged(b certadm.Backup, want *set) {
	logs := p.logs(b)
	for _, f := range want.logs {
		if !slices.ContainsFunc(logs, func(e certadm.FileEntry) bool { return e.Path == f.unc }) {
			p.Errorf("%s is not listed any more", f.unc)
		} else if got := p.read(b, f.unc); string(got) != string(f.data) {
			p.Errorf("%s has changed", f.unc)
		}
	}
}

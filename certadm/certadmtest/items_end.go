package certadmtest

import (
	"io"
	"slices"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// endItems are items 47 to 51: the end of a session, and what came of it.
func endItems() []item {
	return []item{
		{47, []part{
			{"with a file open", func(p *probe) {
				svc := p.connect(operator)
				b := p.prepare(svc, certadm.BackupFull)
				f, err := b.OpenFile(p.ctx, p.databases(b)[0].Path, 0)
				p.must(err, "OpenFile")
				p.failed(b.End(p.ctx), "End with a file open")
				if _, err := io.Copy(io.Discard, f); err == nil {
					p.Errorf("the file can be read after End")
				}
				p.ok(p.prepare(svc, certadm.BackupFull).End(p.ctx), "End of the next session")
			}},
			{"with a file open, all else being read", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				s := p.gather(b, certadm.BackupFull)
				_, err := b.OpenFile(p.ctx, s.logs[0].unc, 0)
				p.must(err, "OpenFile")
				p.failed(b.End(p.ctx), "End with a file open")
			}},
			{"without reading anything", func(p *probe) {
				p.ok(p.prepare(p.connect(operator), certadm.BackupFull).End(p.ctx), "End")
			}},
		}},
		{48, []part{
			{"a whole backup counts", func(p *probe) {
				p.take(certadm.BackupFull, false)
				p.countsAsFull(true, "a whole backup")
			}},
			{"an aborted one does not", func(p *probe) {
				for what, abort := range map[string]func(certadm.Service, certadm.Backup){
					"in which nothing was read": func(_ certadm.Service, b certadm.Backup) { b.End(p.ctx) },
					"in which only the lists were read": func(_ certadm.Service, b certadm.Backup) {
						p.databases(b)
						p.logs(b)
						b.End(p.ctx)
					},
					"without its logs": func(_ certadm.Service, b certadm.Backup) {
						p.readList(b, p.databases(b))
						b.End(p.ctx)
					},
					"that ended with a file open": func(_ certadm.Service, b certadm.Backup) {
						s := p.gather(b, certadm.BackupFull)
						_, err := b.OpenFile(p.ctx, s.logs[0].unc, 0)
						p.must(err, "OpenFile")
						p.failed(b.End(p.ctx), "End with a file open")
					},
					"whose client left before End": func(svc certadm.Service, b certadm.Backup) {
						p.gather(b, certadm.BackupFull)
						p.ok(svc.Close(), "Close")
					},
				} {
					svc := p.connect(operator)
					abort(svc, p.prepare(svc, certadm.BackupFull))
					p.countsAsFull(false, "a backup "+what)
				}
			}},
			{"times", func(p *probe) {
				h := ability[Historian](p)
				never := p.history(h)
				if !never.FullBackup.IsZero() || !never.IncrementalBackup.IsZero() || !never.Recovery.IsZero() {
					p.Errorf("a fresh authority has the times %+v", never)
				}
				begin := time.Now().Add(-2 * time.Second) // file times may be coarse
				p.take(certadm.BackupFull, false)
				full := p.history(h)
				if full.FullBackup.Before(begin) || !full.IncrementalBackup.IsZero() {
					p.Errorf("after a full backup: %+v", full)
				}
				p.take(certadm.BackupLogsOnly, false)
				inc := p.history(h)
				if inc.IncrementalBackup.Before(begin) || !inc.FullBackup.Equal(full.FullBackup) {
					p.Errorf("after an incremental backup: %+v, before it %+v", inc, full)
				}
				for _, t := range []certadm.BackupType{certadm.BackupFull, certadm.BackupLogsOnly} {
					b := p.prepare(p.connect(operator), t)
					p.logs(b)
					p.ok(b.End(p.ctx), "End")
				}
				if now := p.history(h); !now.FullBackup.Equal(inc.FullBackup) || !now.IncrementalBackup.Equal(inc.IncrementalBackup) {
					p.Errorf("after aborted backups: %+v, before them %+v", now, inc)
				}
			}},
		}},
		{49, []part{
			{"session after End", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				s := p.gather(b, certadm.BackupFull)
				p.must(b.End(p.ctx), "End")
				p.deadBackup(b, s.databases[0].unc)
				// also while another session runs
				other := p.prepare(p.connect(operator), certadm.BackupFull)
				p.deadBackup(b, s.databases[0].unc)
				p.gather(other, certadm.BackupFull)
				p.ok(other.End(p.ctx), "End of the other session")
			}},
			{"file after End", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				f, err := b.OpenFile(p.ctx, p.databases(b)[0].Path, 0)
				p.must(err, "OpenFile")
				b.End(p.ctx)
				n, err := f.Read(make([]byte, 10))
				p.failed(err, "Read after End")
				if n != 0 {
					p.Errorf("Read after End = %d bytes", n)
				}
				p.failed(f.Close(), "Close after End")
			}},
			{"client after Close", func(p *probe) {
				svc := p.connect(operator)
				p.must(svc.Close(), "Close")
				_, err := svc.IsServerOnline(p.ctx)
				p.failed(err, "IsServerOnline of a closed client")
				b, err := svc.BackupPrepare(p.ctx, certadm.BackupFull)
				p.failed(err, "BackupPrepare of a closed client")
				p.noBackup(b)
				_, err = svc.RestorePrepare(p.ctx, certadm.RestoreFull)
				p.failed(err, "RestorePrepare of a closed client")
				_, err = svc.ServerControl(p.ctx, certadm.ControlSuspend)
				p.failed(err, "ServerControl of a closed client")
				svc.Close() // whatever it says, it does not crash
			}},
			{"restore session after End", func(p *probe) {
				full := p.take(certadm.BackupFull, false)
				p.mustStop()
				r := p.prepareRestore(p.connect(localAdmin))
				p.must(r.End(p.ctx), "RestoreEnd")
				_, err := r.DatabaseLocations(p.ctx)
				p.code(err, "DatabaseLocations after RestoreEnd", certadm.HrInvalidHandle)
				p.code(r.Register(p.ctx, full.registration(full, "", "")), "Register after RestoreEnd", certadm.HrInvalidHandle)
				p.code(r.RegisterThroughFile(p.ctx, full.registration(full, "", "")), "RegisterThroughFile after RestoreEnd", certadm.HrInvalidHandle)
				p.code(r.RegisterComplete(p.ctx, certadm.SOK), "RegisterComplete after RestoreEnd", certadm.HrInvalidHandle)
				p.code(r.End(p.ctx), "RestoreEnd after RestoreEnd", certadm.HrInvalidHandle)
			}},
		}},
		{50, []part{{"free", func(p *probe) {
			b := p.prepare(p.connect(operator), certadm.BackupFull)
			locations, _ := p.locations(b)
			databases := p.databases(b)
			want := slices.Clone(databases)
			certadm.Free(nil)
			for range 2 {
				certadm.Free(locations)
				certadm.Free(databases)
			}
			if got := p.databases(b); !slices.Equal(got, want) {
				p.Errorf("DatabaseNames = %v after Free, %v before", got, want)
			}
			p.ok(b.End(p.ctx), "End")
		}}}},
		{51, []part{{"issuing goes on", func(p *probe) { p.issuingGoesOn() }}}},
	}
}

// countsAsFull tells by an incremental backup whether the server knows of a full
// one.
func (p *probe) countsAsFull(want bool, what string) {
	svc := p.connect(operator)
	defer svc.Close()
	b, err := svc.BackupPrepare(p.ctx, certadm.BackupLogsOnly)
	if !want {
		p.code(err, "an incremental backup after "+what, certadm.HrMissingFullBackup)
	} else {
		p.ok(err, "an incremental backup after "+what)
	}
	if err == nil {
		p.ok(b.End(p.ctx), "End")
	}
}

func (p *probe) history(h Historian) History {
	t, err := h.History(p.ctx)
	p.must(err, "the times of the last backups")
	return t
}

// deadBackup makes every call in a session that has ended.
func (p *probe) deadBackup(b certadm.Backup, name string) {
	_, err := b.DatabaseLocations(p.ctx)
	p.code(err, "DatabaseLocations after End", certadm.HrInvalidHandle)
	_, err = b.DatabaseNames(p.ctx)
	p.code(err, "DatabaseNames after End", certadm.HrInvalidHandle)
	_, err = b.Logs(p.ctx)
	p.code(err, "Logs after End", certadm.HrInvalidHandle)
	_, err = b.DynamicFiles(p.ctx)
	p.code(err, "DynamicFiles after End", certadm.HrInvalidHandle)
	f, err := b.OpenFile(p.ctx, name, 0)
	p.code(err, "OpenFile after End", certadm.HrInvalidHandle)
	p.noFile(f)
	p.code(b.TruncateLogs(p.ctx), "TruncateLogs after End", certadm.HrInvalidHandle)
	p.code(b.End(p.ctx), "End after End", certadm.HrInvalidHandle)
}

// issuingGoesOn takes a full and an incremental backup, both while certificates
// are issued, and restores them. What was acknowledged before a backup's logs
// were asked for has to be there, and nothing that was never issued.
func (p *probe) issuingGoesOn() {
	ability[Locator](p)
	first := p.severalLogs(1)
	issuer := p.issueAlways()
	defer issuer.stop()

	svc := p.connect(operator)
	b := p.prepare(svc, certadm.BackupFull)
	full := &set{kind: certadm.BackupFull}
	full.locations, full.where = p.locations(b)
	for _, e := range p.databases(b) {
		// in pieces, with certificates issued in between
		f, err := b.OpenFile(p.ctx, e.Path, 0)
		p.must(err, "OpenFile")
		var data []byte
		for piece := make([]byte, f.Size()/4+1); ; issuer.await(1) {
			n, err := f.Read(piece)
			data = append(data, piece[:n]...)
			if isEOF(err) {
				break
			}
			p.must(err, "Read")
		}
		p.must(f.Close(), "Close")
		full.databases = append(full.databases, setFile{e.Path, data})
	}
	inFull := slices.Concat(first, issuer.await(1))
	p.gatherLogs(b, full)
	p.must(b.TruncateLogs(p.ctx), "TruncateLogs")
	p.must(b.End(p.ctx), "End")

	issuer.await(2)
	b = p.prepare(svc, certadm.BackupLogsOnly)
	inBoth := slices.Concat(first, issuer.await(1))
	inc := &set{kind: certadm.BackupLogsOnly, where: full.where}
	p.gatherLogs(b, inc)
	p.must(b.End(p.ctx), "End")
	issuer.await(2) // these are lost
	all := slices.Concat(first, issuer.stop())

	for _, try := range []struct {
		sets []*set
		sure []string
	}{{[]*set{full, inc}, inBoth}, {[]*set{full}, inFull}} {
		p.restore(try.sets...)
		p.mustStart()
		got := p.serials()
		if missing := subtract(try.sure, got); len(missing) > 0 {
			p.Errorf("from %d sets: %d of %d certificates acknowledged before the logs were listed are missing: %v", len(try.sets), len(missing), len(try.sure), missing)
		}
		if strange := subtract(got, all); len(strange) > 0 {
			p.Errorf("from %d sets: certificates that were never acknowledged: %v", len(try.sets), strange)
		}
		fresh := p.issue(1)
		if slices.Contains(all, fresh[0]) {
			p.Errorf("serial number %s is used again", fresh[0])
		}
		all = append(all, fresh...)
	}
}

// gatherLogs lists and reads the logs of a session into s.
func (p *probe) gatherLogs(b certadm.Backup, s *set) {
	logs := p.logs(b)
	var err error
	s.low, s.high, err = logs.LogRange()
	p.must(err, "the logs' generations")
	s.logs = p.readList(b, logs)
}

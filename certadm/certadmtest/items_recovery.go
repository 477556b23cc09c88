package certadmtest

import (
	"bytes"
	"context"
	"os"
	"slices"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// recoveryItems are items 65 to 70: what the start after a restore does.
func recoveryItems() []item {
	return []item{
		{65, []part{{"order of the incremental sets", func(p *probe) {
			ability[Locator](p)
			serials := p.issue(2)
			full := p.take(certadm.BackupFull, true)
			serials = append(serials, p.issue(2)...)
			first := p.take(certadm.BackupLogsOnly, true)
			serials = append(serials, p.issue(2)...)
			second := p.take(certadm.BackupLogsOnly, true)
			p.issue(2) // lost
			p.restore(full, first, second)
			p.mustStart()
			p.wantSerials(serials, "registered in order of creation")
			p.restore(full, second, first)
			p.mustStart()
			p.wantSerials(serials, "registered the other way round")
			p.restore(full)
			p.mustStart()
			p.wantSerials(serials[:2], "the full set alone")
		}}}},
		{66, []part{{"recovered to another path", func(p *probe) {
			serials, full := p.elsewhere(2)
			p.wipe(full.set)
			p.putSet(full.set, full.database, "")
			r := p.prepareRestore(p.connect(localAdmin))
			p.must(r.Register(p.ctx, full.set.registration(full.set, full.database, "")), "Register")
			p.must(r.RegisterComplete(p.ctx, certadm.SOK), "RegisterComplete")
			p.must(r.End(p.ctx), "RestoreEnd")
			p.mustStart()
			p.wantSerials(serials[:2], "after the restore")
			p.wantDatabase(full.database)
			if !p.exists(full.database) {
				p.Errorf("there is no %s", full.database)
			}
			more := p.issue(2) // it stays there
			p.mustStop()
			p.mustStart()
			p.wantSerials(append(serials[:2:2], more...), "after a restart")
			p.wantDatabase(full.database)
		}}}},
		{67, []part{
			{"directories not cleared", func(p *probe) {
				ability[Locator](p)
				serials := p.issue(2)
				full := p.take(certadm.BackupFull, true)
				serials = append(serials, p.issue(2)...)
				p.take(certadm.BackupLogsOnly, false) // closes a log, which stays where it is
				p.mustStop()
				p.register(full)
				p.mustStart()
				// Whether newer logs are replayed is the server's affair; what the
				// set has must be there, and nothing else.
				got := p.serials()
				if missing := subtract(serials[:2], got); len(missing) > 0 {
					p.Errorf("missing after the restore: %v", missing)
				}
				if strange := subtract(got, serials); len(strange) > 0 {
					p.Errorf("not expected after the restore: %v", strange)
				}
			}},
			{"directories cleared", func(p *probe) {
				ability[Locator](p)
				serials := p.issue(2)
				full := p.take(certadm.BackupFull, true)
				p.issue(2)
				p.take(certadm.BackupLogsOnly, false)
				p.restore(full)
				p.mustStart()
				p.wantSerials(serials, "after the restore")
			}},
		}},
		{68, []part{
			{"recovery once", func(p *probe) {
				ability[Locator](p)
				serials := p.issue(2)
				full := p.take(certadm.BackupFull, false)
				p.issue(2)
				p.restore(full)
				p.mustStart()
				p.wantSerials(serials, "after the restore")
				serials = append(serials, p.issue(2)...)
				p.mustStop()
				p.mustStart() // nothing is recovered this time
				p.wantSerials(serials, "after a second start")
				p.take(certadm.BackupFull, true)
			}},
			{"nothing is served before", func(p *probe) {
				tr := ability[Transitions](p)
				serials := p.issue(2)
				full := p.take(certadm.BackupFull, false)
				p.restore(full)
				svc := p.connect(operator)
				p.once(tr.WhileRecovering, func(ctx context.Context) {
					if on, err := svc.IsServerOnline(ctx); on && err == nil {
						p.Errorf("IsServerOnline during recovery = true")
					}
					if s, err := p.env.Issue(ctx, 1); err == nil {
						p.Errorf("a certificate is issued during recovery: %v", s)
					}
				})
				p.wantSerials(serials, "after the restore")
				p.online(p.connect(operator))
			}},
			{"time of recovery", func(p *probe) {
				h := ability[Historian](p)
				full := p.take(certadm.BackupFull, false)
				begin := time.Now().Add(-2 * time.Second) // file times may be coarse
				p.restore(full)
				p.mustStart()
				if t := p.history(h); t.Recovery.Before(begin) {
					p.Errorf("after a restore: %+v", t)
				}
			}},
		}},
		{69, []part{{"a log is damaged", func(p *probe) {
			ability[Locator](p)
			serials := p.severalLogs(2)
			full := p.take(certadm.BackupFull, false)
			p.restore(full)
			log := full.logs[len(full.logs)/2]
			damaged := slices.Clone(log.data)
			for i := len(damaged) / 2; i < len(damaged); i++ {
				damaged[i] ^= 0xFF
			}
			at := join(full.where.LogDir, certadm.BaseName(log.unc))
			p.put(at, damaged)
			p.startRefused("with a damaged log")
			p.offline(p.connect(operator), "after a recovery that failed")
			for _, f := range full.logs {
				want := f.data
				if f.unc == log.unc {
					want = damaged
				}
				got, err := os.ReadFile(p.local(join(full.where.LogDir, certadm.BaseName(f.unc))))
				if err != nil || !bytes.Equal(got, want) {
					p.Errorf("%s is not as it was after a recovery that failed (%v)", f.unc, err)
				}
			}
			if !p.exists(full.where.Database) {
				p.Errorf("the database is gone after a recovery that failed")
			}
			p.putSet(full, "", "") // all files are put back
			p.mustStart()
			p.wantSerials(serials, "after the damage was mended")
		}}}},
		{70, []part{{"incremental after a restore", func(p *probe) {
			ability[Locator](p)
			p.issue(2)
			full := p.take(certadm.BackupFull, true)
			p.countsAsFull(true, "a whole backup")
			p.restore(full)
			p.mustStart()
			p.countsAsFull(false, "a restore")
			p.take(certadm.BackupFull, false)
			p.countsAsFull(true, "a restore and a whole backup")
		}}}},
	}
}

// wipe takes the live files away, and the directories beside them stay.
func (p *probe) wipe(s *set) {
	p.must(os.Remove(p.local(s.where.Database)), "removing the database")
	p.clear(p.local(s.where.LogDir))
}

// chainItems is item 71: sets that do not belong together.
func chainItems() []item {
	return []item{
		{71, []part{
			{"incremental of another authority", func(p *probe) {
				ability[Locator](p)
				full := p.twoSets()
				home := p.env
				p.start() // another one
				foreign := p.twoSets()
				p.env = home
				p.wrongSignature(full[0], foreign[1:])
			}},
			{"incremental from before a restore", func(p *probe) {
				ability[Locator](p)
				p.issue(2)
				full := p.take(certadm.BackupFull, true)
				var old []*set
				for range 5 { // so that one of them follows the new full set in number
					p.issue(1)
					old = append(old, p.take(certadm.BackupLogsOnly, true))
				}
				p.restore(full)
				p.mustStart()
				p.issue(1)
				p.wrongSignature(p.take(certadm.BackupFull, true), old)
			}},
		}},
	}
}

// twoSets takes a full and an incremental set.
func (p *probe) twoSets() []*set {
	p.issue(2)
	full := p.take(certadm.BackupFull, true)
	p.issue(2)
	return []*set{full, p.take(certadm.BackupLogsOnly, true)}
}

// wrongSignature restores full with the one of the foreign sets that follows it
// in number, and wants that refused for its signature: at Register, at
// RegisterComplete or at the start.
func (p *probe) wrongSignature(full *set, foreign []*set) {
	i := slices.IndexFunc(foreign, func(s *set) bool { return s.low == full.high+1 })
	if i < 0 {
		p.Fatalf("the full set ends with generation %#x, and none of the other sets begins with the next", full.high)
	}
	inc := foreign[i]
	p.restore(full)
	svc := p.connect(localAdmin)
	r := p.prepareRestore(svc)
	p.putSet(&set{where: full.where, logs: inc.logs}, "", "")
	err := r.Register(p.ctx, inc.registration(full, "", ""))
	if err == nil {
		err = r.RegisterComplete(p.ctx, certadm.SOK)
		p.ok(r.End(p.ctx), "RestoreEnd")
		if err == nil {
			err = p.env.Start(p.ctx)
		}
	}
	p.code(err, "restoring an incremental set that is not of this full one", certadm.HrBadLogSignature)
}

package certadmtest

import (
	"fmt"

	"github.com/certkeep/certkeep/certadm"
)

// restoreItems are items 56 to 64: registering a restore.
func restoreItems() []item {
	return []item{
		{56, []part{{"while the service runs", func(p *probe) {
			svc := p.connect(localAdmin)
			r, err := svc.RestorePrepare(p.ctx, certadm.RestoreFull)
			p.restoreSupported(err)
			p.code(err, "RestorePrepare on a running service", certadm.ErrorSharingViolation)
			p.noRestore(r)
			p.online(svc)
			p.mustStop()
			p.ok(p.prepareRestore(p.connect(localAdmin)).End(p.ctx), "RestoreEnd")
		}}}},
		{57, []part{
			{"without the privilege", func(p *probe) {
				p.start()
				p.mustStop()
				r, err := p.connect(noPrivileges).RestorePrepare(p.ctx, certadm.RestoreFull)
				p.restoreSupported(err)
				p.failed(err, "RestorePrepare without the restore privilege")
				p.noRestore(r)
			}},
			{"other types", func(p *probe) {
				p.start()
				p.mustStop()
				svc := p.connect(localAdmin)
				for _, t := range []certadm.RestoreType{0, certadm.RestoreOnline, 3, certadm.RestoreCatchup, certadm.RestoreTypeMask, 8, 0xFFFFFFFF} {
					r, err := svc.RestorePrepare(p.ctx, t)
					p.restoreSupported(err)
					p.failed(err, fmt.Sprintf("RestorePrepare(%#x)", uint32(t)))
					p.noRestore(r)
				}
				p.ok(p.prepareRestore(svc).End(p.ctx), "RestoreEnd")
			}},
		}},
		{58, []part{
			{"Register by someone who is no local administrator", func(p *probe) {
				serials, full := p.elsewhere(2)
				r := p.prepareRestore(p.connect(restorer))
				p.denied(r.Register(p.ctx, full.reg), "Register without local administrator")
				p.ok(r.End(p.ctx), "RestoreEnd")
				p.mustStart() // nothing was registered
				p.wantSerials(serials, "after a refused Register")
			}},
			{"RegisterThroughFile by someone who is no local administrator", func(p *probe) {
				serials, full := p.elsewhere(2)
				r := p.prepareRestore(p.connect(restorer))
				p.must(r.RegisterThroughFile(p.ctx, full.reg), "RegisterThroughFile with the restore privilege")
				p.must(r.RegisterComplete(p.ctx, certadm.SOK), "RegisterComplete")
				p.must(r.End(p.ctx), "RestoreEnd")
				p.mustStart()
				p.wantSerials(serials[:2], "after the restore")
			}},
			{"Register by a local administrator", func(p *probe) {
				serials, full := p.elsewhere(2)
				r := p.prepareRestore(p.connect(localAdmin))
				p.must(r.Register(p.ctx, full.reg), "Register by a local administrator")
				p.must(r.RegisterComplete(p.ctx, certadm.SOK), "RegisterComplete")
				p.must(r.End(p.ctx), "RestoreEnd")
				p.mustStart()
				p.wantSerials(serials[:2], "after the restore")
			}},
		}},
		{59, []part{{"number of map entries", func(p *probe) {
			serials, full := p.elsewhere(2)
			m := full.reg.Map[0]
			for what, maps := range map[string][]certadm.RestoreMapping{
				"two entries":                 {m, m},
				"an entry without names":      {{}},
				"an entry without a new name": {{Database: m.Database}},
				"an entry without a name":     {{NewDatabase: m.NewDatabase}},
			} {
				reg := full.reg
				reg.Map = maps
				p.refusedRegistration(reg, "with "+what, p.invalid)
			}
			p.mustStart()
			p.wantSerials(serials, "after refused Registers")
		}}}},
		{60, []part{
			{"range of generations", func(p *probe) {
				serials, full := p.elsewhere(2)
				for what, r := range map[string][2]uint32{
					"with the lowest above the highest":     {full.set.high + 1, full.set.high},
					"with a generation that none can be":    {full.set.low, certadm.MaxLogGeneration + 1},
					"with two generations that none can be": {certadm.MaxLogGeneration + 1, certadm.MaxLogGeneration + 2},
					"with the highest number":               {full.set.low, 0xFFFFFFFF},
				} {
					reg := full.reg
					reg.LowLog, reg.HighLog = r[0], r[1]
					p.refusedRegistration(reg, what, p.invalid)
				}
				p.mustStart()
				p.wantSerials(serials, "after refused Registers")
			}},
			{"digits of the names", func(p *probe) {
				for name, want := range map[string]uint32{"edb0001a.log": 0x1a, "log0001a.log": 0x1a, `\\S\C$\EDB000FF.LOG`: 0xFF, "edbfffff.log": 0xFFFFF, "edb00100000.log": 0x100000, "edb7FFFFFFF.LOG": certadm.MaxLogGeneration} {
					if gen, ok := certadm.ParseLogGeneration(name); gen != want || !ok {
						p.Errorf("%s is generation %#x, %v, want %#x", name, gen, ok, want)
					}
				}
			}},
		}},
		{61, []part{
			{"a log in the middle is missing", func(p *probe) { p.missingLog(1) }},
			{"the first log is missing", func(p *probe) { p.missingLog(0) }},
			{"the last log is missing", func(p *probe) { p.missingLog(2) }},
		}},
		{62, []part{{"incremental before full", func(p *probe) {
			first := p.issue(2)
			p.take(certadm.BackupFull, true)
			second := p.issue(2)
			inc := p.take(certadm.BackupLogsOnly, false)
			p.mustStop()
			dir := join(inc.where.LogDir, "incremental")
			p.putSet(inc, "", dir)
			full := &set{where: inc.where}
			p.refusedRegistration(inc.registration(full, "", dir), "of an incremental set before the full one",
				func(err error, what string) { p.code(err, what, certadm.HrNoFullRestore) })
			p.mustStart()
			p.wantSerials(append(first, second...), "after a refused Register")
		}}}},
		{63, []part{
			{"between Register and RegisterComplete", func(p *probe) {
				serials, full := p.elsewhere(2)
				r := p.prepareRestore(p.connect(localAdmin))
				p.must(r.Register(p.ctx, full.reg), "Register")
				p.startRefused("between Register and RegisterComplete")
				p.failed(r.Register(p.ctx, full.reg), "a second Register before RegisterComplete")
				p.failed(r.RegisterThroughFile(p.ctx, full.reg), "RegisterThroughFile before RegisterComplete")
				p.startRefused("after a second Register")
				p.must(r.RegisterComplete(p.ctx, certadm.SOK), "RegisterComplete")
				p.must(r.End(p.ctx), "RestoreEnd")
				p.mustStart()
				p.wantSerials(serials[:2], "after the restore")
			}},
			{"never completed", func(p *probe) {
				_, full := p.elsewhere(2)
				r := p.prepareRestore(p.connect(localAdmin))
				p.must(r.Register(p.ctx, full.reg), "Register")
				r.End(p.ctx) // an error would be fair
				p.startRefused("after a Register that was not completed")
			}},
		}},
		{64, []part{
			{"completed as failed", func(p *probe) {
				serials, full := p.elsewhere(2)
				r := p.prepareRestore(p.connect(localAdmin))
				p.must(r.Register(p.ctx, full.reg), "Register")
				p.ok(r.RegisterComplete(p.ctx, certadm.HrDiskFull), "RegisterComplete with a failure")
				p.ok(r.End(p.ctx), "RestoreEnd")
				p.mustStart()
				p.wantSerials(serials, "after a restore that was taken back")
				p.wantDatabase(full.set.where.Database)
			}},
			{"registered again after a failure", func(p *probe) {
				serials, full := p.elsewhere(2)
				r := p.prepareRestore(p.connect(localAdmin))
				p.must(r.Register(p.ctx, full.reg), "Register")
				p.ok(r.RegisterComplete(p.ctx, certadm.EAbort), "RegisterComplete with a failure")
				p.must(r.Register(p.ctx, full.reg), "Register after a failure")
				p.must(r.RegisterComplete(p.ctx, certadm.SOK), "RegisterComplete")
				p.ok(r.End(p.ctx), "RestoreEnd")
				p.mustStart()
				p.wantSerials(serials[:2], "after the restore")
			}},
			{"without Register", func(p *probe) {
				serials := p.issue(2)
				p.mustStop()
				r := p.prepareRestore(p.connect(localAdmin))
				p.failed(r.RegisterComplete(p.ctx, certadm.SOK), "RegisterComplete without Register")
				p.ok(r.End(p.ctx), "RestoreEnd")
				p.mustStart()
				p.wantSerials(serials, "after it")
			}},
		}},
	}
}

// placed is a full set whose files lie beside the authority's own, so that it can
// be registered without the authority losing anything.
type placed struct {
	set      *set
	database string // UNC
	dir      string // UNC, of the logs
	reg      certadm.Registration
}

// elsewhere issues n certificates and takes a full backup, issues n more, stops
// the service and puts the backup beside the live files. It returns the serial
// numbers of both.
func (p *probe) elsewhere(n int) ([]string, *placed) {
	ability[Locator](p)
	serials := p.issue(n)
	full := p.take(certadm.BackupFull, false)
	serials = append(serials, p.issue(n)...)
	p.mustStop()
	return serials, p.place(full)
}

// place puts a full set beside the live files.
func (p *probe) place(full *set) *placed {
	pl := &placed{set: full, database: newName(full.where.Database, "restored"), dir: join(full.where.LogDir, "restored")}
	p.putSet(full, pl.database, pl.dir)
	pl.reg = full.registration(full, pl.database, pl.dir)
	return pl
}

// refusedRegistration registers in both ways, and wants the failure that check
// looks for.
func (p *probe) refusedRegistration(reg certadm.Registration, what string, check func(error, string)) {
	r := p.prepareRestore(p.connect(localAdmin))
	check(r.Register(p.ctx, reg), "Register "+what)
	check(r.RegisterThroughFile(p.ctx, reg), "RegisterThroughFile "+what)
	p.ok(r.End(p.ctx), "RestoreEnd")
}

// missingLog registers a set of at least three logs, one of which is missing.
func (p *probe) missingLog(which int) {
	ability[Locator](p)
	serials := p.severalLogs(2)
	serials = append(serials, p.issue(2)...)
	full := p.take(certadm.BackupFull, false)
	if len(full.logs) < 3 {
		p.Fatalf("the third full backup without truncation has %d logs, want at least 3", len(full.logs))
	}
	p.mustStop()
	missing := []int{0, 1, len(full.logs) - 1}[which]
	name := full.logs[missing]
	full.logs = append(full.logs[:missing:missing], full.logs[missing+1:]...)
	pl := p.place(full)
	p.refusedRegistration(pl.reg, "without "+certadm.BaseName(name.unc), func(err error, what string) {
		p.code(err, what, certadm.HrMissingLogFile)
	})
	p.mustStart()
	p.wantSerials(serials, "after refused Registers")
}

// startRefused fails unless the service refuses to start.
func (p *probe) startRefused(when string) {
	err := p.env.Start(p.ctx)
	if unsupported(err) {
		p.unsupported(err.Error())
	}
	if err == nil {
		p.Errorf("the service starts %s", when)
		return
	}
	p.failed(err, "Start "+when)
}

// wantDatabase fails unless the running service's database is at this place.
func (p *probe) wantDatabase(unc string) {
	b := p.prepare(p.connect(operator), certadm.BackupFull)
	_, m := p.locations(b)
	if m.Database != unc {
		p.Errorf("the database is at %s, want %s", m.Database, unc)
	}
	if dbs := p.databases(b); dbs[0].Path != unc {
		p.Errorf("the database is listed at %s, want %s", dbs[0].Path, unc)
	}
	p.ok(b.End(p.ctx), "End")
}

// restoreSupported leaves the part if this Service does no restores at all.
func (p *probe) restoreSupported(err error) {
	if certadm.CodeOf(err) == certadm.ENotImpl {
		p.unsupported("RestorePrepare: " + err.Error())
	}
}

func (p *probe) noRestore(r certadm.Restore) {
	if r != nil {
		p.Errorf("RestorePrepare returned a session with its error")
	}
}

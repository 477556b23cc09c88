package certadmtest

import (
	"slices"
	"strings"

	"github.com/certkeep/certkeep/certadm"
)

// accessItems are items 52 to 55: who may, and what is recorded of it.
func accessItems() []item {
	return []item{
		{52, []part{
			{"remote backups refused", func(p *probe) { p.flagRefuses(NoRemoteBackup, Remote, Local) }},
			{"local backups refused", func(p *probe) { p.flagRefuses(NoLocalBackup, Local, Remote) }},
			{"snapshots only", func(p *probe) {
				fl := ability[InterfaceFlagger](p)
				p.must(fl.SetInterfaceFlags(p.ctx, NoSnapshotBackup), "setting InterfaceFlags")
				p.take(certadm.BackupFull, true)
			}},
		}},
		{53, []part{
			{"readers, enrollees and officers", func(p *probe) {
				p.take(certadm.BackupFull, false)
				for name, rights := range map[string]Rights{"reader": Read, "enrollee": Enroll, "officer": Officer, "all three": Read | Enroll | Officer} {
					svc := p.connect(Caller{Name: strings.ReplaceAll(name, " ", ""), Rights: rights})
					for _, t := range []certadm.BackupType{certadm.BackupFull, certadm.BackupLogsOnly} {
						b, err := svc.BackupPrepare(p.ctx, t)
						p.denied(err, "BackupPrepare by "+name)
						p.noBackup(b)
					}
					if l, ok := svc.(certadm.Lister); ok {
						_, err := l.DatabaseLocations(p.ctx)
						p.denied(err, "DatabaseLocations by "+name)
						_, err = l.DynamicFiles(p.ctx)
						p.denied(err, "DynamicFiles by "+name)
					}
				}
			}},
			{"backup operator", func(p *probe) {
				svc := p.connect(Caller{Name: "operator", Rights: Operator})
				b := p.prepare(svc, certadm.BackupFull)
				p.gather(b, certadm.BackupFull)
				_, err := b.DynamicFiles(p.ctx)
				p.ok(err, "DynamicFiles")
				p.ok(b.TruncateLogs(p.ctx), "TruncateLogs")
				p.ok(b.End(p.ctx), "End")
			}},
		}},
		{54, []part{
			{"backup", func(p *probe) {
				log := ability[AuditLog](p)
				types := make(map[string]bool)
				for _, t := range []certadm.BackupType{certadm.BackupFull, certadm.BackupLogsOnly} {
					for _, e := range p.audited(log, AuditBackupRestore, []int{4876, 4877}, func() { p.take(t, false) }) {
						p.by(e, operator)
						if e.ID == 4876 {
							types[e.Type] = true
						}
					}
					p.audited(log, AuditStartStop, nil, func() { p.take(t, false) })
					p.audited(log, 0, nil, func() { p.take(t, false) })
				}
				if len(types) != 2 || types[""] {
					p.Errorf("the events of a full and of an incremental backup give the types %v", types)
				}
			}},
			{"shutdown", func(p *probe) {
				log := ability[AuditLog](p)
				shutdown := func() {
					_, err := p.connect(adminCaller).ServerControl(p.ctx, certadm.ControlShutdown)
					p.must(err, "ServerControl(shutdown)")
					p.must(p.env.AwaitStop(p.ctx), "waiting for the service to stop")
					p.mustStart()
				}
				for _, e := range p.audited(log, AuditStartStop, []int{4875}, shutdown) {
					p.by(e, adminCaller)
				}
				p.audited(log, AuditBackupRestore, nil, shutdown)
			}},
			{"restore", func(p *probe) {
				log := ability[AuditLog](p)
				full := p.take(certadm.BackupFull, false)
				restore := func() { p.restore(full); p.mustStart() }
				p.audited(log, AuditBackupRestore, []int{4878, 4879}, restore)
				p.audited(log, AuditStartStop, nil, restore)
			}},
		}},
		{55, []part{{"privilege not assigned", func(p *probe) {
			pr := ability[Privileger](p)
			for _, right := range []Rights{Operator, Restore} {
				err := pr.EnablePrivilege(p.ctx, Caller{Name: "reader", Rights: Read}, right)
				if unsupported(err) {
					p.unsupported(err.Error())
				}
				if err == nil {
					p.Errorf("a privilege that the account does not hold was enabled")
				}
				p.ok(pr.EnablePrivilege(p.ctx, localAdmin, right), "enabling a privilege that the account holds")
			}
		}}}},
	}
}

// flagRefuses sets a flag that refuses backup calls from one origin, and looks
// that it does, and does nothing else.
func (p *probe) flagRefuses(flag uint32, refused, served Origin) {
	fl := ability[InterfaceFlagger](p)
	from := func(c Caller, o Origin) certadm.Service { c.Origin = o; return p.connect(c) }
	before := p.prepare(from(operator, refused), certadm.BackupFull) // without the flag
	p.must(before.End(p.ctx), "End")

	p.must(fl.SetInterfaceFlags(p.ctx, flag), "setting InterfaceFlags")
	svc := from(operator, refused)
	b, err := svc.BackupPrepare(p.ctx, certadm.BackupFull)
	p.code(err, "BackupPrepare", certadm.EAccessDenied)
	p.noBackup(b)
	p.online(svc)
	_, err = from(adminCaller, refused).ServerControl(p.ctx, certadm.ControlSuspend)
	p.ok(err, "ServerControl")
	b = p.prepare(from(operator, served), certadm.BackupFull)
	p.gather(b, certadm.BackupFull)
	p.ok(b.End(p.ctx), "End")

	p.must(fl.SetInterfaceFlags(p.ctx, 0), "setting InterfaceFlags")
	p.ok(p.prepare(from(operator, refused), certadm.BackupFull).End(p.ctx), "End")
}

// audited returns the events of the kinds wanted that do wrote under a filter.
// They have to be there in this order, and with them no other of backup,
// restore or shutdown.
func (p *probe) audited(log AuditLog, filter uint32, want []int, do func()) []AuditEvent {
	p.must(log.SetAuditFilter(p.ctx, filter), "setting the audit filter")
	before, err := log.AuditEvents(p.ctx)
	p.must(err, "reading the audit events")
	do()
	after, err := log.AuditEvents(p.ctx)
	p.must(err, "reading the audit events")
	if len(after) < len(before) {
		p.Fatalf("%d audit events before, %d after", len(before), len(after))
	}
	var events []AuditEvent
	var got []int
	for _, e := range after[len(before):] {
		// 4880 and 4881, start and stop of the service, are not in the list.
		if e.ID >= 4875 && e.ID <= 4879 {
			events = append(events, e)
			got = append(got, e.ID)
		}
	}
	if !slices.Equal(got, want) {
		p.Errorf("with audit filter %#x: events %v, want %v", filter, got, want)
	}
	return events
}

// by fails unless an event names the caller, with or without a domain.
func (p *probe) by(e AuditEvent, c Caller) {
	if !strings.Contains(strings.ToLower(e.Who), strings.ToLower(c.Name)) {
		p.Errorf("event %d is by %q, want %q", e.ID, e.Who, c.Name)
	}
}

package certadmtest

import (
	"context"

	"github.com/certkeep/certkeep/certadm"
)

// prepareItems are items 16 to 25: what BackupPrepare lets pass.
func prepareItems() []item {
	return []item{
		{16, []part{{"without the privilege", func(p *probe) {
			svc := p.connect(reader)
			b, err := svc.BackupPrepare(p.ctx, certadm.BackupFull)
			p.denied(err, "BackupPrepare without the backup privilege")
			p.noBackup(b)
			// No session was left behind, which would keep everybody else out.
			p.ok(p.prepare(p.connect(operator), certadm.BackupFull).End(p.ctx), "End")
		}}}},
		{17, []part{
			{"the type shows in the lists", func(p *probe) {
				full := p.take(certadm.BackupFull, false)
				if len(full.databases) == 0 {
					p.Errorf("a full session lists no database")
				}
				b := p.prepare(p.connect(operator), certadm.BackupLogsOnly)
				if l, err := b.DatabaseNames(p.ctx); err == nil && len(l) > 0 {
					p.Errorf("an incremental session lists databases: %v", l)
				}
				p.ok(b.End(p.ctx), "End")
			}},
			{"fields of the call", func(p *probe) {
				w := ability[Wire](p)
				p.take(certadm.BackupFull, false)
				p.take(certadm.BackupLogsOnly, false)
				var got []WireCall
				for _, c := range p.calls(w, 0) {
					if c.Method == "BackupPrepare" {
						got = append(got, c)
					}
				}
				if len(got) != 2 || got[0].GrbitJet != 0 || got[0].Flags != 1 || got[1].GrbitJet != 1 || got[1].Flags != 2 || got[0].ClientID != 0 || got[1].ClientID != 0 {
					p.Errorf("the server saw %+v, want (0, 1) for a full and (1, 2) for an incremental backup", got)
				}
			}},
		}},
		{18, []part{
			{"unknown types", func(p *probe) {
				svc := p.connect(operator)
				for _, t := range unknownTypes {
					b, err := svc.BackupPrepare(p.ctx, t)
					p.code(err, "BackupPrepare of an unknown type", certadm.EInvalidArg)
					p.noBackup(b)
				}
				p.ok(p.prepare(svc, certadm.BackupFull).End(p.ctx), "End")
			}},
			{"refused by the client itself", func(p *probe) {
				w := ability[Wire](p)
				svc := p.connect(operator)
				before := len(p.calls(w, 0))
				for _, t := range unknownTypes {
					svc.BackupPrepare(p.ctx, t)
				}
				for _, c := range p.calls(w, before) {
					p.Errorf("the server saw %s", c.Method)
				}
			}},
		}},
		{19, []part{
			{"where the server finds the type", func(p *probe) {
				w := ability[Wire](p)
				p.take(certadm.BackupFull, false) // so that an incremental one is possible
				for _, c := range []struct {
					grbit, flags, id uint32
					full             bool
				}{{0, 0, 0, true}, {1, 0, 0, false}, {0, 1, 0, true}, {1, 1, 0, true}, {0, 2, 0, false}, {1, 2, 0, false}, {0, 1, 0xDEADBEEF, true}} {
					client := p.dial(w)
					p.must(client.BackupPrepare(p.ctx, w.Authority(), c.grbit, c.flags, c.id), "BackupPrepare")
					_, err := client.BackupGetAttachmentInformation(p.ctx)
					if (err == nil) != c.full {
						p.Errorf("BackupPrepare(%d, %d) made a full session: %v (%v)", c.grbit, c.flags, err == nil, err)
					}
					p.ok(client.BackupEnd(p.ctx), "BackupEnd")
				}
			}},
			{"authority's name", func(p *probe) {
				w := ability[Wire](p)
				for _, name := range []string{swapCase(w.Authority()), certadm.SanitizeName(w.Authority()), swapCase(certadm.SanitizeName(w.Authority()))} {
					client := p.dial(w)
					p.must(client.BackupPrepare(p.ctx, name, 0, 1, 0), "BackupPrepare by the name "+name)
					p.ok(client.BackupEnd(p.ctx), "BackupEnd")
				}
				err := p.dial(w).BackupPrepare(p.ctx, w.Authority()+"x", 0, 1, 0)
				if certadm.CodeOf(err) != certadm.EInvalidArg {
					p.Errorf("BackupPrepare by another name: %v, want %v", err, certadm.EInvalidArg)
				}
			}},
		}},
		{20, []part{
			{"second Prepare of the same client", func(p *probe) {
				svc := p.connect(operator)
				b := p.prepare(svc, certadm.BackupFull)
				for _, t := range []certadm.BackupType{certadm.BackupFull, certadm.BackupLogsOnly} {
					again, err := svc.BackupPrepare(p.ctx, t)
					p.sequence(err, "a second Prepare")
					p.noBackup(again)
				}
				p.gather(b, certadm.BackupFull) // the first session is as it was
				p.ok(b.End(p.ctx), "End of the first session")
			}},
			{"with a file open", func(p *probe) {
				svc := p.connect(operator)
				b := p.prepare(svc, certadm.BackupFull)
				f, err := b.OpenFile(p.ctx, p.databases(b)[0].Path, 0)
				p.must(err, "OpenFile")
				_, err = svc.BackupPrepare(p.ctx, certadm.BackupFull)
				p.sequence(err, "a second Prepare")
				if n := p.drain(f); n != f.Size() {
					p.Errorf("read %d of %d bytes after the second Prepare", n, f.Size())
				}
				p.ok(f.Close(), "Close")
				p.ok(b.End(p.ctx), "End of the first session")
			}},
		}},
		{21, []part{
			{"second client is refused", func(p *probe) {
				first, second := p.connect(operator), p.connect(operator)
				b := p.prepare(first, certadm.BackupFull)
				dbs := p.databases(b)
				f, err := b.OpenFile(p.ctx, dbs[0].Path, 0)
				p.must(err, "OpenFile")
				other, err := second.BackupPrepare(p.ctx, certadm.BackupFull)
				p.code(err, "another client's Prepare", certadm.HrBackupInProgress)
				p.noBackup(other)
				if n := p.drain(f); n != f.Size() {
					p.Errorf("read %d of %d bytes after the other client's Prepare", n, f.Size())
				}
				p.ok(f.Close(), "Close")
				p.readList(b, dbs[1:])
				p.readList(b, p.logs(b))
				p.ok(b.TruncateLogs(p.ctx), "TruncateLogs")
				p.ok(b.End(p.ctx), "End of the first session")
			}},
			{"and served afterwards", func(p *probe) {
				first, second := p.connect(operator), p.connect(operator)
				b := p.prepare(first, certadm.BackupFull)
				_, err := second.BackupPrepare(p.ctx, certadm.BackupFull)
				p.code(err, "another client's Prepare", certadm.HrBackupInProgress)
				p.ok(b.End(p.ctx), "End")
				p.ok(p.prepare(second, certadm.BackupFull).End(p.ctx), "End of the second client's session")
			}},
		}},
		{22, []part{{"no full backup yet", func(p *probe) {
			svc := p.connect(operator)
			p.issue(1)
			b, err := svc.BackupPrepare(p.ctx, certadm.BackupLogsOnly)
			p.code(err, "an incremental backup before any full one", certadm.HrMissingFullBackup)
			p.noBackup(b)
			p.take(certadm.BackupFull, false)
			p.ok(p.prepare(svc, certadm.BackupLogsOnly).End(p.ctx), "End")
		}}}},
		{23, []part{{"circular logging", func(p *probe) {
			c := ability[CircularLogger](p)
			p.take(certadm.BackupFull, false)
			p.must(c.SetCircularLogging(p.ctx, true), "turning circular logging on")
			p.take(certadm.BackupFull, false)
			b, err := p.connect(operator).BackupPrepare(p.ctx, certadm.BackupLogsOnly)
			p.code(err, "an incremental backup with circular logging", certadm.HrInvalidBackup)
			p.noBackup(b)
		}}}},
		{24, []part{
			{"while recovering", func(p *probe) {
				tr := ability[Transitions](p)
				p.issue(2)
				full := p.take(certadm.BackupFull, false)
				p.restore(full)
				svc := p.connect(operator)
				p.once(tr.WhileRecovering, func(ctx context.Context) {
					b, err := svc.BackupPrepare(ctx, certadm.BackupFull)
					p.code(err, "BackupPrepare during recovery", certadm.HrBackupNotAllowedYet)
					p.noBackup(b)
				})
			}},
			{"while stopping", func(p *probe) {
				tr := ability[Transitions](p)
				svc := p.connect(operator)
				p.once(tr.WhileStopping, func(ctx context.Context) {
					b, err := svc.BackupPrepare(ctx, certadm.BackupFull)
					p.code(err, "BackupPrepare while stopping", certadm.HrTermInProgress)
					p.noBackup(b)
				})
			}},
			{"stopped", func(p *probe) {
				svc := p.connect(operator)
				p.mustStop()
				b, err := svc.BackupPrepare(p.ctx, certadm.BackupFull)
				p.failed(err, "BackupPrepare on a stopped service")
				p.noBackup(b)
			}},
		}},
		{25, []part{
			{"no session after a failed Prepare", func(p *probe) {
				b, err := p.connect(operator).BackupPrepare(p.ctx, certadm.BackupLogsOnly)
				p.failed(err, "an incremental backup before any full one")
				p.noBackup(b)
			}},
			{"no further call", func(p *probe) {
				w := ability[Wire](p)
				svc := p.connect(operator)
				before := len(p.calls(w, 0))
				_, err := svc.BackupPrepare(p.ctx, certadm.BackupLogsOnly)
				p.failed(err, "an incremental backup before any full one")
				p.ok(svc.Close(), "Close")
				for i, c := range p.calls(w, before) {
					if i > 0 || c.Method != "BackupPrepare" {
						p.Errorf("the server saw %s", c.Method)
					}
				}
			}},
		}},
	}
}

var unknownTypes = []certadm.BackupType{0, certadm.BackupTypeMask, 4, 0x80000001, 0xFFFFFFFF}

// noBackup fails if a failed BackupPrepare gave a session all the same.
func (p *probe) noBackup(b certadm.Backup) {
	if b != nil {
		p.Errorf("BackupPrepare returned a session with its error")
	}
}

// once calls a method of Transitions.
func (p *probe) once(hold func(context.Context, func(context.Context)) error, fn func(context.Context)) {
	n := 0
	err := hold(p.ctx, func(ctx context.Context) { n++; fn(ctx) })
	p.must(err, "going on")
	if n != 1 {
		p.Fatalf("the Env did not hold the service")
	}
}

// calls returns the calls that the server saw, but for the first few.
func (p *probe) calls(w Wire, from int) []WireCall {
	calls, err := w.Calls(p.ctx)
	p.must(err, "the calls that the server saw")
	var backup []WireCall
	for _, c := range calls {
		if backupMethods[c.Method] {
			backup = append(backup, c)
		}
	}
	return backup[min(from, len(backup)):]
}

// backupMethods are the calls that item 25 forbids after a failed Prepare. How a
// client asks whether the server is online is its own affair.
var backupMethods = map[string]bool{
	"BackupPrepare": true, "BackupEnd": true, "BackupGetAttachmentInformation": true, "BackupGetBackupLogs": true,
	"BackupOpenFile": true, "BackupReadFile": true, "BackupCloseFile": true, "BackupTruncateLogs": true,
	"BackupGetDynamicFiles": true, "RestoreGetDatabaseLocations": true,
}

func (p *probe) dial(w Wire) WireClient {
	c, err := w.Dial(p.ctx, operator)
	p.must(err, "dialling")
	p.cleanup = append(p.cleanup, func() { c.Close() })
	return c
}

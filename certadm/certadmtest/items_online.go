package certadmtest

import (
	"github.com/certkeep/certkeep/certadm"
)

// onlineItems are items 11 to 15: the online check and the control call.
func onlineItems() []item {
	return []item{
		{11, []part{
			{"stopped service, old connection", func(p *probe) {
				svc := p.connect(operator)
				p.mustStop()
				p.offline(svc, "on a stopped service")
			}},
			{"stopped service, new connection", func(p *probe) {
				p.start()
				p.mustStop()
				svc, err := p.env.Connect(p.ctx, operator)
				if unsupported(err) {
					p.unsupported("connecting to a stopped service: " + err.Error())
				}
				if err != nil {
					p.failed(err, "connecting to a stopped service")
					return
				}
				defer svc.Close()
				p.offline(svc, "on a stopped service")
			}},
			{"started again", func(p *probe) {
				p.start()
				p.mustStop()
				p.mustStart()
				p.online(p.connect(operator))
			}},
		}},
		{12, []part{
			{"running", func(p *probe) { p.online(p.connect(operator)) }},
			{"suspended", func(p *probe) {
				s := ability[Suspender](p)
				svc := p.connect(operator)
				p.must(s.Suspend(p.ctx), "suspending")
				if on, err := svc.IsServerOnline(p.ctx); on || err != nil {
					p.Errorf("IsServerOnline of a suspended service = %v, %v, want false without an error", on, err)
				}
				p.must(s.Resume(p.ctx), "resuming")
				p.online(svc)
			}},
		}},
		{13, []part{
			{"shutdown", func(p *probe) {
				svc := p.connect(adminCaller)
				_, err := svc.ServerControl(p.ctx, certadm.ControlShutdown)
				p.must(err, "ServerControl(shutdown)")
				p.must(p.env.AwaitStop(p.ctx), "waiting for the service to stop")
				p.offline(svc, "after the shutdown")
				p.mustStart()
				p.online(p.connect(adminCaller))
			}},
			{"suspend and restart do nothing", func(p *probe) {
				svc := p.connect(adminCaller)
				for _, c := range []certadm.Control{certadm.ControlSuspend, certadm.ControlRestart} {
					_, err := svc.ServerControl(p.ctx, c)
					p.ok(err, "ServerControl")
					p.online(svc)
				}
				p.issue(1)
			}},
			{"other values", func(p *probe) {
				svc := p.connect(adminCaller)
				for _, c := range []certadm.Control{0, 4, 5, 0x80000001, 0xFFFFFFFF} {
					_, err := svc.ServerControl(p.ctx, c)
					p.code(err, "ServerControl", certadm.EInvalidArg)
				}
				p.online(svc)
			}},
			{"a reader cannot shut down", func(p *probe) {
				_, err := p.connect(reader).ServerControl(p.ctx, certadm.ControlShutdown)
				p.denied(err, "ServerControl(shutdown) by a reader")
				p.online(p.connect(adminCaller))
			}},
		}},
		{14, []part{{"no output", func(p *probe) {
			svc := p.connect(adminCaller)
			for _, c := range []certadm.Control{certadm.ControlSuspend, certadm.ControlShutdown} {
				if out, err := svc.ServerControl(p.ctx, c); len(out) != 0 || err != nil {
					p.Errorf("ServerControl(%d) = %d bytes, %v", c, len(out), err)
				}
			}
		}}}},
		{15, []part{
			{"NetBIOS and DNS name", func(p *probe) {
				n := ability[Namer](p)
				for _, name := range n.ServerNames() {
					svc, err := n.ConnectTo(p.ctx, operator, name)
					p.must(err, "connecting to "+name)
					p.online(svc)
					b := p.prepare(svc, certadm.BackupFull)
					p.ok(b.End(p.ctx), "End")
					p.ok(svc.Close(), "Close")
				}
				if len(n.ServerNames()) < 2 {
					p.Errorf("the Env gives %v as names, not a NetBIOS and a DNS name", n.ServerNames())
				}
			}},
			{"config string for the control call", func(p *probe) {
				n := ability[Namer](p)
				svc, err := n.ConnectTo(p.ctx, adminCaller, n.ConfigString())
				p.must(err, "connecting to "+n.ConfigString())
				_, err = svc.ServerControl(p.ctx, certadm.ControlSuspend)
				p.ok(err, "ServerControl")
				p.ok(svc.Close(), "Close")
			}},
		}},
	}
}

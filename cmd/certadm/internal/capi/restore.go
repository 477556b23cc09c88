package capi

import (
	"errors"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
)

// RestorePrepare starts a restore session on an authority in a directory of this
// machine, which may not be running. The protocol to authorities of other machines
// has no call for it, so that nobody is asked there.
func (l *Library) RestorePrepare(server string, flags uint32) (h Handle, code certadm.HRESULT) {
	code = l.call(fnRestorePrepare, shown(server), func() error {
		t := certadm.RestoreType(flags)
		if t != certadm.RestoreFull {
			return invalid(fnRestorePrepare, "dwRestoreFlags is CSRESTORE_TYPE_FULL (1)")
		}
		a, err := l.resolve(fnRestorePrepare, server)
		if err != nil {
			return err
		}
		if a.Scheme != connect.CA {
			return &certadm.Error{Op: fnRestorePrepare, Path: a.String(), Code: certadm.ENotImpl, Err: errors.New("MS-CSRA has no restore"),
				Hint: "restore on the CA's own machine; an authority in a directory of this machine is named ca:DIR"}
		}
		c, err := l.openStopped(fnRestorePrepare, a)
		if err != nil {
			return err
		}
		r, err := c.Service().RestorePrepare(background(), t)
		if err != nil {
			c.Close()
			return err
		}
		h = l.contexts.add(&session{kind: forRestore, server: server, conn: c, restore: r})
		return nil
	})
	return h, code
}

// Register records a set that is to be restored.
func (l *Library) Register(h Handle, r certadm.Registration) certadm.HRESULT {
	return l.in(fnRegister, "", h, forRestore, func(s *session) error { return s.restore.Register(background(), r) })
}

// RegisterThroughFile is Register for those who are no administrators.
func (l *Library) RegisterThroughFile(h Handle, r certadm.Registration) certadm.HRESULT {
	return l.in(fnRegisterFile, "", h, forRestore, func(s *session) error { return s.restore.RegisterThroughFile(background(), r) })
}

// RegisterComplete completes a Register, or takes it back.
func (l *Library) RegisterComplete(h Handle, state certadm.HRESULT) certadm.HRESULT {
	return l.in(fnComplete, "", h, forRestore, func(s *session) error { return s.restore.RegisterComplete(background(), state) })
}

// RestoreEnd ends the session.
func (l *Library) RestoreEnd(h Handle) certadm.HRESULT {
	return l.end(fnRestoreEnd, h, forRestore, func(s *session) error { return s.restore.End(background()) })
}

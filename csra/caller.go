package csra

import (
	"net"

	"github.com/certkeep/certkeep/certadm"
)

// refuses reports whether an authority's InterfaceFlags keep a caller out, of
// everything or of a backup method. [certadm.IfEnforceEncryptAdmin] is always on
// here, as it is in Windows since October 2022.
func refuses(f certadm.InterfaceFlags, local, backup bool) bool {
	admin, mask := certadm.IfNoRemoteAdmin, certadm.IfNoRemoteAdminBackup
	if local {
		admin, mask = certadm.IfNoLocalAdmin, certadm.IfNoLocalAdminBackup
	}
	return f&admin != 0 || backup && f&mask != 0
}

// Caller is who activated an object of a [Server], as far as the connection has
// proven it.
type Caller struct {
	Mechanism string // "ntlm" or "kerberos"
	User      string // the account's name, without its domain
	Domain    string // the NTLM domain as the client sent it, or the Kerberos realm

	Remote, Local net.Addr // the two ends of the connection
}

// SameMachine reports whether the caller is on the server's machine: whether both
// ends of the connection have the same address. A caller behind a tunnel that ends
// on the server's machine is there, too.
func (c Caller) SameMachine() bool { return sameMachine(c.Remote, c.Local) }

func sameMachine(a, b net.Addr) bool {
	ta, ok1 := a.(*net.TCPAddr)
	tb, ok2 := b.(*net.TCPAddr)
	return ok1 && ok2 && ta.IP.Equal(tb.IP)
}

// WireCall is a call of ICertAdminD as it arrived, for [ServerOptions].Observe.
type WireCall struct {
	Method string // "BackupPrepare", "BackupReadFile", …
	Caller Caller

	GrbitJet, Flags, ClientID uint32 // of BackupPrepare
	Size                      int32  // of BackupReadFile: cbBuffer
}

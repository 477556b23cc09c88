package certadm

import (
	"fmt"
	"strings"
)

// InterfaceFlags is a CA's setting of that name (IF_*, certsrv.h and
// MS-CSRA): which interfaces it offers to whom. A stock AD CS has
// IfNoRemoteAdminBackup set, and with it refuses backups over the network.
type InterfaceFlags uint32

const (
	IfLockRequest            InterfaceFlags = 0x1    // IF_LOCKICERTREQUEST, without effect
	IfNoRemoteRequest        InterfaceFlags = 0x2    // IF_NOREMOTEICERTREQUEST
	IfNoLocalRequest         InterfaceFlags = 0x4    // IF_NOLOCALICERTREQUEST
	IfNoRPCRequest           InterfaceFlags = 0x8    // IF_NORPCICERTREQUEST
	IfNoRemoteAdmin          InterfaceFlags = 0x10   // IF_NOREMOTEICERTADMIN: no call from other machines
	IfNoLocalAdmin           InterfaceFlags = 0x20   // IF_NOLOCALICERTADMIN
	IfNoRemoteAdminBackup    InterfaceFlags = 0x40   // IF_NOREMOTEICERTADMINBACKUP: no backup from other machines
	IfNoLocalAdminBackup     InterfaceFlags = 0x80   // IF_NOLOCALICERTADMINBACKUP
	IfNoSnapshotBackup       InterfaceFlags = 0x100  // IF_NOSNAPSHOTBACKUP
	IfEnforceEncryptRequest  InterfaceFlags = 0x200  // IF_ENFORCEENCRYPTICERTREQUEST
	IfEnforceEncryptAdmin    InterfaceFlags = 0x400  // IF_ENFORCEENCRYPTICERTADMIN: packet privacy only
	IfEnableExitKeyRetrieval InterfaceFlags = 0x800  // IF_ENABLEEXITKEYRETRIEVAL
	IfEnableAdminAsAuditor   InterfaceFlags = 0x1000 // IF_ENABLEADMINASAUDITOR
)

var flagNames = []string{ // by bit
	"IF_LOCKICERTREQUEST", "IF_NOREMOTEICERTREQUEST", "IF_NOLOCALICERTREQUEST", "IF_NORPCICERTREQUEST",
	"IF_NOREMOTEICERTADMIN", "IF_NOLOCALICERTADMIN", "IF_NOREMOTEICERTADMINBACKUP", "IF_NOLOCALICERTADMINBACKUP",
	"IF_NOSNAPSHOTBACKUP", "IF_ENFORCEENCRYPTICERTREQUEST", "IF_ENFORCEENCRYPTICERTADMIN", "IF_ENABLEEXITKEYRETRIEVAL",
	"IF_ENABLEADMINASAUDITOR",
}

// String is the number and the names of its bits, as certutil prints them:
// "0x641 (IF_LOCKICERTREQUEST, …)".
func (f InterfaceFlags) String() string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return fmt.Sprintf("%#x", uint32(f))
	}
	return fmt.Sprintf("%#x (%s)", uint32(f), strings.Join(names, ", "))
}

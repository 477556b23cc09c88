// Package account says who may do what with the embedded Certificate Services:
// the CA roles of MS-CSRA 3.1.1.7, the rule table of its 3.1.4.1, and a file of
// accounts with argon2id password hashes.
//
// NTLM cannot use such a hash: it needs the NT hash, one MD4 of the password,
// which is as good as the password itself and tells a password of a human's
// choosing to whoever reads the file. So an account has one only if it was made
// for NTLM ([Store.AddNTLM]), with a secret that is too long to be guessed.
package account

import "os/user"

// Principal is a caller whose identity is known. The zero Principal is nobody
// and is denied everything.
type Principal struct {
	Name  string
	Roles Roles

	// Local callers are on the CA's machine; LocalAdmin ones administer it.
	Local      bool
	LocalAdmin bool

	// The Windows privileges SeBackupPrivilege and SeRestorePrivilege.
	BackupPrivilege  bool
	RestorePrivilege bool
}

// LocalUser is the user of this process, who can read and write the authority's
// directory anyway: a local administrator with all roles and privileges, under
// the operating system's name.
func LocalUser() Principal {
	name := "local user"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return Principal{
		Name: name, Roles: AllRoles,
		Local: true, LocalAdmin: true,
		BackupPrivilege: true, RestorePrivilege: true,
	}
}

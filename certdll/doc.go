// Package certdll is a [certadm.Service] over the Certadm.dll of a Windows
// machine: the everyday way to back up Certificate Services, since a stock
// authority takes backups from its own machine only.
//
// [Open] follows Microsoft's procedure: LoadLibrary, from the system directory
// only, GetProcAddress for each function by its name, and FreeLibrary at the end.
// There is no C compiler in it. On other systems Open fails with
// [ErrNotWindows].
//
// # Contexts
//
// A call of a C function cannot be interrupted. Each session therefore has a
// thread of its own, on which all of its calls are made; a call without a session
// has one as long as it lasts. When a context ends during a call, the Go method
// returns at once with the context's error, and the session is given up: its
// other calls fail with [certadm.HrInvalidHandle], the call in progress is waited
// for in the background, and CertSrvBackupEnd (CertSrvRestoreEnd) follows it
// there. End then waits for that, and fails: a session that was given up is no
// backup. A context that had ended before a call costs nothing: the call is not
// made, and the session goes on.
//
// What C code writes to is never the caller's memory, which a call that was given
// up would go on writing to: reads go through a buffer of the session.
//
// # Sessions that end early
//
// The interface has no call to break a session off: CertSrvBackupEnd after every
// file was read makes it a backup that counts. A session that was given up, or
// that [Client.Close] has to end, is therefore ended with a file open, which makes
// it one that does not count. Nothing is truncated then.
//
// # Memory
//
// Each list that the library returns is looked at within its stated size, which
// is bounded by [certadm.MaxListBytes], copied, and freed by CertSrvBackupFree,
// once. A pointer that comes with a failure is not looked at: it is not the
// caller's.
//
// # Privileges
//
// The library wants SeBackupPrivilege, or SeRestorePrivilege, enabled in the
// process's token, see Microsoft's page "Setting the Backup and Restore
// Privileges". A session enables its privilege, and puts the previous state back
// when it ends; see [EnablePrivileges] and [Options].
package certdll

// Package backup holds the jobs: take a set, verify it, drill a restore, plan and
// do one. They work over any certadm.Service and any backupset.Store, and know
// of a particular one only from their caller.
//
//	Take      a set of a live authority, full or incremental
//	Verify    a chain of sets, as deep as asked, without writing to it
//	Drill     a restore without an authority, and what it proves
//	Recover   a chain's database in a temporary directory, to read from
//	Restore   a chain into an authority that is stopped
//	Merge     a chain into one full set, as certutil -restoreDB takes it
//
// [Take] follows Microsoft's page "Backing Up Certificate Services", [Restore]
// the page "Restoring Certificate Services from Backup"; where the order differs,
// docs/procedure.md says why. docs/verification.md says which damage is found at
// which [Level], and what nothing protects.
//
// # Damage and failure
//
// A set that is not what it was is not a failure of the job that says so:
// [Verify] and [Drill] return it as findings in their report, and an error only
// when they could not do their work. The jobs that need the set whole return a
// [*DamageError], which is a backupset.ErrDamaged. Every finding names the file.
//
// Sets are taken to be hostile. They are only read, and recovery, which runs a
// database engine over them, happens on a copy in a temporary directory that is
// removed at the end, also when the context is canceled.
package backup

package sqlitelog

// rules lets a test break one rule of the design on purpose, to see that the
// break is noticed: by another rule, or as a wrong database after replay. The zero
// value, which is all that anyone outside this package can have, keeps them all.
type rules struct {
	noGate           bool // writers go on while a log is published and checkpointed
	autocheckpoint   bool // SQLite checkpoints by itself
	retryBusy        bool // a busy checkpoint takes the published log back
	waitForReaders   bool // the checkpoint waits for readers
	lateFirst        bool // a copy starts at the open generation, whatever checkpoint is under way
	earlyTarget      bool // a copy's earliest target is the generation that was open when it began
	closeWithoutRoll bool // Close leaves the closing checkpoint to SQLite
	noStateCheck     bool // Open shows SQLite whatever is there
	lateState        bool // commits are acknowledged before the state file knows the WAL
	trustCheckpoint  bool // a checkpoint counts as being on disk when it has returned
	immutableReaders bool // readers ignore the WAL
	noLock           bool // a second process is let in
	forgetPublished  bool // a log whose directory could not be synced counts as not published
}

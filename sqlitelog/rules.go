package sqlitelog

// rules lets a test break one rule of the design on purpose, to see that the
// break is noticed: by another rule, or as a wrong database after replay. The zero
// value, which is all that anyone outside this package can have, keeps them all.
type rules struct {
	noGate           bool // writers go on while the WAL is copied and checkpointed
	autocheckpoint   bool // SQLite checkpoints by itself
	retryBusy        bool // a busy checkpoint takes the published log back
	waitForReaders   bool // the checkpoint waits for readers
	lateFirst        bool // a copy starts at the open generation whatever the last checkpoint did
	earlyTarget      bool // a copy's earliest target is the generation before it began
	closeWithoutRoll bool // Close leaves the closing checkpoint to SQLite
	noStateCheck     bool // Open shows SQLite whatever is there
	noMark           bool // generations begin without a mark
	immutableReaders bool // readers ignore the WAL
	noLock           bool // a second process is let in
	noPublishSync    bool // a log gets its name before its bytes are on disk
	forgetPublished  bool // a failed sync of the log directory is treated as not published
}

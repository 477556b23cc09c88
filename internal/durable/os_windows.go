package durable

// SyncDir does nothing: Windows offers no way to flush a directory, and NTFS
// journals its entries.
func (osFS) SyncDir(string) error { return nil }

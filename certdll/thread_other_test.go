//go:build !linux

package certdll

// threadID does not tell threads apart here; on Linux the tests do.
func threadID() int { return 0 }

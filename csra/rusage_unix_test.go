//go:build unix

package csra

import (
	"syscall"
	"time"
)

// cpuTime is the processor time that this process has used, which tells the cost
// of something also on a machine that others use.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

//go:build !unix

package certsrv

import "time"

func cpuTime() time.Duration { return 0 }

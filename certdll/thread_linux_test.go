package certdll

import "syscall"

func threadID() int { return syscall.Gettid() }

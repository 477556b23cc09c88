package eventlog

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	advapi32          = windows.NewLazySystemDLL("advapi32.dll")
	procOpenEventLog  = advapi32.NewProc("OpenEventLogW")
	procReadEventLog  = advapi32.NewProc("ReadEventLogW")
	procCloseEventLog = advapi32.NewProc("CloseEventLog")
)

const (
	sequentialRead  = 0x1                 // EVENTLOG_SEQUENTIAL_READ
	backwardsRead   = 0x8                 // EVENTLOG_BACKWARDS_READ
	usualBuffer     = 64 << 10            // of many records
	maxBuffer       = 0x7ffff             // ReadEventLog's limit
	errFileChanged  = syscall.Errno(1503) // ERROR_EVENTLOG_FILE_CHANGED
	errLogEnd       = windows.ERROR_HANDLE_EOF
	maxReopen       = 3
	maxBufferedRead = 1 << 16 // reads of one call: some gigabytes
)

// ESENT225 returns, newest first, the events 225 ("no log files can be truncated")
// that the database engine has written for Certificate Services since a time. They are
// how a truncation shows that was acknowledged and had no effect. Reading
// the log Application takes no special right.
func ESENT225(ctx context.Context, since time.Time) ([]Record, error) {
	for range maxReopen {
		out, err := readApplication(ctx, since)
		if !errors.Is(err, errFileChanged) { // cleared while it was read
			return out, err
		}
	}
	return nil, fmt.Errorf("read event log Application: %w", errFileChanged)
}

func readApplication(ctx context.Context, since time.Time) (out []Record, err error) {
	name, err := windows.UTF16PtrFromString("Application")
	if err != nil {
		return nil, err
	}
	h, _, errno := procOpenEventLog.Call(0, uintptr(unsafe.Pointer(name)))
	if h == 0 {
		return nil, fmt.Errorf("open event log Application: %w", errno)
	}
	defer procCloseEventLog.Call(h)
	buf := make([]byte, usualBuffer)
	for range maxBufferedRead {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		var read, needed uint32
		r, _, errno := procReadEventLog.Call(h, sequentialRead|backwardsRead, 0, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
			uintptr(unsafe.Pointer(&read)), uintptr(unsafe.Pointer(&needed)))
		switch {
		case r != 0 && read > 0:
		case errno == errLogEnd, r != 0:
			return out, nil
		case errno == windows.ERROR_INSUFFICIENT_BUFFER && int(needed) > len(buf) && needed <= maxBuffer:
			buf = make([]byte, needed)
			continue
		default:
			return nil, fmt.Errorf("read event log Application: %w", errno)
		}
		records, err := decodeRecords(buf[:min(int(read), len(buf))])
		if err != nil {
			return nil, fmt.Errorf("read event log Application: %w", err)
		}
		var done bool
		if out, done = pick(out, records, since); done {
			return out, nil
		}
	}
	return out, errors.New("read event log Application: it has no end")
}

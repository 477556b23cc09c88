// Package audit writes the audit log of the embedded Certificate Services: the
// Windows security events 4875 to 4881 as JSON lines, each on disk before the
// call that caused it goes on.
//
//	{"schema":1,"time":"2026-01-02T03:04:05.678Z","event":4876,"name":"backup started","who":"alice","what":"Example CA","type":"full","result":"ok"}
//
// A record is appended with one write and synced. A line that a crash cut short
// was never acknowledged; the next append repairs the file, see [Log.Append].
package audit

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// Event is a Windows security event number of subcategory Certification
// Services.
type Event int

// The events that the embedded Certificate Services have.
const (
	ShutdownRequested Event = 4875
	BackupStarted     Event = 4876
	BackupCompleted   Event = 4877
	RestoreStarted    Event = 4878
	RestoreCompleted  Event = 4879
	ServiceStarted    Event = 4880
	ServiceStopped    Event = 4881
)

// Filter is a CA's AuditFilter: which events are recorded.
type Filter uint32

const (
	// FilterStartStop records 4875, 4880 and 4881.
	FilterStartStop Filter = 0x1
	// FilterBackupRestore records 4876 to 4879.
	FilterBackupRestore Filter = 0x2
	// FilterAll records every event that there is.
	FilterAll = FilterStartStop | FilterBackupRestore
)

// Types of a backup, for Record.Type.
const (
	TypeFull     = "full"
	TypeLogsOnly = "logs only"
)

// Record is one line.
type Record struct {
	Schema int       `json:"schema"` // 1; set by Append
	Time   time.Time `json:"time"`   // UTC, milliseconds; set by Append
	Event  Event     `json:"event"`
	Name   string    `json:"name"`             // of the event; set by Append
	Who    string    `json:"who"`              // the principal
	What   string    `json:"what,omitempty"`   // the CA, or the file
	Type   string    `json:"type,omitempty"`   // of the backup
	Result string    `json:"result,omitempty"` // "ok" or an error
}

// Options of a log.
type Options struct {
	Now func() time.Time // nil is time.Now
	FS  durable.FS       // nil is durable.OS
}

// Log appends to one file. It may be used by several goroutines.
type Log struct{}

// Open opens or creates (mode 0600) the log. Events outside the filter are not
// recorded; a filter of 0 records none.
func Open(path string, filter Filter, o Options) (*Log, error) { return nil, errors.ErrUnsupported }

// Append records an event, and returns when it is on disk. Who, What, Type and
// Result are cut to 1024 bytes each. An event that the filter does not select
// is no error. After a failure the log may be used again: what was torn is
// repaired by the next Append, as after a crash (a whole record without its
// newline gets one, anything else after the last newline is cut off).
func (l *Log) Append(r Record) error { return errors.ErrUnsupported }

// Filter says what is recorded.
func (l *Log) Filter() Filter { return 0 }

// SetFilter changes what is recorded from now on.
func (l *Log) SetFilter(f Filter) {}

// Close closes the file. It may be called more than once.
func (l *Log) Close() error { return nil }

// Read yields the records of a log from the oldest on. A line that cannot be
// read is yielded as *[LineError], and reading goes on; other errors end it. A
// torn last line (no newline) is passed over in silence if it is not a whole
// record.
func Read(ctx context.Context, path string) iter.Seq2[Record, error] { return nil }

// LineError is a line that is not a record.
type LineError struct {
	Path string
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return e.Path }
func (e *LineError) Unwrap() error { return e.Err }

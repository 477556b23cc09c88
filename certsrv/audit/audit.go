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
	"fmt"
	"time"
)

// Event is a Windows security event number of the audit subcategory
// Certification Services.
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

var events = map[Event]struct {
	name string
	bit  Filter
}{
	ShutdownRequested: {"shutdown requested", FilterStartStop},
	BackupStarted:     {"backup started", FilterBackupRestore},
	BackupCompleted:   {"backup completed", FilterBackupRestore},
	RestoreStarted:    {"restore started", FilterBackupRestore},
	RestoreCompleted:  {"restore completed", FilterBackupRestore},
	ServiceStarted:    {"service started", FilterStartStop},
	ServiceStopped:    {"service stopped", FilterStartStop},
}

// String is the event's name in words.
func (e Event) String() string {
	if k, ok := events[e]; ok {
		return k.name
	}
	return fmt.Sprintf("event %d", int(e))
}

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

// Selects reports whether the event is recorded.
func (f Filter) Selects(e Event) bool { return f&events[e].bit != 0 }

// Types of a backup, for Record.Type.
const (
	TypeFull     = "full"
	TypeLogsOnly = "logs only"
)

// Schema is the version of the lines.
const Schema = 1

// Record is one line.
type Record struct {
	Schema int       `json:"schema"` // set by Append
	Time   time.Time `json:"time"`   // UTC, in milliseconds; set by Append
	Event  Event     `json:"event"`
	Name   string    `json:"name"`             // of the event; set by Append
	Who    string    `json:"who"`              // the principal
	What   string    `json:"what,omitempty"`   // the CA, or the file
	Type   string    `json:"type,omitempty"`   // of the backup
	Result string    `json:"result,omitempty"` // "ok", or an error
}

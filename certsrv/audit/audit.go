// Package audit writes the audit log of the embedded Certificate Services: the
// Windows security events 4875 to 4881, and 4625 for refused logons, as JSON
// lines, each on disk before the call that caused it goes on.
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

// Event is a Windows security event number: of the audit subcategory
// Certification Services, or Logon.
type Event int

// The events that the embedded Certificate Services have.
const (
	LogonRefused      Event = 4625 // not subject to the filter
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
	bit  Filter // 0: recorded whatever the filter
}{
	LogonRefused:      {"logon refused", 0},
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

// Filter is a CA's AuditFilter: which of a CA's events are recorded. Refused
// logons are not among those, and always recorded.
type Filter uint32

const (
	// FilterStartStop records 4875, 4880 and 4881.
	FilterStartStop Filter = 0x1
	// FilterBackupRestore records 4876 to 4879.
	FilterBackupRestore Filter = 0x2
	// FilterAll records every event of the CA.
	FilterAll = FilterStartStop | FilterBackupRestore
)

// Selects reports whether the event is recorded.
func (f Filter) Selects(e Event) bool {
	k, ok := events[e]
	return ok && (k.bit == 0 || f&k.bit != 0)
}

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
	Who    string    `json:"who"`              // the principal; of a refused logon, whoever it was said to be
	From   string    `json:"from,omitempty"`   // the address that a caller from the network has
	What   string    `json:"what,omitempty"`   // the CA, or the file
	Type   string    `json:"type,omitempty"`   // of the backup; of a logon, the mechanism
	Result string    `json:"result,omitempty"` // "ok", or an error

	// Missed is how many events of this kind before it are not recorded, because
	// there were too many.
	Missed int `json:"missed,omitempty"`
}

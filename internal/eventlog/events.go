// Package eventlog writes certkeep's events into Windows' event log, and reads
// from it what the database engine says of log truncation.
//
// The events are certkeep's own, under the source "certkeep" in the log
// Application. Monitoring goes by their ids, which stay as they are. [Table] is the one list of
// them; docs/windows.md repeats it.
package eventlog

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// Source is the name under which the events appear.
const Source = "certkeep"

// ID says what has happened. EventCreate.exe, whose messages the source borrows
// (each is its event's text and nothing else), has them for 1 to 1000 only.
type ID uint16

// The events.
const (
	BackupConfirmed  ID = 100
	BackupInPart     ID = 101
	BackupFailed     ID = 102
	VerifyPassed     ID = 110
	VerifyDamage     ID = 111
	VerifyFailed     ID = 112
	DrillPassed      ID = 120
	DrillDamage      ID = 121
	DrillFailed      ID = 122
	RestoreDone      ID = 130
	RestoreGap       ID = 131
	RestoreFailed    ID = 132
	KeyExported      ID = 140
	KeyNotExported   ID = 141
	LogsNotTruncated ID = 150
)

// Level is the level of an event.
type Level uint8

// The levels.
const (
	Information Level = iota + 1
	Warning
	Error
)

func (l Level) String() string {
	switch l {
	case Information:
		return "information"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// A Kind is a row of [Table].
type Kind struct {
	ID    ID
	Level Level
	Text  string // one line, which begins the event's text
}

// Table lists the events, by id. A text says what is so each time that its event is
// reported; what was so this time is in [Event.What] and [Event.Hint].
var Table = []Kind{
	{BackupConfirmed, Information, "backup taken and confirmed"},
	{BackupInPart, Warning, "backup taken, but unconfirmed or in part"},
	{BackupFailed, Error, "backup failed: there is no new set"},
	{VerifyPassed, Information, "verification passed"},
	{VerifyDamage, Error, "verification found damage"},
	{VerifyFailed, Error, "verification could not be done"},
	{DrillPassed, Information, "drill passed: the sets were restored into scratch"},
	{DrillDamage, Error, "drill found damage"},
	{DrillFailed, Error, "drill could not be done"},
	{RestoreDone, Information, "restore done"},
	{RestoreGap, Warning, "restore done, but something is left to do"},
	{RestoreFailed, Error, "restore failed"},
	{KeyExported, Warning, "the CA's private key was exported"},
	{KeyNotExported, Warning, "the CA's private key was asked for, and not exported"},
	{LogsNotTruncated, Warning, "log files were not truncated"},
}

// KindOf is the row of an id.
func KindOf(id ID) (Kind, bool) {
	for _, k := range Table {
		if k.ID == id {
			return k, true
		}
	}
	return Kind{}, false
}

// An Event is what is reported. Only ID is needed.
type Event struct {
	ID        ID
	What      string // one line beside the table's text, such as an error
	Set       string // the set's id or name
	Authority string // the CA's name
	Folder    string // the set's folder, or the file
	Exit      int    // the command's exit code
	Hint      string // what the operator can do
}

// MaxText is the most characters (UTF-16) that an event's string may have
// (ReportEvent). The bounds of the parts stay below it together.
const MaxText = 31_839

const (
	maxLine = 8_000
	maxName = 4_000
)

// Text is the event as it appears in the log.
func (e Event) Text() (string, error) {
	k, ok := KindOf(e.ID)
	if !ok {
		return "", fmt.Errorf("there is no event %d", e.ID)
	}
	var b strings.Builder
	b.WriteString(k.Text)
	if e.What != "" {
		b.WriteString(": " + inert(e.What, maxLine))
	}
	for _, f := range []struct{ label, value string }{{"set", e.Set}, {"authority", e.Authority}, {"folder", e.Folder}} {
		if f.value != "" {
			b.WriteString("\r\n" + f.label + ": " + inert(f.value, maxName))
		}
	}
	fmt.Fprintf(&b, "\r\nexit code: %d", e.Exit)
	if e.Hint != "" {
		b.WriteString("\r\nhint: " + inert(e.Hint, maxLine))
	}
	return b.String(), nil
}

// inert keeps a text on one line, within a number of UTF-16 characters, and free of
// what a viewer would act on: control characters, and %n, which it replaces by the
// event's n-th string. Text may come from a server or a folder.
func inert(s string, limit int) string {
	var b strings.Builder
	n, percent := 0, false
	for _, r := range strings.TrimSpace(s) {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			r = ' '
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029:
			r = '?'
		}
		if percent && (r == '%' || r == '!' || r >= '0' && r <= '9') {
			b.WriteByte(' ')
			n++
		}
		percent = r == '%'
		if n += utf16.RuneLen(r); n > limit-1 {
			b.WriteRune('…')
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

package backup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
)

// Until says how far to restore. The zero value is as far as the logs go; at
// most one of the fields is set.
type Until struct {
	// Generation is the last log generation to replay.
	Generation uint32
	// Time stands for the newest generation that was closed at this time or
	// before it.
	Time time.Time
}

// IsZero reports whether there is no limit.
func (u Until) IsZero() bool { return u.Generation == 0 && u.Time.IsZero() }

func (u Until) String() string {
	switch {
	case u.Generation != 0:
		return "generation " + generation(u.Generation)
	case !u.Time.IsZero():
		return u.Time.UTC().Format(time.RFC3339Nano)
	}
	return "the end of the logs"
}

// generation prints a generation as people count and as file names spell it.
func generation(g uint32) string { return fmt.Sprintf("%d (%s)", g, certadm.LogDigits(g)) }

// untilLayouts are the times that ParseUntil reads; without a zone they are UTC.
var untilLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"}

// ParseUntil reads GENERATION or TIME. A generation is a decimal number, or
// hexadecimal as the digits of a log's name: five of them, or eight that begin
// with 0, the name itself, or with 0x before it. A time is RFC 3339, or without a zone UTC; a day alone
// would leave open whether it is meant to be in or out, and is refused.
func ParseUntil(s string) (Until, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Until{}, nil
	}
	for _, layout := range untilLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return Until{Time: t.UTC()}, nil
		}
	}
	g, ok := certadm.ParseLogGeneration(s)
	if !ok {
		digits, base := s, 10
		if hex, found := strings.CutPrefix(strings.ToLower(s), "0x"); found {
			digits, base = hex, 16
		} else if len(s) == 5 || len(s) == 8 && s[0] == '0' {
			base = 16
		}
		n, err := strconv.ParseUint(digits, base, 32)
		if _, day := time.Parse("20060102", s); day == nil {
			err = errors.New("a day")
		}
		if err != nil || n > certadm.MaxLogGeneration {
			return Until{}, fmt.Errorf("%q is neither a generation (26, 0001a, 0x1a) nor a time (2026-03-14T09:15:00Z)", s)
		}
		g = uint32(n)
	}
	if g == 0 {
		return Until{}, fmt.Errorf("%q: generations begin at 1", s)
	}
	return Until{Generation: g}, nil
}

// TargetError is returned when a chain cannot be restored to where it was asked.
type TargetError struct {
	Asked Until
	// Earliest and Latest are the generations between which the answer must lie,
	// and when they were closed.
	Earliest, Latest             uint32
	EarliestClosed, LatestClosed time.Time
}

func (e *TargetError) Error() string {
	if e.Asked.Generation > e.Latest {
		return fmt.Sprintf("cannot restore until %v: the logs end at generation %s, closed %s", e.Asked, generation(e.Latest), when(e.LatestClosed))
	}
	return fmt.Sprintf("cannot restore until %v: the database was changing while it was copied, and is in order again from generation %s on, closed %s",
		e.Asked, generation(e.Earliest), when(e.EarliestClosed))
}

// Hint says what can be asked for.
func (e *TargetError) Hint() string {
	return fmt.Sprintf("the earliest target of this chain is --until %d (or %s), the latest %d (or %s); for less, take an older full set",
		e.Earliest, when(e.EarliestClosed), e.Latest, when(e.LatestClosed))
}

func when(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// target finds the generation that u means among logs in ascending order.
func (u Until) target(logs []cadb.LogInfo, earliest uint32) (cadb.LogInfo, error) {
	latest := logs[len(logs)-1]
	bad := &TargetError{Asked: u, Earliest: earliest, Latest: latest.Generation, LatestClosed: latest.Closed}
	var found cadb.LogInfo
	for _, l := range logs {
		if l.Generation == earliest {
			bad.EarliestClosed = l.Closed
		}
		switch {
		case u.Generation != 0 && l.Generation == u.Generation,
			!u.Time.IsZero() && !l.Closed.IsZero() && !l.Closed.After(u.Time),
			u.IsZero():
			found = l
		}
	}
	if found.Generation == 0 || found.Generation < earliest {
		return found, bad
	}
	return found, nil
}

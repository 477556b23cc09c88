package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/internal/eventlog"
)

// addEventLogFlag gives a verb --event-log.
func addEventLogFlag(f *pflag.FlagSet, on *bool) {
	f.BoolVar(on, "event-log", false, "on Windows: report the outcome to the event log (Application, source certkeep)")
}

// eventIDs are the events of a verb's outcomes.
type eventIDs struct{ done, partly, damage, failed eventlog.ID }

var (
	backupEvents  = eventIDs{eventlog.BackupConfirmed, eventlog.BackupInPart, eventlog.BackupFailed, eventlog.BackupFailed}
	verifyEvents  = eventIDs{eventlog.VerifyPassed, eventlog.VerifyFailed, eventlog.VerifyDamage, eventlog.VerifyFailed}
	drillEvents   = eventIDs{eventlog.DrillPassed, eventlog.DrillFailed, eventlog.DrillDamage, eventlog.DrillFailed}
	restoreEvents = eventIDs{eventlog.RestoreDone, eventlog.RestoreGap, eventlog.RestoreFailed, eventlog.RestoreFailed}
	keyEvents     = eventIDs{eventlog.KeyExported, eventlog.KeyExported, eventlog.KeyNotExported, eventlog.KeyNotExported}
)

func (ids eventIDs) of(exit int) eventlog.ID {
	switch exit {
	case exitOK:
		return ids.done
	case exitPartly:
		return ids.partly
	case exitDamage:
		return ids.damage
	}
	return ids.failed
}

// happening is what a verb tells of itself for the event log.
type happening struct {
	eventlog.Event
	more []eventlog.Event // beside the outcome
}

// reported runs a verb and, if asked to, reports its outcome to the event log. That
// an event cannot be written is said, and changes nothing: whoever watches the log
// misses the event.
func (c *console) reported(ctx context.Context, on bool, ids eventIDs, verb func(*happening) error) error {
	var h happening
	if !on {
		return verb(&h)
	}
	log, err := eventlog.Open()
	if errors.Is(err, errors.ErrUnsupported) {
		return usagef("--event-log: %w", err)
	}
	if err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	if r := log.Remark(); r != "" {
		c.say("event log: %s", r)
	}
	err = verb(&h)
	h.Exit = exitOf(ctx, err)
	h.ID = ids.of(h.Exit)
	if err != nil {
		h.What, h.Hint = oneLine(err.Error()), hintOf(err)
	}
	for _, e := range append([]eventlog.Event{h.Event}, h.more...) {
		if rerr := log.Report(e); rerr != nil {
			c.say("event log: event %d: %v", e.ID, rerr)
		}
	}
	return errors.Join(err, log.Close())
}

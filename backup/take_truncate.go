package backup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/certkeep/certkeep/backupset"
)

// truncate is step 11, moved behind the commit: what it deletes must be safe
// first. What is reported comes from the server's list of logs afterwards and
// never from what was asked for; certutil's word for it is known to be wrong at
// times.
func (t *taker) truncate(ctx context.Context) (tr backupset.Truncation, err error) {
	tr.Requested = true
	since, before := t.o.Now(), t.watch(ctx, &tr, nil)
	err = t.b.TruncateLogs(ctx)
	tr.Outcome = backupset.OutcomeOf(err)
	if err != nil {
		err = fmt.Errorf("the set is safe, but the logs were not truncated: %w", err)
	} else if err = t.listAgain(ctx, &tr); err != nil {
		return tr, err
	}
	if t.o.Logs != nil {
		t.readBack(ctx, &tr, since, before)
	}
	return tr, err
}

// listAgain asks the server which logs it still has.
func (t *taker) listAgain(ctx context.Context, tr *backupset.Truncation) (err error) {
	after, err := t.b.Logs(ctx)
	if err != nil {
		// The set is whole; only the count is unknown.
		tr.Outcome.Error = "truncated, but the logs could not be listed again: " + err.Error()
		return nil
	}
	if tr.Before, err = t.listed.LogGenerations(); err != nil {
		return err
	}
	if tr.After, err = after.LogGenerations(); err != nil {
		return err
	}
	tr.Removed = without(tr.Before, tr.After)
	return nil
}

// readBack looks at what the machine itself says: its log directory, and its log of
// events. Neither depends on the other, nor on what the server said.
func (t *taker) readBack(ctx context.Context, tr *backupset.Truncation, since time.Time, before backupset.Generations) {
	if before != nil {
		if left := t.watch(ctx, tr, before); left != nil {
			gone := tr.Removed // as the server has it
			tr.Removed = without(before, left)
			if stay := without(gone, without(gone, left)); len(stay) > 0 {
				tr.NotTruncated = true
				tr.Remarks = append(tr.Remarks, fmt.Sprintf("logs %v are still in the log directory, though the server lists them no longer", stay))
			}
		}
	}
	events, err := t.o.Logs.Events(ctx, since)
	tr.NotTruncated = tr.NotTruncated || len(events) > 0
	if err != nil {
		events = append(events, "the machine's event log could not be read: "+err.Error())
	}
	tr.Remarks = append(tr.Remarks, events[:min(len(events), maxEvents)]...)
}

// maxEvents bounds what is kept of an engine's events: they say the same.
const maxEvents = 20

// watch looks into the log directory, before the truncation (then before is nil) or
// after it. That it cannot be looked into is a remark.
func (t *taker) watch(ctx context.Context, tr *backupset.Truncation, before backupset.Generations) backupset.Generations {
	if t.o.Logs == nil {
		return nil
	}
	list, err := t.o.Logs.Generations(ctx)
	if err != nil {
		tr.Remarks = append(tr.Remarks, "the log directory could not be listed: "+err.Error())
		return nil
	}
	found := backupset.Generations(slices.Sorted(slices.Values(list)))
	found = slices.Compact(found)
	if found == nil {
		found = backupset.Generations{}
	}
	if before != nil {
		tr.InDirectory = &backupset.BeforeAfter{Before: before, After: found}
	}
	return found
}

// without is what of list is not in other.
func without(list, other backupset.Generations) (out backupset.Generations) {
	for _, g := range list {
		if !slices.Contains(other, g) {
			out = append(out, g)
		}
	}
	return out
}

// unusableError says why an incremental backup cannot be.
type unusableError struct{ reason string }

func unusable(reason string) error { return &unusableError{reason} }

func (e *unusableError) Error() string {
	return fmt.Sprintf("%v: %s", ErrUnusableParent, e.reason)
}

func (e *unusableError) Unwrap() error { return ErrUnusableParent }

// Hint is what the user can do about it.
func (e *unusableError) Hint() string { return "take a full backup: --type full" }

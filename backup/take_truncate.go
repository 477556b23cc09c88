package backup

import (
	"context"
	"fmt"
	"slices"

	"github.com/certkeep/certkeep/backupset"
)

// truncate is step 11, moved behind the commit: what it deletes must be safe
// first. What is reported comes from the server's list of logs afterwards and
// never from what was asked for; certutil's word for it is known to be wrong at
// times.
func (t *taker) truncate(ctx context.Context) (tr backupset.Truncation, err error) {
	tr.Requested = true
	since, watched := t.o.Now(), t.watch(ctx, &tr, nil)
	err = t.b.TruncateLogs(ctx)
	tr.Outcome = backupset.OutcomeOf(err)
	if err != nil {
		return tr, fmt.Errorf("the set is safe, but the logs were not truncated: %w", err)
	}
	after, err := t.b.Logs(ctx)
	if err != nil {
		// The set is whole; only the count is unknown.
		tr.Outcome.Error = "truncated, but the logs could not be listed again: " + err.Error()
		return tr, nil
	}
	if tr.Before, err = t.listed.LogGenerations(); err != nil {
		return tr, err
	}
	if tr.After, err = after.LogGenerations(); err != nil {
		return tr, err
	}
	tr.Removed = without(tr.Before, tr.After)
	if watched == nil {
		return tr, nil
	}
	if left := t.watch(ctx, &tr, watched); left != nil {
		tr.Removed = without(watched, left)
		gone := without(tr.Before, tr.After) // as the server has it
		if stay := without(gone, without(gone, left)); len(stay) > 0 {
			tr.Remarks = append(tr.Remarks, fmt.Sprintf("logs %v are still in the log directory, though the server lists them no longer", stay))
		}
	}
	events, err := t.o.Logs.Events(ctx, since)
	if err != nil {
		events = append(events, "the machine's event log could not be read: "+err.Error())
	}
	tr.Remarks = append(tr.Remarks, events[:min(len(events), maxEvents)]...)
	return tr, nil
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

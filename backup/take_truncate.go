package backup

import (
	"context"
	"fmt"

	"github.com/certkeep/certkeep/backupset"
)

// truncate is step 11, moved behind the commit: what it deletes must be safe
// first. What is reported comes from the server's list of logs afterwards and
// never from what was asked for; certutil's word for it is known to be wrong at
// times.
func (t *taker) truncate(ctx context.Context) (tr backupset.Truncation, err error) {
	tr.Requested = true
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
	left := map[uint32]bool{}
	for _, g := range tr.After {
		left[g] = true
	}
	for _, g := range tr.Before {
		if !left[g] {
			tr.Removed = append(tr.Removed, g)
		}
	}
	return tr, nil
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

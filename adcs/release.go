package adcs

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ChangedError names the values that Release left, because somebody had changed
// them.
type ChangedError struct {
	Names []string
	Kept  string // the file that has the values from before Withhold
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: %v; left as they are", strings.Join(e.Names, ", "), ErrChanged)
}

// Is makes errors.Is(err, [ErrChanged]) work.
func (e *ChangedError) Is(target error) bool { return target == ErrChanged }

// Hint says how to bring back what was there before.
func (e *ChangedError) Hint() string {
	return fmt.Sprintf(`look at them with certutil -getreg CA\%s; reg import "%s" brings back what was there before the restore`, strings.Join(e.Names, `, CA\`), e.Kept)
}

// Release implements [backup.Controller]: it puts back exactly what Withhold saved.
// A value that is no longer as Withhold set it is somebody's decision: it is left,
// and the error, after all else is done, is a [ChangedError]. Released is released
// all the same: a second Release does nothing. The file for reg import then keeps its
// name until the next Withhold; else it gets another.
func (h *Host) Release(ctx context.Context) error {
	st, found, err := h.withheld()
	if err != nil || !found {
		return err
	}
	var changed []string
	for _, v := range st.Values {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := h.current(v.Name)
		if err != nil {
			return err
		}
		switch {
		case v.Before.equals(n):
			continue // reg import, or an interrupted Release
		case !v.During.equals(n):
			changed = append(changed, v.Name)
			continue
		case v.Before == nil:
			err = h.sys.remove(h.key(), v.Name)
		default:
			err = h.sys.set(h.key(), v.Before.value(v.Name))
		}
		if err != nil {
			return fmt.Errorf(`HKLM\%s, %s: %w`, h.key(), v.Name, err)
		}
	}
	if err := h.sys.flush(h.key()); err != nil {
		return fmt.Errorf(`HKLM\%s: %w`, h.key(), err)
	}
	if _, err := h.retire(withheldFile); err != nil {
		return err
	}
	if len(changed) > 0 {
		// What Withhold said of the way back is still to work.
		kept, err := h.statePath(undoFile)
		return errors.Join(&ChangedError{Names: changed, Kept: kept}, err)
	}
	// It must not lie about for somebody to undo later changes with.
	_, err = h.retire(undoFile)
	return err
}

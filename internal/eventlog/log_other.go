//go:build !windows

package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Log is certkeep's event source.
type Log struct{}

// Open fails with [errors.ErrUnsupported]: there is an event log on Windows only.
func Open() (*Log, error) { return nil, unsupported() }

// Remark is empty.
func (*Log) Remark() string { return "" }

// Report fails.
func (*Log) Report(Event) error { return unsupported() }

// Close does nothing.
func (*Log) Close() error { return nil }

// ESENT225 fails with [errors.ErrUnsupported].
func ESENT225(context.Context, time.Time) ([]Record, error) { return nil, unsupported() }

func unsupported() error {
	return fmt.Errorf("the event log is on Windows only: %w", errors.ErrUnsupported)
}

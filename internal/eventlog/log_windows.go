package eventlog

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows/registry"
	winlog "golang.org/x/sys/windows/svc/eventlog"
)

// Log is certkeep's event source.
type Log struct {
	log    *winlog.Log
	remark string
}

const sourceKey = `SYSTEM\CurrentControlSet\Services\EventLog\Application\` + Source

// Open opens the source, and registers it first where it is not. An account that
// may not do that can report all the same; see [Log.Remark].
func Open() (*Log, error) {
	remark := ""
	if err := register(); err != nil {
		remark = fmt.Sprintf("the event source %q is not registered (%v): the events come with a text that says so; "+
			"an administrator's first run with --event-log registers it", Source, err)
	}
	l, err := winlog.Open(Source)
	if err != nil {
		return nil, fmt.Errorf("open event source %q: %w", Source, err)
	}
	return &Log{log: l, remark: remark}, nil
}

// register takes EventCreate.exe as the source's message file, which is part of
// Windows, so that there is nothing to install beside certkeep.exe.
func register() error {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, sourceKey, registry.QUERY_VALUE)
	if err == nil {
		return k.Close()
	}
	if !errors.Is(err, registry.ErrNotExist) {
		return err
	}
	return winlog.InstallAsEventCreate(Source, winlog.Info|winlog.Warning|winlog.Error)
}

// Remark says what is not as it should be, though reporting works; empty if
// nothing is.
func (l *Log) Remark() string { return l.remark }

// Report writes an event.
func (l *Log) Report(e Event) error {
	text, err := e.Text()
	if err != nil {
		return err
	}
	kind, _ := KindOf(e.ID)
	write := l.log.Info
	switch kind.Level {
	case Warning:
		write = l.log.Warning
	case Error:
		write = l.log.Error
	}
	if err := write(uint32(e.ID), text); err != nil {
		return fmt.Errorf("report event %d: %w", e.ID, err)
	}
	return nil
}

// Close ends reporting.
func (l *Log) Close() error {
	if err := l.log.Close(); err != nil {
		return fmt.Errorf("close event source: %w", err)
	}
	return nil
}

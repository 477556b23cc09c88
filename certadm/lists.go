package certadm

import (
	"context"
	"errors"
	"fmt"
)

// Locations returns the database locations of the authority behind svc, without
// a session where the server can do that ([Lister]), else with one of its own,
// in which nothing is read and nothing truncated.
func Locations(ctx context.Context, svc Service) (FileList, error) {
	if l, ok := svc.(Lister); ok {
		return l.DatabaseLocations(ctx)
	}
	return inSession(ctx, svc, Backup.DatabaseLocations)
}

// Dynamic returns the names of the authority's dynamic files, as [Locations]
// does the locations.
func Dynamic(ctx context.Context, svc Service) ([]string, error) {
	if l, ok := svc.(Lister); ok {
		return l.DynamicFiles(ctx)
	}
	return inSession(ctx, svc, Backup.DynamicFiles)
}

// inSession calls list in a session made for it. The session is an incremental
// one if the server lets it be, because a server might take a full session for
// a full backup however little was read in it.
func inSession[L any](ctx context.Context, svc Service, list func(Backup, context.Context) (L, error)) (L, error) {
	var none L
	b, err := svc.BackupPrepare(ctx, BackupLogsOnly)
	if err != nil && incrementalOnly(err) {
		b, err = svc.BackupPrepare(ctx, BackupFull)
	}
	if err != nil {
		return none, err
	}
	l, err := list(b, ctx)
	// The session has to end even when ctx was cancelled meanwhile.
	if end := b.End(context.WithoutCancel(ctx)); end != nil {
		err = errors.Join(err, fmt.Errorf("ending the session: %w", end))
	}
	if err != nil {
		return none, err
	}
	return l, nil
}

// incrementalOnly reports whether a failure of BackupPrepare concerns
// incremental backups alone.
func incrementalOnly(err error) bool {
	switch CodeOf(err) {
	case HrMissingFullBackup, HrFullBackupNotTaken, HrIncrementalBackupDisabled, HrInvalidBackup, HrCircularLogging:
		return true
	}
	return false
}

package backup

import (
	"context"

	"github.com/certkeep/certkeep/certadm"
)

// Target is an authority that is to be restored: a Service, and what a restore
// needs beside it. The service is stopped; RestorePrepare and the calls after
// it must work all the same.
type Target interface {
	// Service is the authority's own; Close is left to whoever made it.
	Service() certadm.Service

	// Identity names the authority. Its certificate decides whether a set is
	// this authority's.
	Identity(ctx context.Context) (certadm.Identity, error)

	// Locations is where the authority keeps its database, logs and checkpoint
	// now, as UNC names. The service's own answer needs a running one.
	Locations(ctx context.Context) (certadm.FileList, error)

	// LocalPath is the file on this machine that a UNC name of the authority
	// stands for. Names of other machines, or outside what the authority
	// keeps, are refused.
	LocalPath(unc string) (string, error)

	// SetAside moves what is in the active database and log directories out of
	// the way, and deletes nothing. It is done once, durably, and may be
	// repeated after an interruption.
	SetAside(ctx context.Context) (Displaced, error)

	// RecordGap makes the authority remember the gap, durably and before
	// anything is registered, so that it publishes no CRL that forgets a
	// revocation, and no number twice. It is called for an empty gap as well.
	RecordGap(ctx context.Context, g Gap) error
}

// Displaced says what a restore moved out of the way, and where it is now.
type Displaced struct {
	Dir   string   `json:"dir,omitempty"` // empty if there was nothing to move
	Files []string `json:"files,omitempty"`
}

// Controller is implemented by a Target whose service a restore stops and starts
// itself, as that of this Windows machine. Each method may be repeated after an
// interruption.
type Controller interface {
	// Withhold keeps the authority, durably, from publishing CRLs and from issuing
	// when it is next started: it may publish as it starts, and a CRL made from
	// an old database brings revoked certificates back to life. The service must be
	// told before it is stopped, so that it cannot come up in between.
	Withhold(ctx context.Context) (Withheld, error)

	// Release takes back what Withhold did, with effect from the next start of the
	// service.
	Release(ctx context.Context) error

	// StopService returns when the service has stopped; one that is stopped is left
	// so.
	StopService(ctx context.Context) error

	// StartService starts the service and returns when it answers, recovery
	// included. An error has the service's own exit code in it.
	StartService(ctx context.Context) error
}

// Remarker is implemented by a [Controller] that has more to tell.
type Remarker interface {
	// Remarks says what did not go as it should have, and was no reason to fail.
	Remarks() []string

	// StoppedDependents names the services that were stopped with the authority's
	// and have not been started again.
	StoppedDependents() []string
}

// Withheld says what [Controller.Withhold] did, and how a person undoes it.
type Withheld struct {
	What []string `json:"what"` // in words, for the report
	Undo []string `json:"undo"` // commands, in order
}

// LogKeeper is implemented by a Target whose engine goes on, as it recovers, into
// logs that follow those of the sets.
type LogKeeper interface {
	// NewerLogs returns the paths of the logs in d that come after a generation
	// and follow each other, in their order, the open one last. stopped says why
	// there are no more of them, if there are more files.
	NewerLogs(ctx context.Context, d Displaced, after uint32) (paths []string, stopped string, err error)
}

// Speller is implemented by a Target that has more than one name for a place, or
// that lets its operator say where a saved place is to be now.
type Speller interface {
	// LocationsLike is Locations, where a saved name that leads to the same place
	// is kept as it is, so that the restore map says one name twice.
	LocationsLike(ctx context.Context, saved certadm.RestoreMap) (certadm.FileList, error)
}

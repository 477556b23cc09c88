package repo

import (
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// What goes wrong with repositories. Errors of sets are those of package backupset.
var (
	// ErrNoRepository: nothing there is a repository. Exit code 10.
	ErrNoRepository = errors.New("no repository")
	// ErrKey: none of the keys at hand opens what is needed. Exit code 12.
	ErrKey = seal.ErrKey
	// ErrNoIdentity: reading what sets hold takes a restore identity. Exit code 12.
	ErrNoIdentity = fmt.Errorf("%w: a restore identity is needed", backupset.ErrSealed)
	// ErrNoHost: writing takes the key of a host that is enrolled. Exit code 12.
	ErrNoHost = errors.New("the key of an enrolled host is needed")
	// ErrRole: the host's certificate does not allow that.
	ErrRole = errors.New("this host is not allowed to do that")
	// ErrNewer: a newer version of certkeep wrote it.
	ErrNewer = journal.ErrNewer
	// ErrRolledBack: the repository is not what this machine saw before.
	ErrRolledBack = errors.New("the repository was rolled back or replaced")
	// ErrClock: this machine's clock is behind what it wrote earlier.
	ErrClock = errors.New("the clock went backwards")
	// ErrNoted: an object that must be stored is there already, nothing refers to it, and a prune has noted it as
	// dead: another may delete it at any moment.
	ErrNoted = errors.New("it is there already, and a prune has noted it as dead")
	// ErrLease: the run was held up for so long that a prune need not respect it any more.
	ErrLease = errors.New("the lease of this run has expired")
)

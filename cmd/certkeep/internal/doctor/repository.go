package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
)

// The names of a repository's checks; those of its store come from package blob.
const (
	checkStore      = "store"
	checkRepository = "repository"
	checkJournals   = "journals"
	checkHostKey    = "host key"
	checkIdentity   = "restore identity"
	checkRecipients = "restore recipients"
)

// RepositoryOptions are the options of Repository.
type RepositoryOptions struct {
	Address string // as the user wrote it

	// Store opens the store, and Open the repository in it, with the keys at hand.
	Store func(ctx context.Context) (blob.Store, error)
	Open  func(ctx context.Context, s blob.Store) (*repo.Repository, error)

	// Identity says where a restore identity is named on this machine; empty if none is.
	Identity string

	Observe func(Check) // hears of each check; may be nil
}

// Repository examines a repository: whether this machine can write to it, and how well what
// is in it is protected. The error is that of ctx.
func Repository(ctx context.Context, o RepositoryOptions) (*Report, error) {
	x := newExamination(o.Address, o.Observe, checkStore, checkRepository, checkJournals, checkHostKey, checkRecipients, checkIdentity)
	s, err := o.Store(ctx)
	if err != nil {
		x.fail(checkStore, err, hint.Of(err))
		return x.finish("the store cannot be reached"), ctx.Err()
	}
	x.good(checkStore, s.Location())
	x.protection(ctx, s)
	r, err := o.Open(ctx, s)
	if err != nil {
		x.fail(checkRepository, err, hint.Of(err))
		return x.finish("there is no repository that can be opened"), ctx.Err()
	}
	x.good(checkRepository, "id "+r.ID())
	x.journals(r)
	x.hostKey(r)
	x.keys(r, o.Identity)
	return x.finish("not reached"), ctx.Err()
}

// protection asks the store how well it keeps what it is given.
func (x *examination) protection(ctx context.Context, s blob.Store) {
	findings, err := blob.Check(ctx, s)
	if err != nil {
		x.warn("protection", err.Error(), hint.Of(err))
	}
	for _, f := range findings {
		if f.OK {
			x.good(f.Code, f.Text)
		} else {
			x.warn(f.Code, f.Text, f.Hint)
		}
	}
}

func (x *examination) journals(r *repo.Repository) {
	problems := r.Problems()
	if len(problems) == 0 {
		x.good(checkJournals, "signed, and without a gap")
		return
	}
	x.fail(checkJournals, errors.Join(problems...), `docs/repository-format.md, "Rolled back", says what to do`)
}

func (x *examination) hostKey(r *repo.Repository) {
	me, err := r.Me()
	switch {
	case err != nil:
		x.fail(checkHostKey, err, hint.Of(err))
	case !slices.Contains(me.Roles, repo.RoleBackup):
		x.fail(checkHostKey, fmt.Errorf("host %s: %w: it may not write sets", me.Name, repo.ErrRole), "certkeep host add, with --identity, enrolls one that may")
	case slices.Contains(me.Roles, repo.RoleRetention):
		x.warn(checkHostKey, fmt.Sprintf("%q may write sets, and forget them", me.Name),
			"a host that only takes backups should be enrolled with --append-only, so that whoever steals it cannot forget any")
	default:
		x.good(checkHostKey, fmt.Sprintf("%q may write sets, and not forget any", me.Name))
	}
}

func (x *examination) keys(r *repo.Repository, identity string) {
	var kinds []string
	for _, rc := range r.Recipients() {
		kinds = append(kinds, rc.Kind)
	}
	if len(kinds) == 1 {
		x.warn(checkRecipients, "one, "+kinds[0]+": if its identity is lost, so is everything", "certkeep recipient add gives another one access")
	} else {
		x.good(checkRecipients, fmt.Sprintf("%d: %s", len(kinds), strings.Join(kinds, ", ")))
	}
	if identity != "" {
		x.warn(checkIdentity, "this machine can read what it stores: "+identity, "keep the identity off the machine that takes backups")
		return
	}
	x.good(checkIdentity, "none is named on this machine: it cannot read what it stores")
}

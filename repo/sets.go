package repo

import (
	"context"
	"time"

	"github.com/certkeep/certkeep/backupset"
)

// SetInfo is what a repository knows of a set beyond what a Store lists.
type SetInfo struct {
	backupset.Entry
	Author string // the id of the host that wrote it, or "root"
	Host   string // the host's name
	// Standing says that the author is in good standing: certified, and not revoked before it
	// wrote the set.
	Standing bool
	// Hidden says that the keys of its authority are not at hand: only sizes and times are
	// known, and Entry has no manifest.
	Hidden bool
	CA     string // id of the authority's keys
	Bytes  int64  // of the set's files
	New    int64  // of these, what was not stored before
	Stored int64  // what the set added to the repository
	At     time.Time
	// Proofs are what verification has shown, by level.
	Proofs map[string]Proof
}

// Proof is the outcome of verifying a set at one level.
type Proof struct {
	// At is when the set was last found good as a whole: the earliest time of those that its
	// shares were read at. Zero if a share was never read.
	At time.Time
	// Parts of Of shares have been read.
	Parts, Of int
	// Failed is when damage was found, zero if none was, or the set was found good since.
	Failed time.Time
}

// Sets lists the sets with what is known of them, oldest first.
func (r *Repository) Sets(ctx context.Context) ([]SetInfo, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	s := r.now()
	var live []*storedSet
	for _, set := range s.sets {
		if set.live() {
			live = append(live, set)
		}
	}
	entries, hidden, err := r.entries(ctx, live)
	if err != nil {
		return nil, err
	}
	proofs := s.proven()
	out := make([]SetInfo, len(live))
	for i, set := range live {
		out[i] = SetInfo{Entry: entries[i], Author: set.author, Host: s.hostName(set.author), Standing: true, Hidden: hidden[i],
			CA: set.CA, Bytes: set.Bytes, New: set.New, Stored: set.Stored, At: set.stored, Proofs: proofs[set.name()]}
	}
	return out, nil
}

func (s *state) hostName(author string) string {
	if h := s.hosts[author]; h != nil {
		return h.Name
	}
	return author
}

// StoredBy is how many bytes a set added to the repository, as last read; 0 if it is not there.
func (r *Repository) StoredBy(id string) int64 {
	for _, s := range r.now().find(id) {
		return s.Stored
	}
	return 0
}

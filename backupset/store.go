package backupset

import (
	"context"
	"io"
	"strings"
)

// Store keeps sets. Package backupsettest holds the suite that every Store
// passes. A Store may be used by several goroutines, and by several processes.
type Store interface {
	// Create begins a new set. Nothing of it is visible before Commit. A Store
	// that names its sets refuses a name that is taken, unless Force is given
	// (ErrExists, or what certutil would say); it says so here, before anything
	// is copied.
	Create(ctx context.Context, o CreateOptions) (Writer, error)

	// List lists the sets, oldest first. A set that cannot be read is listed
	// with its error. Sets being written are not listed.
	List(ctx context.Context) ([]Entry, error)

	// Open opens a set by its id, or by its name where sets have names; an id
	// goes first. ErrNotFound if there is none, ErrDamaged if its manifest is,
	// ErrNewer if it cannot be understood.
	Open(ctx context.Context, id string) (Set, error)

	// PutReceipt stores a set's receipt durably, in place of any earlier one.
	// SetID and ManifestSHA256 are filled in if empty, and must fit if not.
	PutReceipt(ctx context.Context, id string, r Receipt) error
}

// CreateOptions are the options of Store.Create.
type CreateOptions struct {
	// Name is the set's name, for a Store that names sets; others ignore it.
	Name string
	// Force replaces a set of that name, when the new one is committed.
	Force bool
	// CA is the authority the set is taken from, as far as it is known. A Store that
	// keeps keys for each authority needs it; others ignore it.
	CA CA
}

// Writer is a set being written. Files may be written one after another or at
// the same time. After any failure Commit fails as well.
type Writer interface {
	// CreateFile adds a file. The name is checked by ValidateName; size is the
	// length to come, or -1 if unknown; a different length fails in Close. The
	// context governs the writes. What was written is durable after Commit,
	// not after Close, but an error of Close must not be ignored.
	CreateFile(ctx context.Context, role Role, name string, size int64) (io.WriteCloser, error)

	// Commit makes the set durable and visible as a whole, or fails. The
	// manifest must be valid and list exactly the files that were created, with
	// their sizes; its SHA256 is filled in. The hashes are the caller's, see
	// Copy. After an error that came too late to be undone, the set may be
	// visible; it is then whole, and unconfirmed.
	Commit(ctx context.Context, m *Manifest) error

	// Abort drops the set. After Commit it does nothing, so that it can be
	// deferred.
	Abort() error
}

// Set is a set in a Store.
type Set interface {
	ID() string
	// Location says where the set is, for people.
	Location() string
	Manifest() *Manifest
	// Receipt returns the set's receipt. Without one the error is an
	// ErrUnconfirmed; a receipt that is damaged, or of another manifest, is an
	// ErrDamaged.
	Receipt() (*Receipt, error)
	// Open opens a file of the set: Role and Name count. ErrNotFound if it is
	// missing. Neither size nor hash is checked. The context governs reading.
	Open(ctx context.Context, f File) (ReadAtCloser, error)
	// Extra names what lies in the set's place without belonging to it, such
	// as files that a user has added. Not an error.
	Extra(ctx context.Context) ([]string, error)
}

// ReadAtCloser is an open file of a set.
type ReadAtCloser interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Size() int64
}

// Entry is a line of Store.List.
type Entry struct {
	ID       string    // empty if the manifest cannot be read
	Name     string    // what else Open takes; may be empty
	Location string    // for people
	Manifest *Manifest // nil if it cannot be read
	Receipt  *Receipt  // nil if there is none, or none that can be used

	// Confirmed says that the receipt is there, fits, and is good.
	Confirmed bool

	// SignedBy is the machine that signed the set, where the Store has checked that.
	SignedBy string

	// Err says what is wrong: with the manifest if that is nil, else with the
	// receipt. A receipt that is merely missing is no error.
	Err error
}

// State is "confirmed", "unconfirmed" or "damaged".
func (e Entry) State() string {
	switch {
	case e.Err != nil:
		return "damaged"
	case e.Confirmed:
		return "confirmed"
	}
	return "unconfirmed"
}

// Key is what Store.Open takes for the set: its id, or its name if it has none.
func (e Entry) Key() string {
	if e.ID != "" {
		return e.ID
	}
	return e.Name
}

// Label is the name of the set for messages.
func (e Entry) Label() string {
	for _, s := range []string{e.ID, e.Name, e.Location} {
		if s != "" {
			return s
		}
	}
	return "unknown set"
}

// Sort puts entries into the order of List: by the set's start, then by id and
// name; those without a manifest come last.
func Sort(entries []Entry) { sortEntries(entries) }

func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

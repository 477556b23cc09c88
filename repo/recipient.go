package repo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// Kinds of restore recipients.
const (
	KindX25519     = "x25519"
	KindHybrid     = "hybrid" // X25519 and ML-KEM: also against a quantum computer
	KindPassphrase = "passphrase"
	KindPlugin     = "plugin" // hardware, by a program age-plugin-NAME
)

// Recipient is somebody whose identity opens the repository.
type Recipient struct {
	ID      string // in the repository; filled in
	Kind    string
	Public  string // its public key; empty for a passphrase
	Comment string

	age age.Recipient
}

// NewRecipient makes a recipient of its age form: Public as age prints it, for example
// "age1…". age turns it into what encrypts.
func NewRecipient(public, comment string, to age.Recipient) Recipient {
	kind := KindPlugin
	switch to.(type) {
	case *age.X25519Recipient:
		kind = KindX25519
	case *age.HybridRecipient:
		kind = KindHybrid
	case *age.ScryptRecipient:
		kind, public = KindPassphrase, ""
	}
	return Recipient{Kind: kind, Public: public, Comment: comment, age: to}
}

// seal seals the repository's identities to a recipient. That may be a program, which may fail: so it is done before
// anything is stored.
func (rc Recipient) seal(identities []byte) ([]byte, error) {
	b, err := seal.Encrypt(identities, rc.age)
	if err != nil {
		return nil, fmt.Errorf("recipient %s: %w", rc.name(), err)
	}
	return b, nil
}

func (r *Repository) putSlot(ctx context.Context, rc Recipient, epoch int, sealed []byte) (slotRecord, error) {
	ref, err := r.putMeta(ctx, sealed)
	if err != nil {
		return slotRecord{}, err
	}
	if rc.ID == "" {
		rc.ID = newID()
	}
	return slotRecord{typeSlot, rc.ID, epoch, rc.Kind, rc.Public, rc.Comment, ref}, nil
}

func (rc Recipient) name() string {
	if rc.Public != "" {
		return rc.Public
	}
	return rc.Kind
}

// Recipients are those whose identities open the repository as it is now.
func (r *Repository) Recipients() []Recipient {
	var out []Recipient
	for _, slot := range r.now().openers() {
		out = append(out, Recipient{ID: slot.ID, Kind: slot.Kind, Public: slot.Recipient, Comment: slot.Comment})
	}
	return out
}

// formatIdentities is the repository's keys as text, the newest first.
func formatIdentities(keys []age.Identity) []byte {
	var b bytes.Buffer
	for _, id := range keys {
		fmt.Fprintf(&b, "%s\n", id.(*age.X25519Identity))
	}
	return b.Bytes()
}

func parseIdentities(b []byte) ([]age.Identity, error) {
	var out []age.Identity
	for line := range strings.Lines(string(b)) {
		id, err := age.ParseX25519Identity(strings.TrimSpace(line))
		if err != nil {
			return nil, errors.New("a line is no key")
		}
		out = append(out, id)
	}
	if len(out) == 0 {
		return nil, errors.New("there is none")
	}
	return out, nil
}

// AddRecipient lets another identity open the repository, all that is in it already included.
// It takes a restore identity.
func (r *Repository) AddRecipient(ctx context.Context, rc Recipient) error {
	if r.rootKey == nil {
		return ErrNoIdentity
	}
	if rc.Public != "" && slices.ContainsFunc(r.Recipients(), func(o Recipient) bool { return o.Public == rc.Public }) {
		return fmt.Errorf("recipient %s: %w", rc.Public, backupset.ErrExists)
	}
	sealed, err := rc.seal(formatIdentities(r.data))
	if err != nil {
		return err
	}
	return r.during(ctx, func(l *lease) error {
		rec, err := r.putSlot(ctx, rc, r.now().epoch().Epoch, sealed)
		if err == nil {
			err = l.good(ctx)
		}
		if err == nil {
			_, err = r.appendAs(ctx, journal.Root, r.rootKey, nil, rec)
		}
		return err
	})
}

// RemoveRecipient takes a recipient out, and gives the repository a new key, sealed to
// those who stay. What was stored until now remains readable to whoever had the old one.
// again gives the recipients that stay in a form that encrypts; for a passphrase that is
// the passphrase once more.
func (r *Repository) RemoveRecipient(ctx context.Context, id string, again func(Recipient) (age.Recipient, error)) error {
	if r.rootKey == nil {
		return ErrNoIdentity
	}
	var stay []Recipient
	found := false
	for _, rc := range r.Recipients() {
		if rc.ID == id || rc.Public == id {
			found = true
			continue
		}
		to, err := again(rc)
		if err != nil {
			return fmt.Errorf("recipient %s: %w", rc.name(), err)
		}
		rc.age = to
		stay = append(stay, rc)
	}
	switch {
	case !found:
		return fmt.Errorf("recipient %.80q: %w", id, backupset.ErrNotFound)
	case len(stay) == 0:
		return hint.With(errors.New("it is the last recipient: nobody could read the repository"), "add another first")
	}
	return r.during(ctx, func(l *lease) error {
		records, err := r.newEpoch(ctx, r.now().epoch().Epoch+1, stay)
		if err == nil {
			err = l.good(ctx)
		}
		if err == nil {
			_, err = r.appendAs(ctx, journal.Root, r.rootKey, nil, records...)
		}
		return err
	})
}

// newEpoch makes a new repository key for recipients.
func (r *Repository) newEpoch(ctx context.Context, epoch int, to []Recipient) ([]any, error) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	data := append([]age.Identity{key}, r.data...)
	sealed := make([][]byte, len(to))
	for i, rc := range to {
		if sealed[i], err = rc.seal(formatIdentities(data)); err != nil {
			return nil, err
		}
	}
	ref, err := r.putSealed(ctx, []byte(hex.EncodeToString(r.rootKey.Seed())), key.Recipient())
	if err != nil {
		return nil, err
	}
	records := []any{keyRecord{typeKey, epoch, key.Recipient().String(), ref}}
	for i, rc := range to {
		rec, err := r.putSlot(ctx, rc, epoch, sealed[i])
		if err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
	r.data = data
	return records, nil
}

// InitOptions are the options of [Init].
type InitOptions struct {
	// Recipients are those who will be able to restore.
	Recipients []Recipient
	// Host is the name of this machine, which is enrolled at once; empty enrolls none.
	Host string
	// Roles of the host; nil is all of them.
	Roles []string
}

// Init makes a repository in an empty place, and returns the key of the host that is
// enrolled with it. The root key exists only within Init, and sealed to the recipients.
func Init(ctx context.Context, o Options, io InitOptions) (*HostKey, error) {
	if len(io.Recipients) == 0 {
		return nil, errors.New("a repository that nobody could restore from")
	}
	if err := vacant(ctx, o); err != nil {
		return nil, err
	}
	root, rootKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	r := newRepository(o)
	r.id, r.root, r.rootKey = newID(), root, rootKey
	records, err := r.newEpoch(ctx, 1, io.Recipients)
	if err != nil {
		return nil, err
	}
	var h *HostKey
	if io.Host != "" {
		var rec hostRecord
		if h, rec, err = r.newHost(io.Host, io.Roles); err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
	return h, r.found(ctx, records)
}

// vacant refuses a place that is taken.
func vacant(ctx context.Context, o Options) error {
	_, err := readAnnouncement(ctx, o.Blob)
	if err == nil {
		return fmt.Errorf("%s: a repository: %w", o.Blob.Location(), backupset.ErrExists)
	}
	if !errors.Is(err, ErrNoRepository) {
		return err
	}
	for info, err := range o.Blob.List(ctx, journal.Dir) {
		if err != nil {
			return err
		}
		return hint.With(fmt.Errorf("%s: a repository was begun here, and not finished: there is %s", o.Blob.Location(), info.Key),
			"empty the place, or choose another")
	}
	return nil
}

// found writes the root's first entry, and then says that there is a repository.
func (r *Repository) found(ctx context.Context, records []any) error {
	j := &journal.Journal{Author: journal.Root}
	if _, err := j.Append(ctx, r.blob, r.id, r.rootKey, r.o.Now(), r.putOptions(), records...); err != nil {
		return err
	}
	return r.announce(ctx)
}

package repo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// Options are the options of [Open].
type Options struct {
	Blob blob.Store

	// Host is the key of this machine, for writing; and for reading manifests.
	Host *HostKey
	// SaveHost keeps the host's key when an authority was added to it, durably and before
	// the keys are used. Where another process has added the same authority meanwhile, it
	// merges: see [HostKey.Merge].
	SaveHost func(*HostKey) error

	// Identities open what sets hold: those of a restore recipient.
	Identities []age.Identity

	// Memory remembers the newest entries seen, so that a repository that was rolled
	// back is noticed. May be nil.
	Memory Memory

	// Root is the repository's root key, hexadecimal, as init said it; empty if nobody remembers.
	// A restore identity tells who can read a repository, not who wrote it: without Root, a host's
	// key or a Memory, one that somebody else made for the same recipients looks genuine.
	Root string

	// OwnSets lists only sets that this host wrote: those are what an incremental set may
	// continue. A host that was stolen could publish sets that others would rely on.
	OwnSets bool

	// RetainUntil asks the store to refuse deleting what is written before that time. Zero
	// means nothing is asked.
	RetainUntil time.Time

	// Uploads is how many packs are stored at once; 0 means 4. Each takes the memory of a pack.
	Uploads int

	Now func() time.Time // the host's clock; nil is time.Now
}

// Heads are the newest entry of each author's journal.
type Heads map[string]journal.Head

// Memory keeps heads between runs.
type Memory interface {
	Load() (Heads, error)
	Save(Heads) error
}

// announcement is the object that says that here is a repository.
type announcement struct {
	Format     string `json:"format"`
	Version    int    `json:"version"`
	Repository string `json:"repository"`
	Root       string `json:"root"` // Ed25519, hexadecimal
}

func (a *announcement) encode() ([]byte, error) {
	b, err := json.MarshalIndent(a, "", "  ")
	return append(b, '\n'), err
}

const (
	announceKey    = "certkeep-repository.json"
	announceFormat = "certkeep repository"
)

// Repository is an open repository. It is a backupset.Store, and may be used by several
// goroutines.
type Repository struct {
	blob     blob.Store
	o        Options
	id       string
	root     ed25519.PublicKey
	rootKey  ed25519.PrivateKey // with a restore identity
	hostKey  ed25519.PrivateKey // with a host key
	data     []age.Identity     // of the repository, with a restore identity
	packs    *packs
	segments *segmentCache
	inUse    inUse

	mu        sync.Mutex
	journals  map[string]*journal.Journal
	strangers []error // of journals of nobody whom the root has certified
	state     *state
	caKeys    map[string]*caKeys // by id; nil for those that nothing at hand opens
	seen      map[string]uint64  // entries that are known to be there, by author

	manifests map[Ref]*backupset.Manifest

	appending sync.Mutex
}

var _ backupset.Store = (*Repository)(nil)

// Open opens a repository with what keys are at hand: with none, only sizes and hashes
// can be looked at; with a host's, sets of its authorities are listed and written; with a
// restore identity, everything is read.
func Open(ctx context.Context, o Options) (*Repository, error) {
	r := newRepository(o)
	a, err := readAnnouncement(ctx, o.Blob)
	if err != nil {
		return nil, err
	}
	r.id = a.Repository
	if r.root, err = publicKey(a.Root); err != nil {
		return nil, fmt.Errorf("%s: %w: %v", announceKey, backupset.ErrDamaged, err)
	}
	if o.Root != "" && !strings.EqualFold(o.Root, a.Root) {
		return nil, fmt.Errorf("%s: %w: it has another root key", o.Blob.Location(), ErrRolledBack)
	}
	if h := o.Host; h != nil {
		if h.Repository != r.id {
			return nil, hint.With(fmt.Errorf("%s: %w: it has the id %s, and this host is enrolled in %s", o.Blob.Location(), ErrNoHost, r.id, h.Repository),
				"name the key of this repository, or enroll this host in it")
		}
		if h.Root != a.Root {
			return nil, fmt.Errorf("%s: %w: it has another root key than when this host was enrolled", o.Blob.Location(), ErrRolledBack)
		}
		if r.hostKey, err = h.key(); err != nil {
			return nil, err
		}
	}
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	if len(o.Identities) > 0 {
		if err := r.unlock(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func newRepository(o Options) *Repository {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Uploads <= 0 {
		o.Uploads = 4
	}
	r := &Repository{blob: o.Blob, o: o, journals: map[string]*journal.Journal{}, caKeys: map[string]*caKeys{}, seen: map[string]uint64{}, manifests: map[Ref]*backupset.Manifest{}}
	r.packs = &packs{r: r, headers: map[pack.ID]*header{}}
	r.segments = newSegmentCache(segmentCacheSize)
	return r
}

func readAnnouncement(ctx context.Context, s blob.Store) (*announcement, error) {
	b, err := s.Get(ctx, announceKey, 0, -1)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, hint.With(fmt.Errorf("%s: %w", s.Location(), ErrNoRepository), "certkeep init makes one")
	}
	if err != nil {
		return nil, err
	}
	var a announcement
	if err := json.Unmarshal(b, &a); err != nil || a.Format != announceFormat {
		return nil, fmt.Errorf("%s: %s: %w", s.Location(), announceKey, backupset.ErrDamaged)
	}
	if a.Version > schema {
		return nil, hint.With(fmt.Errorf("%s: format %d: %w", s.Location(), a.Version, ErrNewer), "update certkeep")
	}
	// It is in nobody's hash: so no byte of it may be another.
	if again, err := a.encode(); err != nil || a.Version != schema || !validID(a.Repository) || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%s: %s: %w", s.Location(), announceKey, backupset.ErrDamaged)
	}
	return &a, nil
}

// refresh reads what was added to the journals.
func (r *Repository) refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, err := r.recall() // before the list is asked for: what others have seen since may not be in it
	if err != nil {
		return err
	}
	for author, head := range seen {
		r.seen[author] = max(r.seen[author], head.Seq)
	}
	found, err := journal.List(ctx, r.blob)
	if err != nil {
		return err
	}
	read := func(author string, key ed25519.PublicKey, until uint64) (*journal.Journal, error) {
		var have []*journal.Entry
		if j := r.journals[author]; j != nil {
			have = j.Entries
		}
		return journal.Read(ctx, r.blob, r.id, author, key, found[author], have, min(r.seen[author], until))
	}
	root, err := read(journal.Root, r.root, math.MaxUint64)
	if err != nil {
		return err
	}
	if err := newer(root); err != nil {
		return err
	}
	s := foldRoot(root)
	if s.epoch() == nil {
		return fmt.Errorf("%s: journal of root: %w: it names no key", r.blob.Location(), errors.Join(append(root.Problems, backupset.ErrDamaged)...))
	}
	r.strangers = nil
	journals := map[string]*journal.Journal{journal.Root: root}
	for author := range r.seen {
		if _, ok := found[author]; !ok && s.hosts[author] != nil {
			found[author] = nil // the listing is behind, or it was deleted
		}
	}
	for author := range found {
		h := s.hosts[author]
		switch {
		case author == journal.Root:
			continue
		case h == nil:
			r.strangers = append(r.strangers, fmt.Errorf("journal of %.40q: the root has certified nobody of that name", author))
			continue
		}
		key, err := publicKey(h.Key)
		if err != nil {
			return err
		}
		if h.gone != nil { // what it wrote after that is nobody's concern
			last := h.gone.Last
			found[author] = slices.DeleteFunc(found[author], func(i blob.Info) bool {
				_, seq, _ := journal.ParseKey(i.Key)
				return seq > last.Seq
			})
			j, err := read(author, key, last.Seq)
			if err != nil {
				return err
			}
			journals[author] = j.Until(last)
			continue
		}
		if journals[author], err = read(author, key, math.MaxUint64); err != nil {
			return err
		}
	}
	if me := r.o.Host; me != nil && journals[me.Host] != nil {
		if err := newer(journals[me.Host]); err != nil {
			return err
		}
	}
	r.take(s, journals)
	if err := r.compare(seen); err != nil {
		return err
	}
	return r.remember()
}

// take makes journals those that count; the root's is folded already. r.mu is held.
func (r *Repository) take(s *state, journals map[string]*journal.Journal) {
	s.problems = append(s.problems, r.strangers...)
	fold(s, slices.Collect(maps.Values(journals)))
	r.journals, r.state = journals, s
}

// written takes an entry that this machine has added to a journal, without reading it again.
func (r *Repository) written(j *journal.Journal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.journals[j.Author]; now != nil && now.Head().Seq >= j.Head().Seq {
		return nil // somebody has read it meanwhile
	}
	journals := maps.Clone(r.journals)
	journals[j.Author] = j
	r.take(foldRoot(journals[journal.Root]), journals)
	return r.remember()
}

// newer says that a newer version wrote in a journal. That matters for the root's and for one's own: in
// another host's it is a problem of that host, which must not lock everybody else out.
func newer(j *journal.Journal) error {
	for _, err := range j.Problems {
		if errors.Is(err, ErrNewer) {
			return hint.With(err, "update certkeep")
		}
	}
	return nil
}

// recall is what was seen of the repository before; nil if nobody has seen it.
func (r *Repository) recall() (Heads, error) {
	if r.o.Memory == nil {
		return nil, nil
	}
	heads, err := r.o.Memory.Load()
	if err != nil {
		return nil, fmt.Errorf("what was seen of the repository before: %w", err)
	}
	return heads, nil
}

// compare compares the journals with what was seen before they were listed. r.mu is held.
func (r *Repository) compare(seen Heads) error {
	for author, head := range seen {
		if h := r.state.hosts[author]; h != nil && h.gone != nil && head.Seq > h.gone.Last.Seq {
			continue // what was seen counts no more
		}
		j := r.journals[author]
		if j == nil {
			j = &journal.Journal{Author: author}
		}
		if err := j.Check(head); err != nil {
			return hint.With(fmt.Errorf("%s: %w: %w", r.blob.Location(), ErrRolledBack, err),
				"docs/repository-format.md, \"Rolled back\", says what to do")
		}
	}
	return nil
}

// remember keeps what is seen now. Where another process on this machine has seen more meanwhile, that stays. r.mu is held.
func (r *Repository) remember() error {
	if r.o.Memory == nil {
		return nil
	}
	heads, err := r.recall()
	if err != nil {
		return err
	}
	changed := heads == nil
	if changed {
		heads = Heads{}
	}
	for author, j := range r.journals {
		if h := r.state.hosts[author]; h != nil && h.gone != nil {
			continue
		}
		if head := j.Head(); head.Seq > heads[author].Seq {
			heads[author], changed = head, true
		}
	}
	if !changed {
		return nil
	}
	return r.o.Memory.Save(heads)
}

// now is the state as last read.
func (r *Repository) now() *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// unlock opens the repository's keys with the restore identities.
func (r *Repository) unlock(ctx context.Context) error {
	ids, others := askedOf(r.o.Identities)
	for _, slot := range r.now().openers() {
		b, err := r.getMeta(ctx, slot.Object)
		if err != nil {
			return fmt.Errorf("restore recipient %s: %w", slot.ID, err)
		}
		plain, err := seal.Decrypt(b, ids...)
		if errors.Is(err, ErrKey) {
			continue
		}
		if err != nil {
			return damage(fmt.Errorf("restore recipient %s: %w", slot.ID, err))
		}
		return r.unlocked(ctx, plain)
	}
	for _, o := range others {
		if o.failed != nil {
			return fmt.Errorf("%s: restore identity: %w", r.blob.Location(), o.failed)
		}
	}
	return hint.With(fmt.Errorf("%s: %w: the identity is none of its restore recipients", r.blob.Location(), ErrKey),
		"certkeep recipient list shows whose identities open it")
}

func (r *Repository) unlocked(ctx context.Context, plain []byte) error {
	keys, err := parseIdentities(plain)
	if err != nil {
		return fmt.Errorf("repository key: %w: %v", backupset.ErrDamaged, err)
	}
	b, err := r.getSealed(ctx, r.now().epoch().RootSeed, seal.LimitSmall, keys...)
	if err != nil {
		return fmt.Errorf("root seed: %w", err)
	}
	seed, err := hex.DecodeString(string(b))
	if err != nil || len(seed) != ed25519.SeedSize {
		return fmt.Errorf("root seed: %w", backupset.ErrDamaged)
	}
	key := ed25519.NewKeyFromSeed(seed)
	if !r.root.Equal(key.Public()) {
		return fmt.Errorf("%s: %w: its root key is not the one that its restore key stands for", r.blob.Location(), ErrRolledBack)
	}
	r.rootKey, r.data = key, keys
	return nil
}

// recipient is the key that packs are sealed to now.
func (r *Repository) recipient() (*age.X25519Recipient, error) {
	to, err := age.ParseX25519Recipient(r.now().epoch().Recipient)
	if err != nil {
		return nil, fmt.Errorf("repository key: %w: %v", backupset.ErrDamaged, err)
	}
	return to, nil
}

// Root is the root's public key, hexadecimal: what to remember of a repository.
func (r *Repository) Root() string { return hex.EncodeToString(r.root) }

// ID is the repository's id.
func (r *Repository) ID() string { return r.id }

// Location says where the repository is, for people.
func (r *Repository) Location() string { return r.blob.Location() }

// Problems are what is wrong with the journals: entries that are missing, damaged,
// replaced, or of nobody in good standing.
func (r *Repository) Problems() []error { return slices.Clone(r.now().problems) }

// Readable reports whether a restore identity was given, so that the contents of
// sets can be read.
func (r *Repository) Readable() bool { return len(r.data) > 0 }

// keysOf are the keys of an authority, from the host's key or by the restore identity; nil if
// neither opens them.
func (r *Repository) keysOf(ctx context.Context, ca string) (*caKeys, error) {
	r.mu.Lock()
	k, ok := r.caKeys[ca]
	s := r.state
	r.mu.Unlock()
	if ok {
		return k, nil
	}
	if r.o.Host != nil {
		for _, c := range r.o.Host.all() {
			if c.ID == ca {
				k, err := c.open()
				if err == nil {
					r.keepKeys(ca, k)
				}
				return k, err
			}
		}
	}
	rec := s.cas[ca]
	if len(r.data) == 0 || rec == nil {
		return nil, nil
	}
	c, err := r.openCA(ctx, rec)
	if err != nil {
		return nil, err
	}
	k, err = c.open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backupset.ErrDamaged, err)
	}
	r.keepKeys(ca, k)
	return k, nil
}

func (r *Repository) keepKeys(ca string, k *caKeys) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caKeys[ca] = k
}

// openCA opens the keys of an authority with the repository's key.
func (r *Repository) openCA(ctx context.Context, rec *caRecord) (*CAKeys, error) {
	b, err := r.getSealed(ctx, rec.Object, seal.LimitSmall, r.data...)
	if err != nil {
		return nil, fmt.Errorf("keys of authority %s: %w", rec.CA, err)
	}
	var c CAKeys
	if err := json.Unmarshal(b, &c); err != nil || c.ID != rec.CA {
		return nil, fmt.Errorf("keys of authority %s: %w", rec.CA, backupset.ErrDamaged)
	}
	return &c, nil
}

// author is who this machine signs as: its host, or the root.
func (r *Repository) author() (string, ed25519.PrivateKey, error) {
	if r.hostKey != nil {
		h := r.now().hosts[r.o.Host.Host]
		switch {
		case h == nil:
			return "", nil, fmt.Errorf("%w: the root has not certified %s", ErrNoHost, r.o.Host.Host)
		case h.gone != nil:
			return "", nil, fmt.Errorf("%w: host %s was revoked", ErrNoHost, h.Name)
		}
		return r.o.Host.Host, r.hostKey, nil
	}
	if r.rootKey != nil {
		return journal.Root, r.rootKey, nil
	}
	return "", nil, hint.With(ErrNoHost, "certkeep host add enrolls one, with the restore identity")
}

// role checks that this machine may do something.
func (r *Repository) role(role string) error {
	author, _, err := r.author()
	if err != nil {
		return err
	}
	if author != journal.Root && !r.now().hosts[author].may(role) {
		return fmt.Errorf("%w: it has no role %q", ErrRole, role)
	}
	return nil
}

// appendAs writes an entry into the journal of an author. If there is a check, the journals are read and
// it is called before each try; otherwise the entry goes behind what was last read, and
// only if that is not the newest they are read again.
func (r *Repository) appendAs(ctx context.Context, author string, key ed25519.PrivateKey, check func(*state) error, records ...any) (*journal.Entry, error) {
	r.appending.Lock()
	defer r.appending.Unlock()
	for try := 0; ; try++ {
		if check != nil || try > 0 {
			if err := r.refresh(ctx); err != nil {
				return nil, err
			}
		}
		r.mu.Lock()
		j, s := r.journals[author], r.state
		r.mu.Unlock()
		if j == nil {
			j = &journal.Journal{Author: author}
		}
		if h := s.hosts[author]; h != nil && h.gone != nil {
			return nil, fmt.Errorf("%w: host %s was revoked", ErrNoHost, h.Name)
		}
		if check != nil {
			if err := check(s); err != nil {
				return nil, err
			}
		}
		// A copy: the journal that was read stays as it was if this fails.
		next := &journal.Journal{Author: author, Entries: slices.Clone(j.Entries), Problems: j.Problems}
		e, err := next.Append(ctx, r.blob, r.id, key, r.o.Now(), r.putOptions(), records...)
		if errors.Is(err, blob.ErrExists) && try < 100 {
			r.saw(author, j.Head().Seq+1)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("journal of %s: %w", author, err)
		}
		r.saw(author, e.Seq)
		if author != journal.Root {
			return e, r.written(next)
		}
		// Of whom to read what follows from the root's journal.
		// It is written: losing interest now must not look as if it were not.
		lctx, done := lingering(ctx)
		defer done()
		return e, r.refresh(lctx)
	}
}

// saw notes that an author has an entry of that number.
func (r *Repository) saw(author string, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[author] = max(r.seen[author], seq)
}

// append writes an entry in the name of this machine.
func (r *Repository) append(ctx context.Context, check func(*state) error, records ...any) (*journal.Entry, error) {
	author, key, err := r.author()
	if err != nil {
		return nil, err
	}
	return r.appendAs(ctx, author, key, check, records...)
}

// putOptions are for entries of journals, whose time counts.
func (r *Repository) putOptions() blob.PutOptions {
	return blob.PutOptions{RetainUntil: r.o.RetainUntil}
}

// put stores an object whose time nobody asks for.
func (r *Repository) put(ctx context.Context, key string, data []byte) error {
	o := r.putOptions()
	o.Untimed = true
	_, err := r.blob.Put(ctx, key, data, o)
	return err
}

// isDamage recognises what the packages beneath call damaged.
func isDamage(err error) bool {
	for _, e := range []error{seal.ErrDamaged, pack.ErrDamaged, chunklist.ErrDamaged, journal.ErrDamaged} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Peek is the id of the repository in a store. ErrNoRepository if there is none.
func Peek(ctx context.Context, s blob.Store) (id string, err error) {
	a, err := readAnnouncement(ctx, s)
	if err != nil {
		return "", err
	}
	return a.Repository, nil
}

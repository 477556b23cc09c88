package repo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// state is what the journals say, folded from the first entry to the last. It is
// never changed: reading again makes a new one.
type state struct {
	epochs   []keyRecord // in order
	slots    []slotRecord
	hosts    map[string]*host
	cas      map[string]*caRecord
	sets     []*storedSet // by author and entry, forgotten ones too
	partials []*partial
	proofs   []*proof
	moved    map[pack.ID][]pack.ID
	mark     *mark // the newest note of what is dead
	problems []error
}

type host struct {
	hostRecord
	gone *hostGoneRecord
}

func (h *host) may(role string) bool { return slices.Contains(h.Roles, role) }

// published says where in the journals a record stands.
type published struct {
	author string
	seq    uint64
	stored time.Time // the store's clock
	hash   string    // of the entry
}

type storedSet struct {
	published
	setRecord
	now       objects // where its chunks are now
	before    []replaced
	receipt   *receiptRecord
	forgotten time.Time // by the store's clock; zero if it is not
	withdrawn bool
}

// replaced is where a set's chunks were until a prune rewrote them.
type replaced struct {
	objects
	at time.Time // by the store's clock
}

func (s *storedSet) name() setName { return setName{s.author, s.Set, s.seq} }

// refs are the objects of metadata that the set consists of.
func (s *storedSet) refs() []Ref {
	refs := append(s.now.refs(), s.Manifest)
	if s.receipt != nil {
		refs = append(refs, s.receipt.Object)
	}
	return refs
}

func (s *storedSet) live() bool { return s.forgotten.IsZero() && !s.withdrawn }

type partial struct {
	published
	partialRecord
}

type proof struct {
	published
	proofRecord
}

// folder folds journals.
type folder struct {
	*state
	byName  map[setName][]*storedSet // in order: a set that was given up may be published again
	caSince map[string]time.Time     // when the keys of an authority were published
}

// foldRoot folds the root's journal, which comes first: it says who the hosts are.
func foldRoot(j *journal.Journal) *state {
	s := &state{hosts: map[string]*host{}, cas: map[string]*caRecord{}, moved: map[pack.ID][]pack.ID{}}
	s.problems = append(s.problems, j.Problems...)
	for _, e := range j.Entries {
		for _, raw := range e.Records {
			if err := s.rootRecord(raw); err != nil {
				s.problems = append(s.problems, fmt.Errorf("journal of root: entry %d: %w", e.Seq, err))
			}
		}
	}
	return s
}

func typeOf(raw json.RawMessage) string {
	var r struct {
		Type string `json:"type"`
	}
	_ = json.Unmarshal(raw, &r) // of no known type, then
	return r.Type
}

func (s *state) rootRecord(raw json.RawMessage) error {
	switch typeOf(raw) {
	case typeKey:
		return read(raw, func(r keyRecord) error {
			if r.Epoch != len(s.epochs)+1 {
				return fmt.Errorf("repository key %d follows %d", r.Epoch, len(s.epochs))
			}
			s.epochs = append(s.epochs, r)
			return nil
		})
	case typeSlot:
		return read(raw, func(r slotRecord) error { s.slots = append(s.slots, r); return nil })
	case typeSlotGone:
		return read(raw, func(r slotGoneRecord) error {
			s.slots = slices.DeleteFunc(s.slots, func(o slotRecord) bool { return o.ID == r.ID })
			return nil
		})
	case typeHost:
		return read(raw, func(r hostRecord) error {
			if _, err := publicKey(r.Key); err != nil || !validID(r.Host) || s.hosts[r.Host] != nil {
				return fmt.Errorf("host %.40q cannot be", r.Host)
			}
			s.hosts[r.Host] = &host{hostRecord: r}
			return nil
		})
	case typeHostGone:
		return read(raw, func(r hostGoneRecord) error {
			// Again only as of an earlier entry: what counted for nothing stays so.
			if h := s.hosts[r.Host]; h != nil && (h.gone == nil || r.Last.Seq < h.gone.Last.Seq) {
				h.gone = &r
			}
			return nil
		})
	}
	return nil
}

func read[R any](raw json.RawMessage, use func(R) error) error {
	var r R
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	return use(r)
}

// fold folds all journals; root's is among them, because it may hold sets as well.
func fold(s *state, journals []*journal.Journal) {
	f := &folder{s, map[setName][]*storedSet{}, map[string]time.Time{}}
	slices.SortFunc(journals, func(a, b *journal.Journal) int { return strings.Compare(a.Author, b.Author) })
	for _, pass := range []func(string, *journal.Entry, json.RawMessage) error{f.first, f.second} {
		for _, j := range journals {
			f.entries(j, pass)
		}
	}
	f.once()
	for _, j := range journals {
		if j.Author != journal.Root {
			s.problems = append(s.problems, j.Problems...)
		}
	}
	slices.SortStableFunc(s.sets, func(a, b *storedSet) int {
		if c := strings.Compare(a.Set, b.Set); c != 0 {
			return c
		}
		return strings.Compare(a.author, b.author)
	})
}

func (f *folder) entries(j *journal.Journal, pass func(string, *journal.Entry, json.RawMessage) error) {
	for _, e := range j.Entries {
		for _, raw := range e.Records {
			if err := pass(j.Author, e, raw); err != nil {
				f.problems = append(f.problems, fmt.Errorf("journal of %s: entry %d: %w", j.Author, e.Seq, err))
			}
		}
	}
}

func (f *folder) allowed(author, role string) bool {
	h := f.hosts[author]
	return author == journal.Root || h != nil && h.may(role)
}

// first folds what stands for itself.
func (f *folder) first(author string, e *journal.Entry, raw json.RawMessage) error {
	at := published{author, e.Seq, e.Stored, e.Hash}
	switch typeOf(raw) {
	case typeCA:
		return read(raw, func(r caRecord) error {
			// The oldest counts: nobody knows the id of an authority before whoever made
			// it has published it, so a later record is somebody's attempt to replace the keys.
			if t, ok := f.caSince[r.CA]; f.allowed(author, RoleBackup) && (!ok || e.Stored.Before(t)) {
				f.cas[r.CA], f.caSince[r.CA] = &r, e.Stored
			}
			return nil
		})
	case typeSet:
		return read(raw, func(r setRecord) error {
			s := &storedSet{published: at, setRecord: r, now: r.objects}
			if f.allowed(author, RoleBackup) {
				n := setName{Author: author, Set: s.Set}
				f.byName[n] = append(f.byName[n], s)
				f.sets = append(f.sets, s)
			}
			return nil
		})
	case typePartial:
		return read(raw, func(r partialRecord) error { f.partials = append(f.partials, &partial{at, r}); return nil })
	case typeMoved:
		return read(raw, func(r movedRecord) error {
			if !f.allowed(author, RoleRetention) {
				return nil
			}
			return f.move(&r)
		})
	case typeMark:
		return read(raw, func(r markRecord) error {
			if f.allowed(author, RoleRetention) && (f.mark == nil || f.mark.stored.Before(e.Stored)) {
				f.mark = &mark{at, r}
			}
			return nil
		})
	}
	return nil
}

// second folds what is about a set, whoever's journal the set is in.
func (f *folder) second(author string, e *journal.Entry, raw json.RawMessage) error {
	switch typeOf(raw) {
	case typeWithdrawn:
		return read(raw, func(r withdrawnRecord) error {
			if s := f.of(setName{Author: author, Set: r.Set}, e); s != nil {
				s.withdrawn = true
				if s.forgotten.IsZero() {
					s.forgotten = e.Stored
				}
			}
			return nil
		})
	case typeReceipt:
		return read(raw, func(r receiptRecord) error {
			if s := f.of(setName{Author: author, Set: r.Set}, e); s != nil {
				s.receipt = &r // the last one counts
			}
			return nil
		})
	case typeProof:
		return read(raw, func(r proofRecord) error {
			f.proofs = append(f.proofs, &proof{published{author, e.Seq, e.Stored, e.Hash}, r})
			return nil
		})
	case typeForget:
		return read(raw, func(r forgetRecord) error {
			if !f.allowed(author, RoleRetention) {
				return fmt.Errorf("it forgets sets, and this host may not")
			}
			for _, n := range r.Sets {
				if s := f.of(n, e); s != nil && s.forgotten.IsZero() {
					s.forgotten = e.Stored
				}
			}
			return nil
		})
	case typeLayout:
		return read(raw, func(r layoutRecord) error {
			if s := f.of(r.Set, e); s != nil && author == journal.Root && (r.Of == "" || r.Of == s.hash) {
				s.before = append(s.before, replaced{s.now, e.Stored})
				s.now = r.objects
			}
			return nil
		})
	}
	return nil
}

// of is the set that an entry is about: the one it names, or the last of its author's own before
// it.
func (f *folder) of(n setName, e *journal.Entry) *storedSet {
	for _, s := range slices.Backward(f.byName[setName{Author: n.Author, Set: n.Set}]) {
		if n.Entry != 0 && s.seq == n.Entry || n.Entry == 0 && n.Author == e.Author && s.seq <= e.Seq {
			return s
		}
	}
	return nil
}

// once takes out sets that were published while their author had one of that name already.
func (f *folder) once() {
	for n, all := range f.byName {
		var first *storedSet
		for _, s := range all {
			if !s.live() {
				continue
			}
			if first == nil {
				first = s
				continue
			}
			f.problems = append(f.problems, fmt.Errorf("journal of %s: entry %d: set %.80q was there before", n.Author, s.seq, n.Set))
			f.sets = slices.DeleteFunc(f.sets, func(o *storedSet) bool { return o == s })
		}
	}
}

func (f *folder) move(r *movedRecord) error {
	var to []pack.ID
	for _, s := range r.To {
		id, err := pack.ParseID(s)
		if err != nil {
			return err
		}
		to = append(to, id)
	}
	for _, s := range r.From {
		id, err := pack.ParseID(s)
		if err != nil {
			return err
		}
		f.moved[id] = to
	}
	return nil
}

// epoch is the key that packs are sealed to now.
func (s *state) epoch() *keyRecord {
	if len(s.epochs) == 0 {
		return nil
	}
	return &s.epochs[len(s.epochs)-1]
}

// openers are the slots of the key that packs are sealed to now.
func (s *state) openers() (out []slotRecord) {
	for _, slot := range s.slots {
		if slot.Epoch == s.epoch().Epoch {
			out = append(out, slot)
		}
	}
	return out
}

// keyRefs are the objects without which nothing opens, whatever the sets.
func (s *state) keyRefs() []Ref {
	refs := []Ref{s.epoch().RootSeed}
	for _, slot := range s.openers() {
		refs = append(refs, slot.Object)
	}
	for _, ca := range s.cas {
		refs = append(refs, ca.Object)
	}
	return refs
}

// find finds the live sets of an id.
func (s *state) find(id string) (out []*storedSet) {
	for _, set := range s.sets {
		if set.Set == id && set.live() {
			out = append(out, set)
		}
	}
	return out
}

package repo_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// The claims of docs/security.md, "The repository", one by one.

// forge writes an entry as who has stolen a host's key would: with whatever records.
func forge(t testing.TB, s blob.Store, h *repo.HostKey, records ...any) {
	t.Helper()
	if err := forged(s, h, records...); err != nil {
		t.Fatal(err)
	}
}

func forged(s blob.Store, h *repo.HostKey, records ...any) error {
	ctx := context.Background()
	seed, err := hex.DecodeString(h.Seed)
	if err != nil {
		return err
	}
	key := ed25519.NewKeyFromSeed(seed)
	found, err := journal.List(ctx, s)
	if err != nil {
		return err
	}
	j, err := journal.Read(ctx, s, h.Repository, h.Host, key.Public().(ed25519.PublicKey), found[h.Host], nil, 0)
	if err != nil {
		return err
	}
	_, err = j.Append(ctx, s, h.Repository, key, time.Now(), blob.PutOptions{}, records...)
	return err
}

type record map[string]any

// recordsOf are the records of a host's journal of one type.
func recordsOf(t testing.TB, s blob.Store, author, kind string) []string {
	t.Helper()
	var out []string
	for _, key := range slices.Sorted(maps.Keys(snapshot(t, s))) {
		if a, _, ok := journal.ParseKey(key); !ok || a != author {
			continue
		}
		b, err := s.Get(context.Background(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		e, err := journal.Decode(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range e.Records {
			if strings.Contains(string(r), `"type":"`+kind+`"`) {
				out = append(out, string(r))
			}
		}
	}
	return out
}

// memory keeps heads.
type memory struct{ heads repo.Heads }

func (m *memory) Load() (repo.Heads, error)     { return maps.Clone(m.heads), nil }
func (m *memory) Save(h repo.Heads) error       { m.heads = maps.Clone(h); return nil }
func remembering(m *memory) func(*repo.Options) { return func(o *repo.Options) { o.Memory = m } }

// Who has the storage learns nothing of what sets hold: no content, no name of a file or an
// authority, and no hash that would confirm a guess.
func TestStorageLearnsNothing(t *testing.T) {
	_, store, sets := smallRepository(t)
	var secrets []string
	for _, s := range sets {
		secrets = append(secrets, s.Manifest.SHA256, s.Manifest.CA.Name, s.Manifest.CA.Host, s.Manifest.CA.CertificateSHA256, s.Manifest.Signature)
		for _, f := range s.Manifest.Files {
			secrets = append(secrets, f.Name, f.SHA256)
			if raw, err := hex.DecodeString(f.SHA256); err == nil {
				secrets = append(secrets, string(raw))
			}
			if c := s.Content(f); len(c) >= 16 && f.Name != "long.bin" { // that one is zeros
				secrets = append(secrets, string(c[:16]), string(c[len(c)-16:]))
			}
		}
	}
	for key, b := range snapshot(t, store) {
		for _, s := range secrets {
			if strings.Contains(b, s) || strings.Contains(key, s) {
				t.Errorf("%s has %q in it", key, s)
			}
		}
	}
	// What the storage does see: names of hosts, ids of sets, and when.
	all := strings.Join(slices.Collect(maps.Values(snapshot(t, store))), "")
	for _, s := range []string{`"name":"backup1"`, sets[0].Manifest.ID} {
		if !strings.Contains(all, s) {
			t.Errorf("%s is not to be seen; the documentation says it is", s)
		}
	}
}

// Who has a host, and with it the storage, reads manifests of its authorities, and nothing of
// what sets hold: none of the host's keys opens a segment.
func TestHostReadsNoContent(t *testing.T) {
	ctx := t.Context()
	w, store, sets := smallRepository(t)
	r := w.open(noIdentity)
	set, err := r.Open(ctx, sets[0].Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Open(ctx, set.Manifest().Files[0]); !errors.Is(err, repo.ErrNoIdentity) {
		t.Errorf("a host opens a file: %v", err)
	}
	var keys []age.Identity
	for _, ca := range w.host.CAs {
		id, err := age.ParseX25519Identity(ca.Metadata)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, id)
	}
	n := 0
	for key, b := range snapshot(t, store) {
		id, ok := pack.ParseKey(key)
		if !ok {
			continue
		}
		segments, _, err := pack.ParseHeader([]byte(b), id, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range segments {
			if _, err := seal.Open([]byte(b[s.Offset:s.Offset+s.Length]), seal.LimitSegment, keys...); !errors.Is(err, seal.ErrKey) {
				t.Errorf("segment %s: %v", s.ID, err)
			}
			n++
		}
	}
	if n == 0 || len(keys) == 0 {
		t.Errorf("%d segments, %d keys", n, len(keys))
	}
	// Nor can it enroll hosts, revoke them, let recipients in, or read authorities' keys.
	other, _ := age.GenerateX25519Identity()
	_, addErr := r.AddHost(ctx, "mine", nil)
	_, casErr := r.CAs(ctx)
	for what, err := range map[string]error{"AddHost": addErr, "CAs": casErr, "RevokeHost": r.RevokeHost(ctx, "backup1", "", 0),
		"AddRecipient": r.AddRecipient(ctx, recipient(other))} {
		if !errors.Is(err, repo.ErrNoIdentity) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A storage that shows an earlier state is found out by whoever remembers a later one; whoever
// remembers nothing cannot tell a journal whose end was cut off.
func TestCutOff(t *testing.T) {
	w, store, _ := smallRepository(t)
	m := &memory{}
	w.open(remembering(m))
	keys := slices.Sorted(maps.Keys(snapshot(t, store)))
	cut := 0
	for i := len(keys) - 1; i >= 0; i-- {
		if strings.HasPrefix(keys[i], "journal/"+w.host.Host) && lastOfHost(keys, i) {
			store.Replace(keys[i], nil)
			cut++
			break
		}
	}
	if cut == 0 {
		t.Fatal("nothing to cut off")
	}
	if _, err := w.try(remembering(m)); !errors.Is(err, repo.ErrRolledBack) {
		t.Errorf("with a memory: %v", err)
	}
	r, err := w.try(noHost)
	if err != nil || len(r.Problems()) > 0 {
		t.Errorf("without a memory something was noticed: %v; then the documentation is wrong", err)
	}
}

// Entries that are replaced by others, signed well by who stole a host's key, are found out by
// whoever remembers them; and by everybody if they are not the last.
func TestReplacedEntries(t *testing.T) {
	w, store, _ := smallRepository(t)
	m := &memory{}
	w.open(remembering(m))
	keys := slices.Sorted(maps.Keys(snapshot(t, store)))
	var mine []string
	for _, k := range keys {
		if strings.HasPrefix(k, "journal/"+w.host.Host) {
			mine = append(mine, k)
		}
	}
	was := snapshot(t, store)
	replace := func(from int) {
		for _, k := range mine[from:] {
			store.Replace(k, nil)
		}
		for range mine[from:] {
			forge(t, store, w.host, record{"type": "nothing"})
		}
	}
	replace(len(mine) - 1)
	if _, err := w.try(remembering(m)); !errors.Is(err, repo.ErrRolledBack) {
		t.Errorf("the last was replaced: %v", err)
	}
	if r := w.open(noHost); len(r.Problems()) > 0 {
		t.Errorf("noticed without a memory: %v", r.Problems())
	}
	for _, k := range mine {
		store.Replace(k, []byte(was[k]))
	}
	replaced := mine[1]
	store.Replace(replaced, nil)
	for _, k := range mine[2:] {
		store.Replace(k, nil)
	}
	forge(t, store, w.host, record{"type": "nothing"})
	for _, k := range mine[2:] {
		store.Replace(k, []byte(was[k]))
	}
	if r := w.open(noHost); len(r.Problems()) == 0 {
		t.Errorf("an entry within was replaced, and nobody notices")
	}
}

// A whole repository that somebody else made for the same recipients, which are no secret, opens
// with their identity. Who remembers the root key, has a host's key, or saw the real one before, is not
// taken in.
func TestForgedRepository(t *testing.T) {
	ctx := t.Context()
	w, _, _ := smallRepository(t)
	m := &memory{}
	real := w.open(remembering(m))
	fake := newTemp()
	public, err := age.ParseX25519Recipient(real.Recipients()[0].Public)
	if err != nil {
		t.Fatal(err)
	}
	h, err := repo.Init(ctx, repo.Options{Blob: fake}, repo.InitOptions{Host: "backup1",
		Recipients: []repo.Recipient{repo.NewRecipient(public.String(), "", public)}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := repo.Open(ctx, repo.Options{Blob: fake, Host: h})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, f, backupsettest.Full(1, 1, 10))
	if _, err := w.try(onBlob(fake), noHost); err != nil {
		t.Errorf("a restorer who remembers nothing notices: %v; then the documentation is wrong", err)
	}
	for what, change := range map[string]func(*repo.Options){
		"the root key": func(o *repo.Options) { o.Host, o.Root = nil, real.Root() },
		"a host's key": func(*repo.Options) {},
		"a memory":     func(o *repo.Options) { o.Host, o.Memory = nil, m },
	} {
		if _, err := w.try(onBlob(fake), change); !errors.Is(err, repo.ErrRolledBack) && !errors.Is(err, repo.ErrNoHost) {
			t.Errorf("with %s: %v", what, err)
		}
	}
	if _, err := w.try(func(o *repo.Options) { o.Root = real.Root() }); err != nil {
		t.Errorf("the real one: %v", err)
	}
}

// Objects that do not belong there are named or passed over. Those in journals have prunes
// refuse; none keeps a set from being restored.
func TestStrayObjects(t *testing.T) {
	ctx := t.Context()
	for key, stops := range map[string]bool{
		"something.else":                      false,
		"packs/00/" + strings.Repeat("0", 64): false,
		"packs/stray":                         false,
		"meta/00/" + strings.Repeat("0", 64):  false,
		"meta/stray":                          false,
		"leases/stray":                        false,
		"leases/root/0123456789abcdef-000001": false,
		"journal/0123456789abcdef/00000001":   true,
		"journal/root/00000099":               true,
		"journal/HOST/00000099":               true,
		"journal/stray":                       false,
	} {
		w, store, sets := smallRepository(t)
		key = strings.Replace(key, "HOST", w.host.Host, 1)
		store.Replace(key, []byte("stray\n"))
		r := w.open()
		restores(t, r, sets...)
		if got := len(r.Problems()) > 0; got != stops {
			t.Errorf("%s: problems %v", key, r.Problems())
		}
		_, err := r.Prune(ctx, repo.PruneOptions{})
		if (err != nil) != stops {
			t.Errorf("%s: prune: %v", key, err)
		}
		if stops && !strings.Contains(err.Error(), strings.Split(key, "/")[1]) {
			t.Errorf("%s: the error does not say where to look: %v", key, err)
		}
		next := backupsettest.Full(9, 9, 10)
		if err := put(ctx, w.open(), next); err != nil {
			t.Errorf("%s: backup: %v", key, err)
		}
	}
}

// twoHosts has a second host that backs up the same authority, and no other role.
func twoHosts(t testing.TB) (w *world, store *tempStore, stolen *repo.HostKey, sets []*backupsettest.Sample) {
	t.Helper()
	store = newTemp()
	w = newWorld(t, store)
	first := backupsettest.Full(1, 1, 60<<10)
	mustPut(t, w.open(), first)
	stolen = w.addHost("stolen", []string{repo.RoleBackup}, first.Manifest.CA.SanitizedName)
	return w, store, stolen, []*backupsettest.Sample{first}
}

// A stolen host's lists are not relied on: what it planted, though it has the ids of the very chunks that another
// host will store, is not used, and the other's set is whole.
func TestPlantedChunks(t *testing.T) {
	ctx := t.Context()
	w, _, stolen, sets := twoHosts(t)
	planted := laterSample(sets[0], 2)
	evil := w.open(asHost(stolen), noIdentity)
	mustPut(t, evil, planted)
	fresh := func(r *repo.Repository, s *backupsettest.Sample) int64 {
		t.Helper()
		infos, err := r.Sets(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range infos {
			if i.ID == s.Manifest.ID {
				return newOfDatabase(i, s)
			}
		}
		return 0
	}
	if n := fresh(evil, planted); n < 60<<10 {
		t.Errorf("the second host relied on the first: %d bytes were new to it", n)
	}
	// The honest host's own set goes, so that nobody else has the chunks.
	r := w.open()
	if err := r.Forget(ctx, sets[0].Manifest.ID); err != nil {
		t.Fatal(err)
	}
	next := laterSample(sets[0], 3)
	mustPut(t, r, next)
	if n := fresh(r, next); n < 60<<10 {
		t.Errorf("the first host relied on the second: %d bytes were new to it", n)
	}
}

// A host lists only its own sets if it is asked to, so that nobody has it continue another's.
func TestOwnSets(t *testing.T) {
	w, _, stolen, sets := twoHosts(t)
	mustPut(t, w.open(asHost(stolen)), laterSample(sets[0], 7))
	entries, err := w.open(func(o *repo.Options) { o.OwnSets = true }).List(t.Context())
	if err != nil || len(entries) != 1 || entries[0].ID != sets[0].Manifest.ID {
		t.Errorf("%v, %v", entries, err)
	}
}

// A host without the role forgets nothing: what it writes all the same counts for nothing, is
// reported, and has prunes refuse until it is revoked.
func TestForgetTakesRole(t *testing.T) {
	ctx := t.Context()
	w, store, stolen, sets := twoHosts(t)
	evil := w.open(asHost(stolen), noIdentity)
	if err := evil.Forget(ctx, sets[0].Manifest.ID); !errors.Is(err, repo.ErrRole) {
		t.Errorf("forget: %v", err)
	}
	if _, err := evil.Prune(ctx, repo.PruneOptions{}); !errors.Is(err, repo.ErrRole) {
		t.Errorf("prune: %v", err)
	}
	forge(t, store, stolen, record{"type": "forget", "sets": []record{{"author": w.host.Host, "set": sets[0].Manifest.ID}}})
	forge(t, store, stolen,
		record{"type": "withdrawn", "set": sets[0].Manifest.ID},
		record{"type": "layout", "set": record{"author": w.host.Host, "set": sets[0].Manifest.ID}, "layout": record{}, "table": record{}},
		record{"type": "receipt", "set": sets[0].Manifest.ID, "object": record{}},
		record{"type": "dead", "object": record{}}, record{"type": "moved", "from": []string{}, "to": []string{}})
	r := w.open()
	restores(t, r, sets...)
	if len(r.Problems()) == 0 {
		t.Error("it is not reported")
	}
	if _, err := r.Prune(ctx, repo.PruneOptions{}); err == nil {
		t.Error("prune relies on the journals")
	}
	if err := w.open(noHost).RevokeHost(ctx, "stolen", "stolen", 0); err != nil {
		t.Fatal(err)
	}
	if len(w.open().Problems()) == 0 {
		t.Error("what it wrote before it was revoked is not reported any more")
	}
	revoke(t, w, stolen)
	restores(t, w.open(), sets...)
}

// revoke revokes a host so that nothing it wrote counts: then nothing is left of what it did.
func revoke(t testing.TB, w *world, h *repo.HostKey) {
	t.Helper()
	ctx := context.Background()
	if err := w.open(noHost).RevokeHost(ctx, h.Host, "stolen", repo.NoEntry); err != nil {
		t.Fatal(err)
	}
	r := w.open()
	if p := r.Problems(); len(p) > 0 {
		t.Errorf("after it was revoked: %v", p)
	}
	if _, err := r.Prune(ctx, repo.PruneOptions{}); err != nil {
		t.Errorf("prune after it was revoked: %v", err)
	}
	sound(t, r)
	if _, err := w.open(asHost(h)).Create(ctx, backupset.CreateOptions{}); !errors.Is(err, repo.ErrNoHost) {
		t.Errorf("a revoked host writes: %v", err)
	}
	// Nor does what it writes by itself count.
	forge(t, w.blob, h, record{"type": "set", "ca": h.CAs[0].ID, "set": "20260101T000000.000Z-aaaaaaaaaa"})
	infos, err := w.open().Sets(ctx)
	if err != nil || slices.ContainsFunc(infos, func(i repo.SetInfo) bool { return i.Author == h.Host }) {
		t.Errorf("%+v, %v", infos, err)
	}
}

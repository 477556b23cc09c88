package repo_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// A set under the id of another host's is an error for whoever opens or forgets it, and leaves with
// the host that published it.
func TestSameID(t *testing.T) {
	ctx := t.Context()
	w, store, stolen, sets := twoHosts(t)
	id := sets[0].Manifest.ID
	var genuine record
	if err := json.Unmarshal([]byte(recordsOf(t, store, w.host.Host, "set")[0]), &genuine); err != nil {
		t.Fatal(err)
	}
	forge(t, store, stolen, genuine)
	r := w.open()
	if _, err := r.Open(ctx, id); !errors.Is(err, backupset.ErrAmbiguous) {
		t.Errorf("open: %v", err)
	}
	if err := r.Forget(ctx, id); !errors.Is(err, backupset.ErrAmbiguous) {
		t.Errorf("forget: %v", err)
	}
	revoke(t, w, stolen)
	restores(t, w.open(), sets...)
}

// Keys of an authority that a host publishes for one that is there already are not used.
func TestFakeAuthorityKeys(t *testing.T) {
	ctx := t.Context()
	// Whoever's id comes first: the order of hosts must not decide.
	for range 4 {
		w, store, stolen, sets := twoHosts(t)
		r := w.open(noHost)
		before, err := r.CAs(ctx)
		if err != nil || len(before) != 1 {
			t.Fatalf("%v, %v", before, err)
		}
		// A record that names an object of another authority, also readable with the repository's key.
		evil := w.open(asHost(stolen), noIdentity)
		other := backupsettest.Full(1, 1, 10)
		other.Manifest.CA.Name, other.Manifest.CA.SanitizedName = "Other", "Other"
		mustPut(t, evil, other)
		var rec record
		if err := json.Unmarshal([]byte(recordsOf(t, store, stolen.Host, "ca")[0]), &rec); err != nil {
			t.Fatal(err)
		}
		rec["ca"] = before[0].ID
		forge(t, store, stolen, rec)
		after, err := w.open(noHost).CAs(ctx)
		if err != nil || !slices.ContainsFunc(after, func(c repo.CAKeys) bool { return c == before[0] }) {
			t.Errorf("%v, %v", after, err)
		}
		restores(t, w.open(noHost), sets...)
	}
}

// An entry of a newer version in a host's journal, or anything else that is wrong there, does not lock others
// out: it is reported, and gone when the host is revoked.
func TestNewerEntryOfAHost(t *testing.T) {
	w, store, stolen, sets := twoHosts(t)
	b, err := store.Get(t.Context(), journal.Key(w.host.Host, 1), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	line, err := journal.Verify(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(line), `"schema":1`, `"schema":2`, 1)
	store.Replace(journal.Key(stolen.Host, 1), journal.Sign([]byte(newer), seedKey(t, stolen)))
	r := w.open()
	if p := r.Problems(); len(p) != 1 || !errors.Is(p[0], repo.ErrNewer) {
		t.Errorf("problems: %v", p)
	}
	restores(t, r, sets...)
	mustPut(t, r, laterSample(sets[0], 2))
	if _, err := w.try(asHost(stolen)); !errors.Is(err, repo.ErrNewer) {
		t.Errorf("the host itself goes on: %v", err)
	}
	store.Replace(journal.Key(stolen.Host, 2), []byte("nonsense\n"))
	if _, err := w.open().Prune(t.Context(), repo.PruneOptions{}); err == nil {
		t.Error("prune relies on it")
	}
	if err := w.open(noHost).RevokeHost(t.Context(), stolen.Host, "", repo.NoEntry); err != nil {
		t.Fatal(err)
	}
	r = w.open()
	if p := r.Problems(); len(p) > 0 {
		t.Errorf("after it was revoked: %v", p)
	}
	if _, err := r.Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Error(err)
	}
}

// After a host was revoked, who has its key and the storage cannot replace what it wrote before: the
// root has signed where its journal ended.
func TestRevokedJournalIsFixed(t *testing.T) {
	w, store, stolen, sets := twoHosts(t)
	theirs := laterSample(sets[0], 2)
	mustPut(t, w.open(asHost(stolen)), theirs)
	if err := w.open(noHost).RevokeHost(t.Context(), "stolen", "", 0); err != nil {
		t.Fatal(err)
	}
	r := w.open()
	restores(t, r, append(sets, theirs)...)
	if p := r.Problems(); len(p) > 0 {
		t.Fatal(p)
	}
	was := snapshot(t, store)
	n := uint64(0)
	for was[journal.Key(stolen.Host, n+1)] != "" {
		n++
		store.Replace(journal.Key(stolen.Host, n), nil)
	}
	for range n {
		forge(t, store, stolen, record{"type": "proof", "sets": []record{{"author": w.host.Host, "set": sets[0].Manifest.ID}}, "level": "content", "ok": true})
	}
	r = w.open()
	if len(r.Problems()) == 0 {
		t.Error("nobody notices")
	}
	infos, err := r.Sets(t.Context())
	if err != nil || len(infos) != 1 || len(infos[0].Proofs) > 0 {
		t.Errorf("what was replaced counts: %+v, %v", infos, err)
	}
	// One that is missing takes those before it along, until it is back.
	for k, b := range was {
		store.Replace(k, []byte(b))
	}
	store.Replace(journal.Key(stolen.Host, n), nil)
	if r := w.open(); len(r.Problems()) == 0 {
		t.Error("the last of a revoked host's journal is missing, and nobody notices")
	}
	store.Replace(journal.Key(stolen.Host, n), []byte(was[journal.Key(stolen.Host, n)]))
	restores(t, w.open(), append(sets, theirs)...)
}

// A host in good standing can claim that sets were verified; its claims leave with it.
func TestFakeProofs(t *testing.T) {
	w, store, stolen, sets := twoHosts(t)
	claim := record{"type": "proof", "sets": []record{{"author": w.host.Host, "set": sets[0].Manifest.ID}}, "level": "content", "ok": true}
	forge(t, store, stolen, claim)
	infos, err := w.open().Sets(t.Context())
	if err != nil || len(infos[0].Proofs) != 1 {
		t.Errorf("%+v, %v; then the documentation is wrong", infos, err)
	}
	revoke(t, w, stolen)
	if infos, err = w.open().Sets(t.Context()); err != nil || len(infos[0].Proofs) != 0 {
		t.Errorf("%+v, %v", infos, err)
	}
	// A receipt of another host's set, by whoever, does not confirm it.
	unconfirmed := laterSample(sets[0], 3)
	if err := unconfirmed.Put(t.Context(), w.open(), backupset.CreateOptions{CA: unconfirmed.Manifest.CA}); err != nil {
		t.Fatal(err)
	}
	second := w.addHost("second", []string{repo.RoleBackup}, sets[0].Manifest.CA.SanitizedName)
	if err := w.open(asHost(second)).PutReceipt(t.Context(), unconfirmed.Manifest.ID, unconfirmed.Receipt(true)); !errors.Is(err, repo.ErrRole) {
		t.Errorf("a receipt: %v", err)
	}
}

// Leases of a host in good standing hold prunes up; those of nobody, or of a revoked host, do not.
func TestFakeLeases(t *testing.T) {
	ctx := t.Context()
	w, store, stolen, sets := twoHosts(t)
	lease := func(h *repo.HostKey) {
		t.Helper()
		line, err := json.Marshal(record{"schema": 1, "repository": h.Repository, "author": h.Host, "run": "0123456789abcdef", "n": 1})
		if err != nil {
			t.Fatal(err)
		}
		store.Replace("leases/"+h.Host+"/0123456789abcdef-000001", journal.SignAs("certkeep lease 1\n", line, seedKey(t, h)))
	}
	waits := func() bool {
		t.Helper()
		res, err := w.open().Prune(ctx, repo.PruneOptions{Grace: repo.DefaultGrace})
		if err != nil {
			t.Fatal(err)
		}
		return res.Waiting > 0
	}
	lease(stolen)
	if !waits() {
		t.Error("a lease of a host in good standing holds nothing up")
	}
	lease(&repo.HostKey{Repository: w.host.Repository, Host: w.host.Host, Seed: stolen.Seed}) // in another's name
	if err := w.open(noHost).RevokeHost(ctx, stolen.Host, "", 0); err != nil {
		t.Fatal(err)
	}
	if waits() {
		t.Error("a lease that nobody in good standing signed holds prunes up")
	}
	restores(t, w.open(), sets...)
}

// What a stolen host says about where segments are, a copy does not rely on.
func TestCopyReliesOnNobody(t *testing.T) {
	ctx := t.Context()
	w, store, stolen, sets := twoHosts(t)
	dst := newTemp()
	if err := repo.InitLike(ctx, repo.Options{Blob: dst}, w.open()); err != nil {
		t.Fatal(err)
	}
	// In the other repository, the stolen host publishes a set that has the genuine one's table,
	// and a pack of that name that holds nothing of the kind.
	var rec record
	if err := json.Unmarshal([]byte(recordsOf(t, store, w.host.Host, "set")[0]), &rec); err != nil {
		t.Fatal(err)
	}
	for k, b := range snapshot(t, store) {
		switch {
		case strings.HasPrefix(k, "meta/"):
			dst.Replace(k, []byte(b))
		case strings.HasPrefix(k, "packs/"):
			garbage := []byte(b)
			for i := len(garbage) / 2; i < len(garbage); i++ {
				garbage[i] = 0
			}
			dst.Replace(k, garbage)
		}
	}
	rec["set"] = "20260101T000000.000Z-aaaaaaaaaa"
	forge(t, dst, stolen, rec)
	on := onBlob(dst)
	if _, err := repo.Copy(ctx, w.open(on), w.open(), []string{sets[0].Manifest.ID}, repo.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	restores(t, w.open(on), sets...)
}

// A new recipient reads everything; one that was removed keeps reading what was stored before,
// and nothing that came after.
func TestRecipientsCome(t *testing.T) {
	ctx := t.Context()
	w, store, sets := smallRepository(t)
	second, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	phrase, err := age.NewScryptRecipient("correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	phrase.SetWorkFactor(10)
	r := w.open(noHost)
	for _, rc := range []repo.Recipient{recipient(second), repo.NewRecipient(hybrid.Recipient().String(), "", hybrid.Recipient()), repo.NewRecipient("", "", phrase)} {
		if err := r.AddRecipient(ctx, rc); err != nil {
			t.Fatal(rc.Kind, err)
		}
	}
	if err := w.open(noHost).AddRecipient(ctx, recipient(second)); !errors.Is(err, backupset.ErrExists) {
		t.Errorf("the same once more: %v", err)
	}
	said, err := age.NewScryptIdentity("correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	for kind, id := range map[string]age.Identity{repo.KindX25519: second, repo.KindHybrid: hybrid, repo.KindPassphrase: said} {
		restores(t, w.open(noHost, with(id)), sets...)
		if !slices.ContainsFunc(w.open().Recipients(), func(rc repo.Recipient) bool { return rc.Kind == kind }) {
			t.Errorf("no recipient of kind %s", kind)
		}
	}
	old := store.Clone()
	again := func(rc repo.Recipient) (age.Recipient, error) {
		switch rc.Kind {
		case repo.KindPassphrase:
			return phrase, nil
		case repo.KindHybrid:
			return age.ParseHybridRecipient(rc.Public)
		}
		return age.ParseX25519Recipient(rc.Public)
	}
	if err := w.open(noHost).RemoveRecipient(ctx, second.Recipient().String(), again); err != nil {
		t.Fatal(err)
	}
	after := laterSample(sets[0], 8)
	mustPut(t, w.open(noIdentity), after)
	for _, id := range []age.Identity{w.identity, hybrid, said} {
		restores(t, w.open(noHost, with(id)), append(sets, after)...)
	}
	if _, err := w.try(noHost, with(second)); !errors.Is(err, repo.ErrKey) {
		t.Errorf("a removed recipient opens it: %v", err)
	}
	// With what it had, it reads the old state still, and manifests: the authorities' keys are the same.
	was := w.open(noHost, with(second), onBlob(old))
	restores(t, was, sets...)
	cas, err := was.CAs(ctx)
	if now, nerr := w.open(noHost).CAs(ctx); err != nil || nerr != nil || !slices.Equal(cas, now) {
		t.Errorf("%v, %v: the authorities' keys are others; then the documentation is wrong", err, nerr)
	}
	// And it can still sign as the root.
	if !w.open(noHost).RootKey().Equal(was.RootKey()) {
		t.Error("the root has another key; then the documentation is wrong")
	}
	if err := w.open(noHost).RemoveRecipient(ctx, "age1nobody", again); !errors.Is(err, backupset.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	for _, rc := range w.open().Recipients()[1:] {
		if err := w.open(noHost).RemoveRecipient(ctx, rc.ID, again); err != nil {
			t.Fatal(err)
		}
	}
	last := w.open().Recipients()
	if err := w.open(noHost).RemoveRecipient(ctx, last[0].ID, again); err == nil || len(last) != 1 {
		t.Errorf("the last of %d was removed", len(last))
	}
	restores(t, w.open(noHost), append(sets, after)...)
}

// A run of a host that is revoked meanwhile does not report a set that counts for nothing.
func TestRevokedMeanwhile(t *testing.T) {
	ctx := context.Background()
	w, _, stolen, sets := twoHosts(t)
	r := w.open(asHost(stolen))
	next := laterSample(sets[0], 2)
	wr, err := r.Create(ctx, backupset.CreateOptions{CA: next.Manifest.CA})
	if err != nil {
		t.Fatal(err)
	}
	defer wr.Abort()
	if err := next.Write(ctx, wr); err != nil {
		t.Fatal(err)
	}
	if err := w.open(noHost).RevokeHost(ctx, stolen.Host, "", 0); err != nil {
		t.Fatal(err)
	}
	if err := wr.Commit(ctx, next.Manifest); !errors.Is(err, repo.ErrNoHost) {
		t.Errorf("commit: %v", err)
	}
}

// A host sees of authorities that are not its own that there are sets, how large, and when; nothing of
// what their manifests say.
func TestOtherAuthoritiesAreHidden(t *testing.T) {
	ctx := t.Context()
	w, _, sets := smallRepository(t)
	r := w.open(asHost(w.addHost("another", nil)), noIdentity)
	if l, err := r.List(ctx); err != nil || len(l) > 0 {
		t.Errorf("%v, %v", l, err)
	}
	infos, err := r.Sets(ctx)
	if err != nil || len(infos) != len(sets) {
		t.Fatalf("%v, %v", infos, err)
	}
	for _, i := range infos {
		if !i.Hidden || i.Manifest != nil || i.Receipt != nil || i.Bytes == 0 {
			t.Errorf("%+v", i)
		}
	}
	if _, err := r.Open(ctx, sets[0].Manifest.ID); !errors.Is(err, repo.ErrKey) {
		t.Errorf("open: %v", err)
	}
	// It can verify them all the same, as they lie.
	if err := findings(r, repo.LevelSealed); err != nil {
		t.Error(err)
	}
}

// A set that a stolen host made up, and that names the segments of another's for what they are not, does not
// have the other's found damaged.
func TestPlantedDamage(t *testing.T) {
	ctx := t.Context()
	w, store, stolen, sets := twoHosts(t)
	evil := w.open(asHost(stolen), noIdentity)
	// A set of the thief's own, whose record then gets the genuine one's table: its layout says what is in
	// those segments, and it is wrong.
	other := backupsettest.Full(1, 1, 60<<10)
	mustPut(t, evil, other)
	var theirs, genuine record
	if err := json.Unmarshal([]byte(recordsOf(t, store, stolen.Host, "set")[0]), &theirs); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(recordsOf(t, store, w.host.Host, "set")[0]), &genuine); err != nil {
		t.Fatal(err)
	}
	theirs["table"] = genuine["table"]
	if err := evil.Forget(ctx, other.Manifest.ID); err == nil {
		t.Fatal("a host without the role forgets")
	}
	forge(t, store, stolen, record{"type": "withdrawn", "set": other.Manifest.ID})
	forge(t, store, stolen, theirs)
	res, err := w.open(noHost).Verify(ctx, repo.VerifyOptions{Level: repo.LevelContent})
	if err != nil {
		t.Fatal(err)
	}
	// Nor is the wrong content ever handed out.
	set, err := w.open(noHost).Open(ctx, other.Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	f := set.Manifest().ByRole(backupset.RoleDatabase)[0]
	x, err := set.Open(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if b, err := io.ReadAll(x); !errors.Is(err, backupset.ErrDamaged) {
		t.Errorf("%d bytes were read, %v", len(b), err)
	}
	if !slices.Contains(res.Sound, sets[0].Manifest.ID) || slices.Contains(res.Sound, other.Manifest.ID) {
		t.Errorf("sound are %v; genuine is %s, forged %s", res.Sound, sets[0].Manifest.ID, other.Manifest.ID)
	}
}

// lyingSet is a set of a thief's that has the table of another's, and a layout that says other things of
// the same places.
func lyingSet(t *testing.T, store *tempStore, stolen *repo.HostKey, theirs, genuine record) record {
	t.Helper()
	ctx := context.Background()
	key, err := age.ParseX25519Identity(stolen.CAs[0].Metadata)
	if err != nil {
		t.Fatal(err)
	}
	sum := genuine["layout"].(map[string]any)["sha256"].(string)
	b, err := store.Get(ctx, "meta/"+sum[:2]+"/"+sum, 0, -1)
	if err == nil {
		b, err = seal.Open(b, seal.LimitLarge, key)
	}
	var l record
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		t.Fatal(err)
	}
	l["set"] = theirs["set"]
	lies := 0
	for _, f := range l["files"].([]any) {
		f := f.(map[string]any)
		list, _ := f["list"].(string)
		f["list"] = regexp.MustCompile("(?m)[0-9a-f]{32}$").ReplaceAllStringFunc(list, func(string) string {
			lies++
			return strings.Repeat("0", 31) + "1"
		})
	}
	if lies == 0 {
		t.Fatal("the layout has no chunks")
	}
	if b, err = json.Marshal(l); err == nil {
		b, err = seal.Seal(b, key.Recipient())
	}
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(b)
	sum = hex.EncodeToString(h[:])
	store.Replace("meta/"+sum[:2]+"/"+sum, b)
	theirs["layout"] = record{"sha256": sum, "size": len(b)}
	theirs["table"] = genuine["table"]
	return theirs
}

// Nor does it spoil the other's when a prune rewrites segments that both name.
func TestPlantedRewrite(t *testing.T) {
	ctx := t.Context()
	store := newTemp()
	w := newWorld(t, store)
	first := backupsettest.Full(1, 1, 30*chunk)
	mustPut(t, w.open(), first)
	stolen := w.addHost("stolen", []string{repo.RoleBackup}, first.Manifest.CA.SanitizedName)
	// The genuine set that stays needs little of the segments of the first.
	var places []int
	for n := range 25 {
		places = append(places, n*chunk)
	}
	stays := laterSample(first, 2, places...)
	mustPut(t, w.open(), stays)
	other := backupsettest.Full(1, 1, 10) // looked at first
	mustPut(t, w.open(asHost(stolen), noIdentity), other)
	var theirs, genuine record
	if err := json.Unmarshal([]byte(recordsOf(t, store, stolen.Host, "set")[0]), &theirs); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(recordsOf(t, store, w.host.Host, "set")[1]), &genuine); err != nil {
		t.Fatal(err)
	}
	forge(t, store, stolen, record{"type": "withdrawn", "set": other.Manifest.ID})
	forge(t, store, stolen, lyingSet(t, store, stolen, theirs, genuine))
	if err := w.open().Forget(ctx, first.Manifest.ID); err != nil {
		t.Fatal(err)
	}
	res, err := w.open().Prune(ctx, repo.PruneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Rewritten == 0 {
		t.Fatalf("nothing was rewritten: %+v", res)
	}
	prunes(t, w)
	restores(t, w.open(), stays)
}

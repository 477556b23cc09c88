package repo_test

import (
	"context"
	"encoding/json"
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
	"github.com/certkeep/certkeep/repo/blob/mem"
	"github.com/certkeep/certkeep/repo/internal/journal"
)

// What cannot be done is refused with an error that says why, and nothing in the store has changed.
func TestRefused(t *testing.T) {
	ctx := context.Background()
	next := backupsettest.Full(9, 9, 10)
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := newWorld(t, newTemp())
	backup := func(r *repo.Repository, err error) error {
		if err != nil {
			return err
		}
		return put(ctx, r, next)
	}
	for name, x := range map[string]struct {
		prepare func(*testing.T, *world, *mem.Store)
		do      func(*world) error
		want    error
	}{
		"another identity":          {do: func(w *world) error { _, err := w.try(noHost, with(stranger)); return err }, want: repo.ErrKey},
		"no key at all":             {do: func(w *world) error { return backup(w.try(noHost, noIdentity)) }, want: repo.ErrNoHost},
		"another repository's host": {do: func(w *world) error { return backup(w.try(asHost(elsewhere.host))) }, want: repo.ErrNoHost},
		"a host that nobody certified": {do: func(w *world) error {
			h := &repo.HostKey{Schema: 1, Repository: w.host.Repository, Root: w.host.Root, Host: "0123456789abcdef", Seed: elsewhere.host.Seed}
			return backup(w.try(asHost(h), noIdentity))
		}, want: repo.ErrNoHost},
		"a host that trusted another root": {do: func(w *world) error {
			h := &repo.HostKey{Schema: 1, Repository: w.host.Repository, Root: elsewhere.host.Root, Host: w.host.Host, Seed: w.host.Seed}
			return backup(w.try(asHost(h)))
		}, want: repo.ErrRolledBack},
		"a clock that goes backwards": {do: func(w *world) error {
			return backup(w.try(noIdentity, func(o *repo.Options) { o.Now = func() time.Time { return time.Now().Add(-time.Hour) } }))
		}, want: repo.ErrClock},
		"a second Init": {do: func(w *world) error {
			_, err := repo.Init(ctx, repo.Options{Blob: w.blob}, repo.InitOptions{Recipients: []repo.Recipient{recipient(stranger)}})
			return err
		}, want: backupset.ErrExists},
		"an Init like it in its place": {do: func(w *world) error { return repo.InitLike(ctx, repo.Options{Blob: w.blob}, w.open()) }, want: backupset.ErrExists},
		"a copy from other keys": {do: func(w *world) error {
			_, err := repo.Copy(ctx, w.open(), elsewhere.open(), nil, repo.CopyOptions{})
			return err
		}, want: repo.ErrOtherKeys},
		"a set that is not there":  {do: func(w *world) error { return w.open().Forget(ctx, "20260101T000000.000Z-aaaaaaaaaa") }, want: backupset.ErrNotFound},
		"a host that is not there": {do: func(w *world) error { return w.open().RevokeHost(ctx, "nobody", "", 0) }, want: backupset.ErrNotFound},
		"an authority that is not there": {do: func(w *world) error {
			_, err := w.open().AddHost(ctx, "x", nil, "no such authority")
			return err
		}, want: backupset.ErrNotFound},
		"no repository": {prepare: func(_ *testing.T, _ *world, s *mem.Store) { s.Replace("certkeep-repository.json", nil) },
			do: func(w *world) error { return backup(w.try()) }, want: repo.ErrNoRepository},
		"an Init where one was begun": {prepare: func(_ *testing.T, _ *world, s *mem.Store) { s.Replace("certkeep-repository.json", nil) },
			do: func(w *world) error {
				if _, err := repo.Init(ctx, repo.Options{Blob: w.blob}, repo.InitOptions{Recipients: []repo.Recipient{recipient(stranger)}}); err == nil {
					return nil
				}
				return repo.ErrNoRepository
			}, want: repo.ErrNoRepository},
		"a newer repository": {prepare: func(t *testing.T, _ *world, s *mem.Store) {
			change(t, s, "certkeep-repository.json", `"version": 1`, `"version": 2`)
		}, do: func(w *world) error { return backup(w.try()) }, want: repo.ErrNewer},
		"a newer entry of the root": {prepare: func(t *testing.T, w *world, s *mem.Store) { resign(t, w, s, journal.Root) },
			do: func(w *world) error { return backup(w.try(noIdentity)) }, want: repo.ErrNewer},
		"a newer entry of one's own": {prepare: func(t *testing.T, w *world, s *mem.Store) { resign(t, w, s, w.host.Host) },
			do: func(w *world) error { return backup(w.try()) }, want: repo.ErrNewer},
		"a damaged announcement": {prepare: func(t *testing.T, _ *world, s *mem.Store) {
			change(t, s, "certkeep-repository.json", `"format"`, `"Format"`)
		}, do: func(w *world) error { return backup(w.try()) }, want: backupset.ErrDamaged},
		"a root without its first entry": {prepare: func(_ *testing.T, _ *world, s *mem.Store) { s.Replace(journal.Key(journal.Root, 1), nil) },
			do: func(w *world) error { return backup(w.try()) }, want: backupset.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			w, store, _ := smallRepository(t)
			if x.prepare != nil {
				x.prepare(t, w, store)
			}
			before := snapshot(t, store)
			err := x.do(w)
			if !errors.Is(err, x.want) {
				t.Errorf("got %v, want %v", err, x.want)
			}
			if err != nil && (strings.Contains(err.Error(), w.host.Seed) || strings.Contains(err.Error(), "AGE-SECRET-KEY")) {
				t.Errorf("the error has a secret in it: %v", err)
			}
			if !maps.Equal(before, snapshot(t, store)) {
				t.Error("the store has changed")
			}
		})
	}
}

// change puts other bytes into an object.
func change(t *testing.T, s *mem.Store, key, from, to string) {
	t.Helper()
	b := snapshot(t, s)[key]
	if !strings.Contains(b, from) {
		t.Fatalf("%s has no %q", key, from)
	}
	s.Replace(key, []byte(strings.Replace(b, from, to, 1)))
}

// resign has the last entry of a journal be of a newer version, signed as it should be.
func resign(t *testing.T, w *world, s *mem.Store, author string) {
	t.Helper()
	k := seedKey(t, w.host)
	if author == journal.Root {
		k = rootKey(t, w)
	}
	n := uint64(1)
	for snapshot(t, s)[journal.Key(author, n+1)] != "" {
		n++
	}
	s.Replace(journal.Key(author, n), journal.Sign([]byte(`{"schema":2,"something":"new"}`), k))
}

// A host's key of a newer version, or one that is none, is refused when it is read; what is read
// is what was written.
func TestHostKey(t *testing.T) {
	w, _, _ := smallRepository(t)
	b, err := w.host.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := repo.DecodeHostKey(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Encode(); err != nil || string(again) != string(b) || len(back.CAs) != 1 {
		t.Errorf("%s, %v", again, err)
	}
	for name, x := range map[string][2]string{
		"newer":           {`"schema": 1`, `"schema": 2`},
		"older":           {`"schema": 1`, `"schema": 0`},
		"no repository":   {`"repository": "` + w.host.Repository, `"repository": "x`},
		"no host":         {`"host": "` + w.host.Host, `"host": "x`},
		"short seed":      {w.host.Seed, w.host.Seed[2:]},
		"no seed":         {w.host.Seed, "hello"},
		"short root":      {w.host.Root, w.host.Root[2:]},
		"no metadata key": {w.host.CAs[0].Metadata, "AGE-SECRET-KEY-1"},
		"no key of ids":   {w.host.CAs[0].IDKey, "abcd"},
		"no authority":    {w.host.CAs[0].ID, "../../../etc"},
		"not JSON":        {"{", "["},
	} {
		changed := strings.Replace(string(b), x[0], x[1], 1)
		if changed == string(b) {
			t.Fatalf("%s: nothing changed", name)
		}
		_, err := repo.DecodeHostKey([]byte(changed))
		if err == nil || (name == "newer") != errors.Is(err, repo.ErrNewer) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), w.host.Seed) || strings.Contains(err.Error(), w.host.CAs[0].IDKey)) {
			t.Errorf("%s: a secret is in the error: %v", name, err)
		}
	}
}

func FuzzHostKey(f *testing.F) {
	w := newWorld(f, newTemp())
	mustPut(f, w.open(), backupsettest.Full(1, 1, 1))
	b, err := w.host.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"schema":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := repo.DecodeHostKey(b)
		if err != nil {
			return
		}
		again, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := repo.DecodeHostKey(again); err != nil || back.Seed != h.Seed || !slices.Equal(back.CAs, h.CAs) {
			t.Fatalf("%v", err)
		}
	})
}

// Whatever the announcement is, and whatever signed records say, opening a repository ends with
// an answer.
func FuzzRecords(f *testing.F) {
	w, store, _ := smallRepository(f)
	for _, kind := range []string{"set", "receipt", "ca"} {
		f.Add([]byte(recordsOf(f, store, w.host.Host, kind)[0]))
	}
	for _, seed := range []string{`{"type":"forget","sets":[{}]}`, `{"type":"layout","set":{}}`, `{"type":"moved","from":["x"],"to":[]}`, `{"type":"proof","sets":[{}],"parts":3,"part":-1}`,
		`{"type":"dead","object":{"sha256":"x","size":-1}}`, `{"type":"withdrawn"}`, `{"type":"partial","lists":[{}],"table":{"sha256":"","size":9223372036854775807}}`, `[]`, `{"type":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		s := store.Clone()
		if err := forged(s, w.host, json.RawMessage(raw)); err != nil {
			return // longer than an entry
		}
		r, err := w.try(onBlob(s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Sets(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Verify(t.Context(), repo.VerifyOptions{Level: repo.LevelSealed}); err != nil {
			t.Fatal(err)
		}
		_, _ = r.Prune(t.Context(), repo.PruneOptions{DryRun: true})
	})
}

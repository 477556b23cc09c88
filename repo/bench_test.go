package repo_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/file"
	"github.com/certkeep/certkeep/repo/blob/s3"
	"github.com/certkeep/certkeep/repo/blob/s3/s3test"
)

// keep makes a full set of one database.
func keep(tb testing.TB, r *repo.Repository, size int64, src io.Reader) {
	tb.Helper()
	ctx := tb.Context()
	s := backupsettest.Full(1, 1, 100)
	m := s.Manifest
	w, err := r.Create(ctx, backupset.CreateOptions{CA: m.CA})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := w.Abort(); err != nil {
			tb.Error(err)
		}
	}()
	for i, f := range m.Files {
		content, n := io.Reader(bytes.NewReader(s.Content(f))), f.Size
		if f.Role == backupset.RoleDatabase {
			content, n = src, size
		}
		if m.Files[i], err = backupset.Add(ctx, w, f.Role, f.Name, f.Source, n, content); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Commit(ctx, m); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkChunkSize is how much a day adds to a repository, by the size of chunks: CERTKEEP_BENCH_DAYS names a directory that
// "repository days DIR COUNT" of bench/ has filled, a database for each day.
func BenchmarkChunkSize(b *testing.B) {
	dir := os.Getenv("CERTKEEP_BENCH_DAYS")
	if dir == "" {
		b.Skip("CERTKEEP_BENCH_DAYS is not set")
	}
	days, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(days) < 2 {
		b.Fatalf("%s: %d databases, %v", dir, len(days), err)
	}
	for _, kib := range []int{4, 8, 16, 32, 64, 256, 1024} {
		b.Run(fmt.Sprintf("%dKiB", kib), func(b *testing.B) {
			defer repo.SetChunkSize(kib << 10)()
			for b.Loop() {
				store, err := file.Create(filepath.Join(b.TempDir(), "repo"))
				if err != nil {
					b.Fatal(err)
				}
				w := newWorld(b, store)
				var first int64
				for i, day := range days {
					keepFile(b, w.open(noIdentity), day)
					if i == 0 {
						first = stored(b, store, "")
					}
				}
				b.ReportMetric(float64(first)/(1<<20), "MiB-first")
				b.ReportMetric(float64(stored(b, store, "")-first)/(1<<20)/float64(len(days)-1), "MiB/day")
				b.ReportMetric(float64(stored(b, store, "meta/"))/(1<<20)/float64(len(days)), "MiB-meta/day")
			}
		})
	}
}

func keepFile(tb testing.TB, r *repo.Repository, name string) {
	tb.Helper()
	f, err := os.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	keep(tb, r, info.Size(), f)
}

func stored(tb testing.TB, s blob.Store, prefix string) (n int64) {
	tb.Helper()
	for info, err := range s.List(context.Background(), prefix) {
		if err != nil {
			tb.Fatal(err)
		}
		n += info.Size
	}
	return n
}

// BenchmarkFar writes 768 MiB that do not compress into a bucket, with so many uploads at once; reads them; and verifies them.
// Each with and without 50 ms more for each request.
func BenchmarkFar(b *testing.B) {
	data := make([]byte, 768<<20)
	_, _ = rand.Read(data) // never fails
	server := s3test.Start(b, s3test.Options{TLS: true})
	bucket := func(b *testing.B, name string, by time.Duration) blob.Store {
		s, err := s3.Open(b.Context(), s3.Address{Bucket: name, Endpoint: server.Endpoint}, s3.Options{Transport: server.Far(by)})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	both := func(b *testing.B, what string, do func(b *testing.B, by time.Duration)) {
		for _, by := range []time.Duration{0, 50 * time.Millisecond} {
			b.Run(fmt.Sprintf("%s/%v", what, by), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				do(b, by)
			})
		}
	}
	for _, uploads := range []int{1, 2, 3, 4, 6} {
		both(b, fmt.Sprintf("backup/%d", uploads), func(b *testing.B, by time.Duration) {
			for b.Loop() {
				b.StopTimer()
				r := newWorld(b, bucket(b, server.Bucket(false), by)).open(noIdentity, func(o *repo.Options) { o.Uploads = uploads })
				b.StartTimer()
				keep(b, r, int64(len(data)), bytes.NewReader(data))
			}
		})
	}
	name := server.Bucket(false)
	w := newWorld(b, bucket(b, name, 0))
	keep(b, w.open(noIdentity), int64(len(data)), bytes.NewReader(data))
	both(b, "restore", func(b *testing.B, by time.Duration) {
		for b.Loop() {
			r, err := repo.Open(b.Context(), repo.Options{Blob: bucket(b, name, by), Identities: []age.Identity{w.identity}})
			if err != nil {
				b.Fatal(err)
			}
			entries, err := r.List(b.Context())
			if err != nil || len(entries) != 1 {
				b.Fatal(err)
			}
			set, err := r.Open(b.Context(), entries[0].ID)
			if err != nil {
				b.Fatal(err)
			}
			f, _ := set.Manifest().Find(backupset.RoleDatabase)
			if err := backupset.Check(b.Context(), set, f); err != nil {
				b.Fatal(err)
			}
		}
	})
	both(b, "verify", func(b *testing.B, by time.Duration) {
		for b.Loop() {
			r, err := repo.Open(b.Context(), repo.Options{Blob: bucket(b, name, by), Identities: []age.Identity{w.identity}})
			if err != nil {
				b.Fatal(err)
			}
			if err := findings(r, repo.LevelContent); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkThousandSets opens a repository with a thousand sets of a database of 10 GiB, of 655,360 chunks that all share; lists
// them; and begins another, which reads what the newest consist of.
func BenchmarkThousandSets(b *testing.B) {
	store, err := file.Create(filepath.Join(b.TempDir(), "repo"))
	if err != nil {
		b.Fatal(err)
	}
	w := newWorld(b, store)
	if err := w.open(noIdentity).PublishMany(b.Context(), backupsettest.Full(1, 1, 100).Manifest, 1000, 10<<30); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			w.open(noIdentity)
		}
	})
	b.Run("open and list", func(b *testing.B) {
		for b.Loop() {
			sets, err := w.open(noIdentity).List(b.Context())
			if err != nil || len(sets) != 1000 {
				b.Fatal(len(sets), err)
			}
		}
	})
	b.Run("create", func(b *testing.B) {
		r := w.open(noIdentity)
		for b.Loop() {
			n, err := r.Create(b.Context(), backupset.CreateOptions{CA: backupsettest.Full(1, 1, 100).Manifest.CA})
			if err != nil {
				b.Fatal(err)
			}
			if err := n.Abort(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

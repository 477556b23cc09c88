package repo_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
)

// pages reads pages that differ, but for each 10,000th, which is one that was before: so that runs of chunks that lie
// one behind another end within lists, and go on across their ends.
type pages struct {
	page, size int
	at, left   int64
}

func (p *pages) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(b) && p.left > 0 {
		number, within := p.at/int64(p.size), int(p.at%int64(p.size))
		if number%10_000 == 9999 {
			number /= 2
		}
		page := make([]byte, p.size)
		for i := 0; i+8 <= p.size; i += 512 { // short pages have one number, others one in each sector
			binary.LittleEndian.PutUint64(page[i:], uint64(number)<<8+uint64(i>>9))
		}
		k := copy(b[n:], page[within:within+int(min(int64(p.size-within), p.left))])
		n, p.at, p.left = n+k, p.at+int64(k), p.left-int64(k)
	}
	return n, nil
}

// putPages stores a set with a file of so many chunks, the last of which is not full.
func putPages(t *testing.T, w *world, page int, chunks int64) (*backupset.Manifest, backupset.File) {
	t.Helper()
	s := backupsettest.Full(1, 1, 10)
	wr, err := w.open().Create(t.Context(), backupset.CreateOptions{CA: s.Manifest.CA})
	if err == nil {
		err = s.Write(t.Context(), wr)
	}
	if err != nil {
		t.Fatal(err)
	}
	size := chunks*int64(page) - 7
	f, err := backupset.Add(t.Context(), wr, backupset.RoleCompanion, "big", "", size, &pages{page: page, size: page, left: size})
	if err != nil {
		t.Fatal(err)
	}
	m := *s.Manifest
	m.Files = append(m.Files, f)
	m.ID = backupset.NewID(m.Start.Add(time.Hour))
	if err := wr.Commit(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	return &m, f
}

// The script restores files with several chunk lists: each list but the last has chunklist.MaxChunks.
func TestRestoreWithoutCertkeepSeveralLists(t *testing.T) {
	for _, c := range []struct {
		name   string
		page   int
		chunks int64
		heavy  bool
	}{
		{"short chunks", 16, 2*chunklist.MaxChunks + 1, false},
		{"1.1 GiB", 16 << 10, 72_090, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.heavy && !need.Heavy() {
				t.Skip("CERTKEEP_TEST_HEAVY=1 has it run: a gibibyte")
			}
			if !c.heavy {
				t.Cleanup(repo.SetChunkSize(c.page))
			}
			w, dir := newFileWorld(t)
			sh := newWithoutCertkeep(t, dir, w.identity)
			m, f := putPages(t, w, c.page, c.chunks)
			out := filepath.Join(t.TempDir(), "set")
			if _, log, err := sh.run(t, m.ID, out); err != nil || strings.Contains(log, "WARNING") {
				t.Fatalf("%v\n%s", err, log)
			}
			got, err := os.Open(filepath.Join(out, f.Role.Dir(), f.Name))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			sameBytes(t, got, &pages{page: c.page, size: c.page, left: f.Size})
			set, err := folder.Root(filepath.Dir(out), folder.Options{}).Open(context.Background(), "set")
			if err == nil {
				err = backupset.Check(t.Context(), set, f)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// sameBytes compares byte by byte.
func sameBytes(t *testing.T, got, want io.Reader) {
	t.Helper()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := 0; ; at += len(a) {
		n, gerr := io.ReadFull(got, a)
		k, werr := io.ReadFull(want, b)
		if n != k || !bytes.Equal(a[:n], b[:k]) {
			t.Fatalf("the mebibyte at %d differs: %d bytes, want %d", at, n, k)
		}
		if gerr != nil || werr != nil {
			return
		}
	}
}

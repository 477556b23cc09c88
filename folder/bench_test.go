package folder_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/folder"
)

// BenchmarkBackup puts a set with a database of 256 MiB into a folder, durably
// and with its hashes; BenchmarkCopyThenHash is cp followed by sha256sum of the
// same file, which is not durable.
//
//	go test -run - -bench . -benchtime 5x ./folder
func BenchmarkBackup(b *testing.B) {
	src := source(b)
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		sample := backupsettest.Full(1, 2, 1000)
		b.StartTimer()
		w, err := folder.Root(dir, folder.Options{}).Create(b.Context(), backupset.CreateOptions{Name: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		if err := sample.Write(b.Context(), w); err != nil {
			b.Fatal(err)
		}
		in, err := os.Open(src)
		if err != nil {
			b.Fatal(err)
		}
		f, err := backupset.Add(b.Context(), w, backupset.RoleDatabase, "bench.db", "", size, in)
		if err != nil {
			b.Fatal(err)
		}
		sample.Manifest.Files = append(sample.Manifest.Files, f)
		if err := w.Commit(b.Context(), sample.Manifest); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		in.Close()
		os.RemoveAll(dir)
		b.StartTimer()
	}
}

func BenchmarkCopyThenHash(b *testing.B) {
	src := source(b)
	b.SetBytes(size)
	for b.Loop() {
		dst := filepath.Join(b.TempDir(), "copy")
		for _, args := range [][]string{{"cp", src, dst}, {"sha256sum", src}} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				b.Skipf("%v: %s", err, out)
			}
		}
		b.StopTimer()
		os.Remove(dst)
		b.StartTimer()
	}
}

const size = 256 << 20

// source is a file that is not compressible, in the page cache.
func source(b *testing.B) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "source")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	h := sha256.Sum256([]byte("seed"))
	block := bytes.Repeat(h[:], 1<<15)
	for range size / len(block) {
		h = sha256.Sum256(h[:])
		copy(block, h[:])
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return name
}

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/certkeep/certkeep/ese/esetest"
)

// bytesPerRequest is what a request and its certificate take in AD CS's database, about.
const bytesPerRequest = 6700

// makeDatabase: FILE TEMP MIB. A database of AD CS, with real certificates, of about that size. It is made in a process of its
// own, because a new process counts the peak memory of the one that started it as its own.
func makeDatabase(ctx context.Context, args []string) error {
	mib, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	g, err := esetest.NewGenerator(1, time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		return err
	}
	_, err = esetest.WriteDatabase(args[0], esetest.Options{PageSize: pageSize, Seed: 1, TempDir: args[1]},
		func(ca *esetest.CA) error { return g.Fill(ctx, ca, int(mib<<20/bytesPerRequest)) })
	if err != nil {
		return err
	}
	return putKeys(args[0])
}

// keyBytes is how much of a page of a real authority's database cannot be compressed: of each
// request and its certificate, a key of RSA-2048 and two signatures, and some hashes.
const keyBytes = 600

// putKeys puts random bytes into every page, as many as keys and signatures take: the
// generator's certificates share one key, and all tools would find them far too easy to
// compress. Nobody reads the database afterwards.
func putKeys(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r := rand.NewChaCha8([32]byte{1})
	at := rand.New(r)
	b := make([]byte, keyBytes)
	for p := range info.Size() / pageSize {
		_, _ = r.Read(b) // never fails
		if _, err := f.WriteAt(b, p*pageSize+int64(at.IntN(pageSize-keyBytes))); err != nil {
			return err
		}
	}
	return f.Sync()
}

const pageSize = 4096

// change writes 256 random bytes into one page of a hundred: runs of so many pages, at
// random places. It returns the SHA-256 of the file as it then is.
func change(name string, seed uint64, run int) (sum [sha256.Size]byte, err error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return sum, err
	}
	pages := int(info.Size() / pageSize)
	if pages < 100*run {
		return sum, fmt.Errorf("%s: too small to change a hundredth of it in runs of %d pages", name, run)
	}
	r := rand.New(rand.NewPCG(seed, uint64(run)))
	var b [256]byte
	for range pages / 100 / run {
		first := r.IntN(pages - run)
		for p := first; p < first+run; p++ {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			if _, err := f.WriteAt(b[:], int64(p)*pageSize+int64(r.IntN(pageSize-len(b)))); err != nil {
				return sum, err
			}
		}
	}
	if err := f.Sync(); err != nil {
		return sum, err
	}
	return hashOf(name)
}

func hashOf(name string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	if err := dst.Sync(); err != nil {
		return err
	}
	return dst.Close()
}

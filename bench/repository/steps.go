package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"

	verification "github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/file"
)

// A repository is a directory, and its keys lie beside it.
func hostFile(dir string) string     { return dir + ".host" }
func identityFile(dir string) string { return dir + ".identity" }

var authority = backupset.CA{Name: "Bench CA", SanitizedName: "Bench CA", Host: "BENCH"}

// initRepository: DIR
func initRepository(ctx context.Context, args []string) error {
	dir := args[0]
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	s, err := file.Create(dir)
	if err != nil {
		return err
	}
	to := repo.NewRecipient(id.Recipient().String(), "bench", id.Recipient())
	host, err := repo.Init(ctx, repo.Options{Blob: s}, repo.InitOptions{Recipients: []repo.Recipient{to}, Host: "bench"})
	if err != nil {
		return err
	}
	if err := os.WriteFile(identityFile(dir), []byte(id.String()), 0o600); err != nil {
		return err
	}
	return saveHost(dir, host)
}

func saveHost(dir string, h *repo.HostKey) error {
	b, err := h.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(hostFile(dir), b, 0o600)
}

// openRepository opens a repository as the host that backs up does, or as somebody who restores.
func openRepository(ctx context.Context, dir string, restorer bool) (*repo.Repository, error) {
	s, err := file.Open(dir)
	if err != nil {
		return nil, err
	}
	o := repo.Options{Blob: s, SaveHost: func(h *repo.HostKey) error { return saveHost(dir, h) }}
	if restorer {
		b, err := os.ReadFile(identityFile(dir))
		if err != nil {
			return nil, err
		}
		id, err := age.ParseX25519Identity(string(b))
		if err != nil {
			return nil, err
		}
		o.Identities = []age.Identity{id}
		return repo.Open(ctx, o)
	}
	b, err := os.ReadFile(hostFile(dir))
	if err != nil {
		return nil, err
	}
	if o.Host, err = repo.DecodeHostKey(b); err != nil {
		return nil, err
	}
	return repo.Open(ctx, o)
}

// backup: DIR FILE
func backup(ctx context.Context, args []string) (err error) {
	r, err := openRepository(ctx, args[0], false)
	if err != nil {
		return err
	}
	start := time.Now()
	src, err := os.Open(args[1])
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	w, err := r.Create(ctx, backupset.CreateOptions{CA: authority})
	if err != nil {
		return err
	}
	defer func() {
		if aerr := w.Abort(); err == nil {
			err = aerr
		}
	}()
	f, err := backupset.Add(ctx, w, backupset.RoleDatabase, "Bench CA.edb", `\\BENCH\C$\CertLog\Bench CA.edb`, info.Size(), src)
	if err != nil {
		return err
	}
	list := certadm.FileList{
		{Type: certadm.FileDatabase, Path: f.Source},
		{Type: certadm.FileLogDir, Path: `\\BENCH\C$\CertLog`},
		{Type: certadm.FileCheckpointDir, Path: `\\BENCH\C$\CertLog`},
	}
	b, err := certadm.EncodeList(list)
	if err != nil {
		return err
	}
	restoreMap, err := backupset.Add(ctx, w, backupset.RoleLocations, backupset.LocationsName, "", int64(len(b)), bytes.NewReader(b))
	if err != nil {
		return err
	}
	m := &backupset.Manifest{
		Schema: backupset.Schema, ID: backupset.NewID(start), Tool: "bench", Type: backupset.Full, Engine: "ese", CA: authority,
		Start: start, End: time.Now(), Files: []backupset.File{f, restoreMap},
		Completeness: backupset.Completeness{
			Database: backupset.Present, Logs: backupset.Absent, RestoreMap: backupset.Present, DynamicFiles: backupset.NotAttempted,
			CACertificate: backupset.NotAttempted, PrivateKey: backupset.NotAttempted, Configuration: backupset.NotAttempted,
			CAPolicy: backupset.NotAttempted, Templates: backupset.NotAttempted,
		},
	}
	for _, e := range list {
		m.Locations = append(m.Locations, backupset.Location{Tag: e.Type, Path: e.Path})
	}
	return w.Commit(ctx, m)
}

// restore: DIR TARGET. The newest set's database goes into a file whose space is reserved first, as a restore and an export do, hashed
// against its manifest, and not synced: nor do restic and borg.
func restore(ctx context.Context, args []string) error {
	set, err := newest(ctx, args[0])
	if err != nil {
		return err
	}
	f, _ := set.Manifest().Find(backupset.RoleDatabase)
	src, err := set.Open(ctx, f)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(filepath.Join(args[1], f.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := durable.Reserve(dst, f.Size); err != nil {
		return err
	}
	switch n, sum, err := backupset.Copy(ctx, dst, src); {
	case err != nil:
		return err
	case n != f.Size || sum != f.SHA256:
		return fmt.Errorf("%s is not what was backed up", f.Name)
	}
	return dst.Close()
}

// restoreFolder: DIR TARGET. The newest set goes into a folder as a whole, hashed against its manifest and synced.
func restoreFolder(ctx context.Context, args []string) error {
	set, err := newest(ctx, args[0])
	if err != nil {
		return err
	}
	_, err = backupset.Transfer(ctx, folder.Root(args[1], folder.Options{}), set, backupset.TransferOptions{Name: "set"})
	return err
}

func newest(ctx context.Context, dir string) (backupset.Set, error) {
	r, err := openRepository(ctx, dir, true)
	if err != nil {
		return nil, err
	}
	entries, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s has no sets", dir)
	}
	last := slices.MaxFunc(entries, func(a, b backupset.Entry) int { return a.Manifest.Start.Compare(b.Manifest.Start) })
	return r.Open(ctx, last.ID)
}

// verify: DIR. Everything is opened and held against its id, and every file of every set against its manifest.
func verify(ctx context.Context, args []string) error {
	return verifyContent(ctx, args[0], repo.VerifyOptions{Files: hashes})
}

// verifyPacks: DIR. Everything is opened and held against its id, and no file hashed.
func verifyPacks(ctx context.Context, args []string) error {
	return verifyContent(ctx, args[0], repo.VerifyOptions{})
}

func verifyContent(ctx context.Context, dir string, o repo.VerifyOptions) error {
	r, err := openRepository(ctx, dir, true)
	if err != nil {
		return err
	}
	o.Level = repo.LevelContent
	res, err := r.Verify(ctx, o)
	if err != nil {
		return err
	}
	if len(res.Findings) > 0 {
		return fmt.Errorf("%s: %d findings: %w", filepath.Base(dir), len(res.Findings), res.Findings[0].Err)
	}
	return nil
}

// hashes holds every file of every set against its manifest.
func hashes(ctx context.Context, from backupset.Store) error {
	entries, err := from.List(ctx)
	if err != nil {
		return err
	}
	var sets []verification.VerifyOptions
	for _, e := range entries {
		sets = append(sets, verification.VerifyOptions{Source: verification.Source{Store: from, ID: e.ID}, Level: verification.LevelSealed})
	}
	reports, errs := verification.VerifyTogether(ctx, sets)
	for n, report := range reports {
		if errs[n] == nil && !report.OK {
			errs[n] = fmt.Errorf("%s: %s", sets[n].ID, report.Findings[0].Message)
		}
	}
	return errors.Join(errs...)
}

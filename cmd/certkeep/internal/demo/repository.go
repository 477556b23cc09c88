package demo

import (
	"context"
	"errors"
	"fmt"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/secretfile"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/file"
)

// Repository is what the story's end showed.
type Repository struct {
	Directory string   `json:"directory"`
	Sets      []string `json:"sets"`
	Bytes     int64    `json:"bytes"`        // of the first set
	Stored    int64    `json:"stored"`       // that it took
	Again     int64    `json:"stored_again"` // that a second full set took
	Sealed    int      `json:"objects_verified_without_a_key"`
	// Refused says that the machine which wrote the sets could not read them.
	Refused      bool `json:"host_was_refused"`
	Certificates int  `json:"certificates"` // checked in the drill with the restore identity
}

// repository backs the restored authority up once more, into a repository that this
// machine can write and not read, and drills with the restore identity.
func (s *story) repository(ctx context.Context) (string, error) {
	blobs, err := file.Create(s.path(repositoryDir))
	if err != nil {
		return "", err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	// Where nobody loses it in a story; in life, not on this machine.
	if err := secretfile.WriteNew(s.path(safeDir, "restore.key"), []byte(identity.String()+"\n")); err != nil {
		return "", err
	}
	host, err := repo.Init(ctx, repo.Options{Blob: blobs}, repo.InitOptions{Host: "demo",
		Recipients: []repo.Recipient{repo.NewRecipient(identity.Recipient().String(), "the safe", identity.Recipient())}})
	if err != nil {
		return "", err
	}
	rep := &Repository{Directory: s.path(repositoryDir)}
	s.rep.Repository = rep
	writer, err := repo.Open(ctx, repo.Options{Blob: blobs, Host: host})
	if err != nil {
		return "", err
	}
	for range 2 {
		if err := s.takeInto(ctx, writer, rep); err != nil {
			return "", err
		}
	}
	if err := s.cannotRead(ctx, writer, rep); err != nil {
		return "", err
	}
	if err := s.withIdentity(ctx, blobs, identity, rep); err != nil {
		return "", err
	}
	return fmt.Sprintf("two full sets of %s took %s and %s; unreadable here, drilled with the key",
		size(rep.Bytes), size(rep.Stored), size(rep.Again)), nil
}

func (s *story) takeInto(ctx context.Context, r *repo.Repository, rep *Repository) (err error) {
	conn, err := connect.Address{Scheme: connect.CA, Dir: s.path(restoredDir)}.Open(ctx, connect.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	take := conn.TakeOptions()
	take.Store, take.Type, take.Tool = r, backup.Full, s.o.Tool
	res, err := backup.Take(ctx, take)
	if err != nil {
		return err
	}
	stored := r.StoredBy(res.Manifest.ID)
	if len(rep.Sets) == 0 {
		rep.Bytes, rep.Stored = res.Manifest.Size(), stored
	} else {
		rep.Again = stored
	}
	rep.Sets = append(rep.Sets, res.Manifest.ID)
	return nil
}

// cannotRead has the host try to read what it wrote, and verifies all objects with no key.
func (s *story) cannotRead(ctx context.Context, r *repo.Repository, rep *Repository) error {
	set, err := r.Open(ctx, rep.Sets[0])
	if err != nil {
		return err
	}
	database, ok := set.Manifest().Find(backupset.RoleDatabase)
	if !ok {
		return errors.New("the set holds no database")
	}
	_, err = set.Open(ctx, database)
	if rep.Refused = errors.Is(err, repo.ErrNoIdentity); !rep.Refused {
		s.problem("the host could read its own set: %v", err)
	}
	res, err := r.Verify(ctx, repo.VerifyOptions{Level: repo.LevelSealed})
	if err != nil {
		return err
	}
	for _, f := range res.Findings {
		s.problem("repository: %v", f.Err)
	}
	rep.Sealed = res.Objects
	return nil
}

func (s *story) withIdentity(ctx context.Context, blobs blob.Store, identity age.Identity, rep *Repository) error {
	r, err := repo.Open(ctx, repo.Options{Blob: blobs, Identities: []age.Identity{identity}})
	if err != nil {
		return err
	}
	d, err := backup.Drill(ctx, backup.DrillOptions{Source: backup.Source{Store: r}})
	if err != nil {
		return err
	}
	if err := damage(d.Findings); err != nil {
		return err
	}
	rep.Certificates = int(d.Database.Certificates)
	s.rep.OK = s.rep.OK && len(s.rep.Problems) == 0
	return nil
}

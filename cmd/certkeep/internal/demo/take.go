package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/folder"
)

// Set is a backup that was taken.
type Set struct {
	ID        string  `json:"set"`
	Folder    string  `json:"folder"`
	Server    string  `json:"server"` // that it was taken from, across the wire protocol
	Type      string  `json:"type"`
	Files     int     `json:"files"`
	Logs      int     `json:"logs"`
	Bytes     int64   `json:"bytes"`
	Truncated int     `json:"truncated"` // logs that are really gone
	First     uint32  `json:"first_generation"`
	Last      uint32  `json:"last_generation"`
	Seconds   float64 `json:"seconds"`

	// Meanwhile is how many certificates were acknowledged while it was taken.
	Meanwhile int `json:"issued_meanwhile"`
}

// backup takes a set while the clients go on. It is taken as "certkeep backup
// ca:DIR" takes it: by this process, from the one that serves the authority, over
// MS-CSRA.
func (s *story) backup(name string, kind backupset.Type, percent int) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		if err := s.reach(ctx, percent); err != nil {
			return "", err
		}
		s.lastTake = time.Now()
		before := s.acked.Load()
		set, err := s.take(ctx, name, kind)
		if err != nil {
			return "", err
		}
		set.Meanwhile = int(s.acked.Load() - before)
		s.rep.Sets = append(s.rep.Sets, set)
		s.rep.BackupBytes += set.Bytes
		what := "database and " + plural(set.Logs, "log", "logs")
		if kind == backupset.Incremental {
			what = plural(set.Logs, "log", "logs")
		}
		return fmt.Sprintf("%s: %s, %s; %s truncated; %s issued meanwhile", set.Type, what, size(set.Bytes),
			plural(set.Truncated, "log", "logs"), count(set.Meanwhile)), nil
	}
}

func (s *story) take(ctx context.Context, name string, kind backupset.Type) (set Set, err error) {
	begun := time.Now()
	conn, err := connect.Address{Scheme: connect.CA, Dir: s.path(authorityDir)}.Open(ctx, connect.Options{})
	if err != nil {
		return set, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if conn.ServedAt() == "" {
		return set, errors.New("the authority was opened in this process: it does not run in the other one")
	}
	take := conn.TakeOptions()
	take.Store, take.Name, take.Type, take.Tool = folder.Root(s.path(backupsDir), folder.Options{}), name, backup.TakeType(kind), s.o.Tool
	res, err := backup.Take(ctx, take)
	if err != nil {
		return set, err
	}
	m := res.Manifest
	set = Set{ID: m.ID, Folder: s.path(backupsDir, name), Server: conn.ServedAt(), Type: string(m.Type), Files: len(m.Files), Logs: len(m.ByRole(backupset.RoleLog)),
		Bytes: m.Size(), First: m.FirstGeneration, Last: m.LastGeneration, Seconds: time.Since(begun).Seconds()}
	if res.Receipt != nil {
		set.Truncated = len(res.Receipt.Truncation.Removed)
	}
	return set, nil
}

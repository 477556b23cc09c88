package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/serve"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/folder"
)

// childStop bounds the clean stop of the child.
const childStop = 20 * time.Second

// Child is the demo's authority: a process of its own, so that it can be killed.
// It serves the authority in dir like "ca serve", and obeys the parent's orders
// until the pipe is closed.
func Child(ctx context.Context, dir, tool string, in io.Reader, out io.Writer) (err error) {
	enc := json.NewEncoder(out)
	a, err := serve.Start(ctx, serve.Options{Dir: dir, EST: "127.0.0.1:0", HTTP: "127.0.0.1:0"})
	if err != nil {
		return errors.Join(err, enc.Encode(Answer{Error: err.Error()}))
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), childStop)
		defer cancel()
		err = errors.Join(err, a.Stop(stop))
	}()
	if err := enc.Encode(Answer{EST: a.EST, HTTP: a.HTTP}); err != nil {
		return err
	}
	return obey(in, out, func(o Order) (any, error) { return carryOut(ctx, a, tool, o) })
}

func carryOut(ctx context.Context, a *serve.Authority, tool string, o Order) (any, error) {
	switch o.Do {
	case "backup":
		return takeSet(ctx, a, tool, o)
	case "revoke":
		return nil, a.Server.Revoke(ctx, account.LocalUser(), o.Serial, schema.KeyCompromise)
	case "crl":
		crl, err := a.Server.PublishCRL(ctx, account.LocalUser())
		return CRL{Number: crl.Number, Entries: crl.Entries}, err
	}
	return nil, fmt.Errorf("unknown order %q", o.Do)
}

// CRL is what the child says of a published CRL.
type CRL struct {
	Number  int64 `json:"number"`
	Entries int   `json:"entries"`
}

// Set is what the child says of a backup.
type Set struct {
	ID        string  `json:"set"`
	Folder    string  `json:"folder"`
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

func takeSet(ctx context.Context, a *serve.Authority, tool string, o Order) (*Set, error) {
	conn := connect.Serving(a.Server)
	begun := time.Now()
	res, err := backup.Take(ctx, backup.TakeOptions{
		Service: conn.Service(), Store: folder.Root(filepath.Dir(o.Folder), folder.Options{}), Name: filepath.Base(o.Folder),
		Type: backup.TakeType(o.Type), OpenDynamic: conn.OpenDynamic,
		CAPolicy: backupset.Absent, Templates: backupset.Absent, Tool: tool,
	})
	if err = errors.Join(err, conn.Close()); err != nil {
		return nil, err
	}
	m := res.Manifest
	s := &Set{ID: m.ID, Folder: o.Folder, Type: string(m.Type), Files: len(m.Files), Logs: len(m.ByRole(backupset.RoleLog)),
		Bytes: m.Size(), First: m.FirstGeneration, Last: m.LastGeneration, Seconds: time.Since(begun).Seconds()}
	if res.Receipt != nil {
		s.Truncated = len(res.Receipt.Truncation.Removed)
	}
	return s, nil
}

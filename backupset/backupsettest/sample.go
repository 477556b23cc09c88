package backupsettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// Sample is a made-up set: a manifest and the content of its files.
type Sample struct {
	Manifest *backupset.Manifest
	content  map[string][]byte
}

func key(f backupset.File) string { return string(f.Role) + "/" + f.Name }

// Content is what the file holds.
func (s *Sample) Content(f backupset.File) []byte { return s.content[key(f)] }

// Full makes a full set with the generations first to last. Its files hold
// random bytes, about size each.
func Full(first, last uint32, size int) *Sample {
	s := newSample(backupset.Full, first, last, size)
	m := s.Manifest
	m.EarliestTarget = last
	s.Add(backupset.RoleDatabase, "Sample CA.db", random(size))
	list := certadm.FileList{
		{Type: certadm.FileDatabase, Path: `\\HOST\Sample CA$\database\Sample CA.db`},
		{Type: certadm.FileLogDir, Path: `\\HOST\Sample CA$\log`},
		{Type: certadm.FileCheckpointDir, Path: `\\HOST\Sample CA$\system`},
	}
	for _, e := range list {
		m.Locations = append(m.Locations, backupset.Location{Tag: e.Type, Path: e.Path})
	}
	b, err := certadm.EncodeList(list)
	if err != nil {
		panic(err)
	}
	s.Add(backupset.RoleLocations, backupset.LocationsName, b)
	s.Add(backupset.RoleDynamic, "Sample CA.crl", random(40)) // long enough to be like no other
	s.Add(backupset.RoleDynamic, "empty.crt", nil)
	for _, f := range m.ByRole(backupset.RoleDynamic) {
		m.DynamicFiles = append(m.DynamicFiles, backupset.DynamicFile{Source: `\\HOST\Sample CA$\published\` + f.Name, File: f.Name})
	}
	m.DynamicFiles = append(m.DynamicFiles, backupset.DynamicFile{Source: `\\HOST\x.crl`, Error: "access denied"})
	s.Add(backupset.RoleCompanion, "ca.crt", random(size/2))
	m.Completeness.Database, m.Completeness.RestoreMap, m.Completeness.DynamicFiles = backupset.Present, backupset.Present, backupset.Present
	m.Completeness.CACertificate = backupset.Present
	return s
}

// Incremental makes an incremental set that continues parent, of any database.
func Incremental(parent *Sample, last uint32, size int) *Sample {
	p := parent.Manifest
	s := newSample(backupset.Incremental, p.LastGeneration+1, last, size)
	s.Manifest.Parent, s.Manifest.Signature = p.ID, p.Signature
	return s
}

func newSample(t backupset.Type, first, last uint32, size int) *Sample {
	start := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC).Add(time.Duration(last) * time.Hour)
	s := &Sample{content: map[string][]byte{}, Manifest: &backupset.Manifest{
		Schema: backupset.Schema, ID: backupset.NewID(start), Tool: "backupsettest", Type: t, Engine: "sqlite",
		CA:    backupset.CA{Name: "Sample CA", SanitizedName: "Sample CA", CertificateSHA256: sum([]byte("certificate")), Host: "HOST"},
		Start: start, End: start.Add(time.Minute), Signature: "0123456789abcdef", FirstGeneration: first, LastGeneration: last,
		Completeness: backupset.Completeness{
			Database: backupset.Absent, Logs: backupset.Present, RestoreMap: backupset.Absent, DynamicFiles: backupset.NotAttempted,
			CACertificate: backupset.NotAttempted, PrivateKey: backupset.InHSM, Configuration: backupset.NotAttempted,
			CAPolicy: backupset.Absent, Templates: backupset.NotAttempted,
		},
		Calls: []backupset.Call{{Function: "CertSrvBackupPrepare", Start: start, Duration: time.Millisecond}},
	}}
	for g := first; g <= last; g++ {
		s.Add(backupset.RoleLog, fmt.Sprintf("log%05x.log", g), random(size/2+int(g)))
	}
	return s
}

// Add adds a file to the sample.
func (s *Sample) Add(role backupset.Role, name string, content []byte) {
	f := backupset.File{Role: role, Name: name, Size: int64(len(content)), SHA256: sum(content)}
	s.Manifest.Files = append(s.Manifest.Files, f)
	s.content[key(f)] = content
}

// Write writes the files into a set that has been begun.
func (s *Sample) Write(ctx context.Context, w backupset.Writer) error {
	for _, f := range s.Manifest.Files {
		got, err := backupset.Add(ctx, w, f.Role, f.Name, "", f.Size, bytes.NewReader(s.Content(f)))
		if err != nil {
			return err
		}
		if got != f {
			return fmt.Errorf("wrote %+v instead of %+v", got, f)
		}
	}
	return nil
}

// Put stores the sample. On failure it aborts.
func (s *Sample) Put(ctx context.Context, store backupset.Store, o backupset.CreateOptions) (err error) {
	w, err := store.Create(ctx, o)
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := s.Write(ctx, w); err != nil {
		return err
	}
	return w.Commit(ctx, s.Manifest)
}

// Receipt is a receipt for the sample.
func (s *Sample) Receipt(confirmed bool) backupset.Receipt {
	r := backupset.Receipt{Confirmed: confirmed, Finished: s.Manifest.End.Add(time.Second),
		Truncation: backupset.Truncation{Requested: true, Before: backupset.Generations{1, 2, 3}, After: backupset.Generations{3}, Removed: backupset.Generations{1, 2}}}
	if !confirmed {
		r.End = backupset.OutcomeOf(certadm.HrBackupInProgress)
	}
	return r
}

// Same checks that a stored set is the sample: its manifest, and every byte of
// every file.
func (s *Sample) Same(ctx context.Context, set backupset.Set) error {
	if got, want := set.Manifest().SHA256, s.Manifest.SHA256; got != want {
		return fmt.Errorf("set %s: manifest %s, want %s", set.ID(), got, want)
	}
	for _, f := range set.Manifest().Files {
		if err := backupset.Check(ctx, set, f); err != nil {
			return err
		}
		r, err := set.Open(ctx, f)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(r)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err != nil || !bytes.Equal(b, s.Content(f)) {
			return fmt.Errorf("set %s: %s: %d bytes, %v", set.ID(), f.Name, len(b), err)
		}
	}
	return nil
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func random(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

// Package folder keeps backup sets as plain folders, in the layout of certutil:
//
//	NAME/DataBase/<CA>.edb or .db       full sets only
//	NAME/DataBase/edbNNNNN.log …        or logNNNNN.log
//	NAME/DataBase/certbkxp.dat          full sets only: the restore map
//	NAME/certkeep.json                  the manifest
//	NAME/certkeep-receipt.json          the receipt, once there is one
//	NAME/DynamicFiles/…                 copies of the dynamic files
//	NAME/Companions/…                   what else belongs to the authority
//
// certutil -restoreDB can take such a folder: what certkeep adds lies beside
// DataBase, never in it. A folder that certutil wrote has no manifest; it is
// read with one that is made up from what is there, without hashes, and is
// never confirmed.
//
// A [Store] is a directory whose immediate subdirectories are sets, whatever
// else they may hold; the directory itself may be one, and is then called ".".
//
// # How a set appears
//
// A set with a new name is written to a directory beside it, synced, and
// renamed. If the directory is there already, perhaps with a .p12 of the user's,
// everything in it stays: the set is written to a directory inside, synced, and
// renamed to .certkeep-install; that moment it counts. Then its parts are moved
// to their places, those they replace are deleted, and .certkeep-install
// vanishes. Should the power fail in between, readers find the new set in both
// places, and the next write to the folder finishes the work.
//
// Symbolic links in a folder are not followed, and nothing but directories and
// regular files is opened.
package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/durable"
)

// Names in a set's directory.
const (
	ManifestName = "certkeep.json"
	ReceiptName  = "certkeep-receipt.json"
)

// Self is the name of the set that a Store's directory itself is.
const Self = "."

// Options are the options of Root.
type Options struct {
	// FS is where the folders are; durable.OS if nil.
	FS durable.FS
}

// Store is a directory of sets. It implements backupset.Store.
type Store struct {
	dir  string
	fsys durable.FS

	installing sync.Mutex

	mu    sync.Mutex
	names map[string]string // id to name, of sets seen
}

var _ backupset.Store = (*Store)(nil)

// Root returns the Store of the sets in dir, which need not exist yet.
func Root(dir string, o Options) *Store {
	if o.FS == nil {
		o.FS = durable.OS
	}
	return &Store{dir: filepath.Clean(dir), fsys: o.FS, names: map[string]string{}}
}

// Dir is the directory that Root was given.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// List implements backupset.Store. A directory that does not exist has no sets.
func (s *Store) List(ctx context.Context) ([]backupset.Entry, error) {
	names, err := s.candidates()
	if err != nil {
		return nil, err
	}
	var out []backupset.Entry
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		set, err := s.read(name)
		switch {
		case errors.Is(err, errNoSet) || errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			out = append(out, backupset.Entry{Name: name, Location: s.path(name), Err: err})
			continue
		}
		e := backupset.Entry{ID: set.ID(), Name: name, Location: set.Location(), Manifest: set.Manifest()}
		if !e.Manifest.Synthesized {
			switch r, err := set.Receipt(); {
			case err == nil:
				e.Receipt, e.Confirmed = r, r.Confirmed
			case !errors.Is(err, backupset.ErrUnconfirmed):
				e.Err = err
			}
		}
		out = append(out, e)
	}
	backupset.Sort(out)
	return out, nil
}

// candidates names the directories that may be sets.
func (s *Store) candidates() ([]string, error) {
	es, err := s.fsys.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := []string{Self}
	for _, e := range es {
		if e.IsDir() && !isStage(e.Name()) && !isInternal(e.Name()) && e.Name() != "lost+found" {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Open implements backupset.Store.
func (s *Store) Open(ctx context.Context, id string) (backupset.Set, error) {
	set, err := s.open(ctx, id)
	if err != nil {
		return nil, err
	}
	return set, nil
}

func (s *Store) open(ctx context.Context, id string) (*Set, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if backupset.ValidateID(id) == nil {
		if set, err := s.byID(ctx, id); err != nil || set != nil {
			return set, err
		}
	}
	name, found := strings.CutPrefix(id, synthesizedPrefix)
	if !found {
		name = id
	}
	if name != Self && (name == "" || name == ".." || filepath.Base(name) != name || isStage(name)) {
		return nil, fmt.Errorf("set %.300q in %s: %w", id, s.dir, backupset.ErrNotFound)
	}
	set, err := s.load(name)
	if errors.Is(err, errNoSet) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("set %.300q in %s: %w", id, s.dir, backupset.ErrNotFound)
	}
	return set, err
}

// byID finds the set whose manifest has the id; nil if there is none. If there
// are several copies of a set, one that has its receipt is taken.
func (s *Store) byID(ctx context.Context, id string) (*Set, error) {
	s.mu.Lock()
	known, ok := s.names[id]
	s.mu.Unlock()
	if ok {
		if set, err := s.load(known); err == nil && set.ID() == id {
			return set, nil
		}
	}
	names, err := s.candidates()
	if err != nil {
		return nil, err
	}
	var best *Set
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		set, err := s.read(name)
		if err != nil || set.ID() != id {
			continue // List shows what is wrong with it
		}
		if best == nil {
			best = set
			continue
		}
		if set.manifest.SHA256 != best.manifest.SHA256 {
			return nil, fmt.Errorf("set %s: %w: it is in %s and, different, in %s", id, backupset.ErrAmbiguous, best.dir, set.dir)
		}
		if _, err := best.Receipt(); err != nil {
			best = set
		}
	}
	if best != nil {
		s.remember(id, best.name)
	}
	return best, nil
}

func (s *Store) remember(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[id] = name
}

// PutReceipt implements backupset.Store.
func (s *Store) PutReceipt(ctx context.Context, id string, r backupset.Receipt) error {
	set, err := s.open(ctx, id)
	if err != nil {
		return err
	}
	if set.manifest.Synthesized {
		return fmt.Errorf("%s: a set without a manifest has no receipt: %w", set.dir, backupset.ErrUnconfirmed)
	}
	if r.SetID == "" {
		r.SetID = set.manifest.ID
	}
	if r.ManifestSHA256 == "" {
		r.ManifestSHA256 = set.manifest.SHA256
	}
	if err := r.Matches(set.manifest); err != nil {
		return err
	}
	b, err := r.Encode()
	if err != nil {
		return err
	}
	if err := s.finish(set.dir); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return durable.WriteFile(s.fsys, filepath.Join(set.dir, ReceiptName), b, filePerm)
}

// Package keyring keeps what a machine has of repositories, in the user's configuration
// directory: the key of the host, and the newest entries seen.
//
//	certkeep/ID.host.json    the host's key in repository ID: secret
//	certkeep/HASH.heads.json the heads seen at an address; HASH is of the address
package keyring

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/internal/secretfile"
	"github.com/certkeep/certkeep/repo"
)

// maxFile bounds the files that are read, in bytes.
const maxFile = 4 << 20

// Keyring is a directory of keys.
type Keyring struct {
	dir  string
	file string // of the host's key, if it was named
}

// Default is the keyring in the user's configuration directory; hostKey, if not empty, names
// the file of the host's key in its place, and the heads are beside it.
func Default(hostKey string) (*Keyring, error) {
	if hostKey != "" {
		return &Keyring{dir: filepath.Dir(hostKey), file: hostKey}, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, hint.With(fmt.Errorf("no place for the keys of this host: %w", err), "name a file with --host-key")
	}
	return &Keyring{dir: filepath.Join(dir, "certkeep")}, nil
}

// HostPath is where the key of the host is, for a repository.
func (k *Keyring) HostPath(repository string) string {
	if k.file != "" {
		return k.file
	}
	return filepath.Join(k.dir, repository+".host.json")
}

// Host reads the key of the host in a repository. fs.ErrNotExist if it has none.
func (k *Keyring) Host(repository string) (*repo.HostKey, error) {
	path := k.HostPath(repository)
	b, err := secretfile.Read(path, maxFile)
	if err != nil {
		return nil, err
	}
	h, err := repo.DecodeHostKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

// Save keeps the key of the host, durably. Authorities that another process has added since
// it was read are merged into h.
func (k *Keyring) Save(h *repo.HostKey) (err error) {
	path := k.HostPath(h.Repository)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	lock := flock.New(path + ".lock")
	if err := lock.Lock(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	there, err := k.Host(h.Repository)
	if err == nil && there.Host == h.Host {
		h.Merge(there)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := h.Encode()
	if err != nil {
		return err
	}
	return secretfile.Write(path, b)
}

// Heads remembers what was seen of the repository at an address.
func (k *Keyring) Heads(location string) repo.Memory {
	return &heads{k.HeadsPath(location), location}
}

// HeadsPath is the file that Heads keeps them in.
func (k *Keyring) HeadsPath(location string) string {
	sum := sha256.Sum256([]byte(location))
	return filepath.Join(k.dir, hex.EncodeToString(sum[:8])+".heads.json")
}

type heads struct {
	path     string
	location string
}

type headsFile struct {
	Schema   int        `json:"schema"`
	Location string     `json:"location"`
	Heads    repo.Heads `json:"heads"`
}

// Load implements repo.Memory.
func (h *heads) Load() (repo.Heads, error) {
	b, err := durable.ReadFile(durable.OS, h.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f headsFile
	if err := json.Unmarshal(b, &f); err != nil || f.Schema != 1 || f.Location != h.location {
		return nil, hint.With(fmt.Errorf("%s: not what certkeep wrote", h.path), "look at it; without it certkeep does not notice whether the repository was rolled back")
	}
	return f.Heads, nil
}

// Save implements repo.Memory.
func (h *heads) Save(seen repo.Heads) error {
	b, err := json.MarshalIndent(headsFile{1, h.location, seen}, "", "  ")
	if err != nil {
		return err
	}
	return secretfile.Write(h.path, append(b, '\n'))
}

package account

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/secretfile"
)

// Schema 2 has NT hashes. A file without any is written as schema 1, so that an
// earlier certkeep still reads it.
const (
	plainSchema = 1
	ntSchema    = 2
	maxFile     = 4 << 20
	maxAccounts = 4096
)

// file is accounts.json. Unknown fields are refused rather than lost at the
// next change: whoever adds a secret of another kind raises the schema.
type file struct {
	Schema   int     `json:"schema"`
	Accounts []entry `json:"accounts"`
}

type entry struct {
	Name     string    `json:"name"`
	Roles    []string  `json:"roles"`
	Created  time.Time `json:"created"`
	Password string    `json:"password"`          // a PHC string
	NTHash   string    `json:"nt_hash,omitempty"` // hexadecimal; accounts for NTLM only, schema 2

	roles Roles
	hash  phc
	nt    ntHash
}

// InsecureFileError says that others than its owner may read the file.
type InsecureFileError = secretfile.InsecureError

// load reads the file; a missing one is empty.
func load(fsys durable.FS, path string) (*file, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return &file{Schema: plainSchema}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	if err := secretfile.Check(path, fi); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	out, err := decodeFile(b)
	if err != nil {
		return nil, fmt.Errorf("accounts: %s: %w", path, err)
	}
	return out, nil
}

func decodeFile(b []byte) (*file, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if head.Schema != plainSchema && head.Schema != ntSchema {
		return nil, fmt.Errorf("schema %d: this version of certkeep knows schemas %d and %d", head.Schema, plainSchema, ntSchema)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	if len(f.Accounts) > maxAccounts {
		return nil, fmt.Errorf("more than %d accounts", maxAccounts)
	}
	seen := make(map[string]bool)
	for i := range f.Accounts {
		e := &f.Accounts[i]
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("account %d: %w", i, err)
		}
		if e.NTHash != "" && f.Schema < ntSchema {
			return nil, fmt.Errorf("account %s has an NT hash, which schema %d does not know", e.Name, f.Schema)
		}
		if key := Fold(e.Name); seen[key] {
			return nil, fmt.Errorf("account %s is there twice", e.Name)
		} else {
			seen[key] = true
		}
	}
	return &f, nil
}

func (e *entry) check() error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if len(e.Roles) == 0 || len(e.Roles) > 32 {
		return fmt.Errorf("%s has no roles, or too many", e.Name)
	}
	var err error
	if e.roles, err = ParseRoles(strings.Join(e.Roles, ",")); err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	if e.hash, err = parsePHC(e.Password); err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	if e.NTHash != "" {
		if e.nt, err = parseNTHash(e.NTHash); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	return nil
}

func (f *file) save(fsys durable.FS, path string) error {
	f.Schema = plainSchema
	for i := range f.Accounts {
		if f.Accounts[i].NTHash != "" {
			f.Schema = ntSchema
		}
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	if err := durable.WriteFile(fsys, path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	return nil
}

func (f *file) find(name string) (int, *entry) {
	for i := range f.Accounts {
		if Fold(f.Accounts[i].Name) == Fold(name) {
			return i, &f.Accounts[i]
		}
	}
	return -1, nil
}

// Fold makes names comparable. They are ASCII, and nothing else is to become so:
// for Unicode the Kelvin sign is a k.
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}

func checkName(name string) error {
	ok := len(name) >= 1 && len(name) <= 64
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && strings.IndexByte("._-@", c) >= 0:
		default:
			ok = false
		}
	}
	if !ok {
		return fmt.Errorf("account name %.64q is not possible: 1 to 64 letters, digits and . _ - @, a letter or digit first", name)
	}
	return nil
}

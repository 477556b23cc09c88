package kerberos

import (
	"fmt"
	"os"
	"runtime"

	"github.com/jcmturner/gokrb5/v8/keytab"
)

// maxKeytab bounds a keytab file.
const maxKeytab = 1 << 20

// Keytab is the AES keys of a keytab file. It is safe for use by several
// goroutines.
type Keytab struct {
	entries []keytabEntry
}

type keytabEntry struct {
	name  []string
	realm string
	kvno  uint32
	key   *key

	ticket *sealer // opens tickets
}

// LoadKeytab reads a keytab file. Keys of other types than the AES ones are
// passed over; a file that has no other is an error.
//
// A file that others may read is refused, except on Windows, where the mode does
// not tell: whoever reads a service's key can make tickets for anybody.
func LoadKeytab(path string) (*Keytab, error) {
	if err := mustBePrivate(path); err != nil {
		return nil, fmt.Errorf("keytab: %w", err)
	}
	b, err := readFile(path, maxKeytab)
	if err != nil {
		return nil, fmt.Errorf("keytab: %w", err)
	}
	defer clear(b)
	k, err := ParseKeytab(b)
	if err != nil {
		return nil, fmt.Errorf("keytab %s: %w", path, err)
	}
	return k, nil
}

func mustBePrivate(path string) error {
	fi, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o077 == 0 {
		return err
	}
	return fmt.Errorf("%s can be read or written by others (mode %04o): chmod 600 %s", path, fi.Mode().Perm(), path)
}

// ParseKeytab decodes a keytab file's content.
func ParseKeytab(b []byte) (*Keytab, error) {
	var kt keytab.Keytab
	if err := guard("keytab", func() error { return kt.Unmarshal(b) }); err != nil {
		return nil, err
	}
	k := new(Keytab)
	others := false
	for _, e := range kt.Entries {
		if len(e.Principal.Components) == 0 {
			continue
		}
		if etypes[e.Key.KeyType] == nil {
			others = true
			continue
		}
		key, err := newKey(e.Key.KeyType, e.Key.KeyValue)
		if err != nil {
			return nil, err
		}
		k.entries = append(k.entries, keytabEntry{
			name: e.Principal.Components, realm: e.Principal.Realm, kvno: e.KVNO,
			key: key, ticket: key.sealer(usageTicket),
		})
	}
	switch {
	case len(k.entries) != 0:
		return k, nil
	case others:
		return nil, &hintError{errEtype.Error(), "export the keytab again with AES keys (ktpass /crypto AES256-SHA1, or ktadd)"}
	}
	return nil, fmt.Errorf("has no keys")
}

// Principals returns the names in the keytab, each once, in the file's order.
func (k *Keytab) Principals() []string {
	var names []string
	seen := map[string]bool{}
	for i := range k.entries {
		n := unparse(k.entries[i].name, k.entries[i].realm)
		if !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	return names
}

// openTicket returns the plaintext of a ticket of this realm. Entries of the
// ticket's key version are tried first, then the others of its encryption
// type: version numbers are cut to eight bits in old keytabs.
func (k *Keytab) openTicket(realm string, et int32, kvno int, ciphertext []byte) ([]byte, bool) {
	for _, match := range []bool{true, false} {
		for i := range k.entries {
			e := &k.entries[i]
			if e.key.et.id != et || e.realm != realm || (e.kvno == uint32(kvno)) != match {
				continue
			}
			if plain, err := e.ticket.open(ciphertext); err == nil {
				return plain, true
			}
		}
	}
	return nil, false
}

// find returns the key of a principal of one encryption type, the newest
// version of it.
func (k *Keytab) find(name []string, realm string, et int32) *key {
	var found *keytabEntry
	for i := range k.entries {
		e := &k.entries[i]
		if e.key.et.id == et && e.realm == realm && equalNames(e.name, name) && (found == nil || e.kvno > found.kvno) {
			found = e
		}
	}
	if found == nil {
		return nil
	}
	return found.key
}

func equalNames(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(path, f, limit)
}

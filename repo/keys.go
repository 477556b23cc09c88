package repo

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
)

// HostKey is what a machine that takes backups holds: enough to write sets, and to read
// the manifests of its own authorities; nothing that opens what a set holds. It is
// secret all the same: who has it can write in the host's name.
type HostKey struct {
	Schema     int    `json:"schema"`
	Repository string `json:"repository"`
	Root       string `json:"root"` // the root's public key, hexadecimal
	Host       string `json:"host"` // the host's id
	Name       string `json:"name"` // what people call the host
	Seed       string `json:"seed"` // of its Ed25519 key, hexadecimal
	// CAs are the keys of each authority this host backs up.
	CAs []CAKeys `json:"cas,omitempty"`

	mu sync.Mutex
}

// CAKeys are the keys of one authority.
type CAKeys struct {
	ID   string `json:"id"`
	Name string `json:"name"` // sanitized name of the authority
	Host string `json:"host,omitempty"`
	// Metadata is the age identity that manifests, receipts and lists are sealed to.
	Metadata string `json:"metadata_key"`
	// IDKey makes the ids of chunks, hexadecimal.
	IDKey string `json:"id_key"`
}

// maxHostKey bounds the file of a host's key, in bytes.
const maxHostKey = 4 << 20

// DecodeHostKey reads what Encode wrote.
func DecodeHostKey(b []byte) (*HostKey, error) {
	var h HostKey
	if len(b) > maxHostKey {
		return nil, fmt.Errorf("host key: %d bytes", len(b))
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	if h.Schema > schema {
		return nil, fmt.Errorf("host key: schema %d: %w", h.Schema, ErrNewer)
	}
	if _, err := h.key(); err != nil {
		return nil, err
	}
	if _, err := publicKey(h.Root); err != nil {
		return nil, fmt.Errorf("host key: root: %w", err)
	}
	if h.Schema != schema || !validID(h.Repository) || !validID(h.Host) {
		return nil, fmt.Errorf("host key: not one of certkeep")
	}
	for _, ca := range h.CAs {
		if _, err := ca.open(); err != nil {
			return nil, fmt.Errorf("host key: %w", err)
		}
	}
	return &h, nil
}

// Encode writes a host's key as JSON.
func (h *HostKey) Encode() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := json.MarshalIndent(h, "", "  ")
	return append(b, '\n'), err
}

func (h *HostKey) key() (ed25519.PrivateKey, error) {
	seed, err := hex.DecodeString(h.Seed)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("host key: the seed is no key")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// find is the authority's keys, nil if the host has none.
func (h *HostKey) find(ca backupset.CA) *CAKeys {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.CAs {
		if h.CAs[i].isFor(ca) {
			c := h.CAs[i]
			return &c
		}
	}
	return nil
}

// Merge takes in the authorities of another copy of the same key. Where both have keys for
// one authority, those of the other copy stay: they may be in use.
func (h *HostKey) Merge(other *HostKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	merged := other.all()
	for _, c := range h.CAs {
		known := slices.ContainsFunc(merged, func(o CAKeys) bool {
			return o.ID == c.ID || strings.EqualFold(o.Name, c.Name) && strings.EqualFold(o.Host, c.Host)
		})
		if !known {
			merged = append(merged, c)
		}
	}
	h.CAs = merged
}

func (h *HostKey) add(ca CAKeys) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.CAs = append(h.CAs, ca)
}

func (h *HostKey) all() []CAKeys {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]CAKeys(nil), h.CAs...)
}

func (c *CAKeys) isFor(ca backupset.CA) bool {
	return strings.EqualFold(c.Name, caName(ca)) && strings.EqualFold(c.Host, ca.Host)
}

func caName(ca backupset.CA) string {
	if ca.SanitizedName != "" {
		return ca.SanitizedName
	}
	return ca.Name
}

func newCAKeys(ca backupset.CA) (CAKeys, error) {
	metadata, err := age.GenerateX25519Identity()
	if err != nil {
		return CAKeys{}, err
	}
	return CAKeys{ID: newID(), Name: caName(ca), Host: ca.Host, Metadata: metadata.String(), IDKey: hex.EncodeToString(random(32))}, nil
}

// caKeys are CAKeys ready for use.
type caKeys struct {
	id       string
	metadata *age.X25519Identity
	idKey    []byte
}

func (c *CAKeys) open() (*caKeys, error) {
	metadata, err := age.ParseX25519Identity(c.Metadata)
	if err != nil {
		return nil, fmt.Errorf("keys of authority %.60q: the metadata key is none", c.Name)
	}
	idKey, err := hex.DecodeString(c.IDKey)
	if err != nil || len(idKey) != 32 || !validID(c.ID) {
		return nil, fmt.Errorf("keys of authority %.60q: the id key is none", c.Name)
	}
	return &caKeys{c.ID, metadata, idKey}, nil
}

// ids makes ids of chunks: the AES-256-GMAC of the chunk under the authority's id key, with
// a nonce of zeros. That is a keyed universal hash, and several times as fast as a
// cryptographic one: two different chunks get the same id with a probability below 2^-117, for
// whoever does not know the key. Who knows it holds the keys of the authority's lists as well,
// and need not forge ids to forge those. Ids stand in sealed lists only.
type ids struct {
	mac cipher.AEAD
	sum [chunklist.IDSize]byte
}

func (c *caKeys) ids() *ids {
	block, err := aes.NewCipher(c.idKey)
	if err != nil {
		panic(err) // open has checked the key's length
	}
	mac, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the block length that it asks for
	}
	return &ids{mac: mac}
}

var zeroNonce [12]byte

func (i *ids) of(chunk []byte) (id chunklist.ID) {
	copy(id[:], i.mac.Seal(i.sum[:0], zeroNonce[:], nil, chunk))
	return id
}

func publicKey(s string) (ed25519.PublicKey, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize || strings.ToLower(s) != s {
		return nil, fmt.Errorf("%.80q is no Ed25519 key", s)
	}
	return b, nil
}

// newID makes an id: 16 random hexadecimal digits.
func newID() string { return hex.EncodeToString(random(8)) }

func validID(s string) bool {
	if len(s) != 16 {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// Package journal keeps a repository's journals: for each author (a host, or the
// root) a chain of signed entries that are written once, one after another.
//
// An entry is an object journal/AUTHOR/SEQ of two lines: a JSON object, and the
// base64 of the Ed25519 signature over "certkeep journal 1", a line feed, and
// the first line without its line feed. Each names the SHA-256 of the one before,
// so that whoever remembers the newest entry of an author (a [Head]) notices any
// that is replaced, missing or cut off.
package journal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Schema is the version of entries that this package writes, and the newest that it
// reads.
const Schema = 1

// MaxEntry is the longest entry in bytes.
const MaxEntry = 16 << 20

const domain = "certkeep journal 1\n"

// What is wrong with entries.
var (
	ErrDamaged = errors.New("damaged")
	ErrNewer   = errors.New("written by a newer version of certkeep")
)

// Entry is one entry of a journal.
type Entry struct {
	Schema     int               `json:"schema"`
	Repository string            `json:"repository"`
	Author     string            `json:"author"`
	Seq        uint64            `json:"seq"`      // from 1 on
	Previous   string            `json:"previous"` // SHA-256 of the entry before; empty in the first
	Time       time.Time         `json:"time"`     // the author's clock: for people
	Records    []json.RawMessage `json:"records"`

	Hash   string    `json:"-"` // SHA-256 of the object
	Stored time.Time `json:"-"` // the store's clock
}

// Head is the newest entry of an author.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"sha256"`
}

// Head of the journal that ends in this entry.
func (e *Entry) Head() Head { return Head{e.Seq, e.Hash} }

// Encode signs an entry, and fills in Schema and Hash.
func (e *Entry) Encode(key ed25519.PrivateKey) ([]byte, error) {
	e.Schema = Schema
	line, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	b := Sign(line, key)
	if len(b) > MaxEntry {
		return nil, fmt.Errorf("journal entry of %d bytes", len(b))
	}
	e.Hash = sum(b)
	return b, nil
}

// Sign puts a signature under a line of a journal.
func Sign(line []byte, key ed25519.PrivateKey) []byte { return SignAs(domain, line, key) }

// SignAs puts a signature under a line of another kind: what is signed is the domain, which ends
// in a line feed, and the line.
func SignAs(domain string, line []byte, key ed25519.PrivateKey) []byte {
	sig := ed25519.Sign(key, append([]byte(domain), line...))
	return fmt.Appendf(nil, "%s\n%s\n", line, base64.StdEncoding.EncodeToString(sig))
}

// Verify splits what Sign made, and checks its signature if key is not nil.
func Verify(b []byte, key ed25519.PublicKey) (line []byte, err error) {
	return VerifyAs(domain, b, key)
}

// VerifyAs splits what SignAs made.
func VerifyAs(domain string, b []byte, key ed25519.PublicKey) (line []byte, err error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	sig64, tail, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok || !ok2 || len(tail) > 0 {
		return nil, fmt.Errorf("%w: not two lines", ErrDamaged)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(string(sig64))
	if err != nil || len(sig) != ed25519.SignatureSize {
		return nil, fmt.Errorf("%w: no signature", ErrDamaged)
	}
	if key != nil && !ed25519.Verify(key, append([]byte(domain), line...), sig) {
		return nil, fmt.Errorf("%w: the signature is wrong", ErrDamaged)
	}
	return line, nil
}

// Decode reads an entry and checks its signature; with a nil key only its form.
func Decode(b []byte, key ed25519.PublicKey) (*Entry, error) {
	if len(b) > MaxEntry {
		return nil, fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	line, err := Verify(b, key)
	if err != nil {
		return nil, err
	}
	var v struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if v.Schema > Schema {
		return nil, fmt.Errorf("%w: schema %d", ErrNewer, v.Schema)
	}
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if e.Schema != Schema || e.Seq == 0 {
		return nil, fmt.Errorf("%w: schema %d, number %d", ErrDamaged, e.Schema, e.Seq)
	}
	e.Hash = sum(b)
	return &e, nil
}

// Key is the name of an author's entry.
func Key(author string, seq uint64) string { return fmt.Sprintf("%s%08d", prefix(author), seq) }

// Root is the author whose key the repository is founded on.
const Root = "root"

// Dir is where all journals are.
const Dir = "journal/"

func prefix(author string) string { return Dir + author + "/" }

// ParseKey takes the name of an entry apart.
func ParseKey(key string) (author string, seq uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, Dir)
	author, num, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || author == "" || len(num) < 8 {
		return "", 0, false
	}
	for _, c := range num {
		if c < '0' || c > '9' || seq > 1<<50 {
			return "", 0, false
		}
		seq = seq*10 + uint64(c-'0')
	}
	return author, seq, seq > 0 && Key(author, seq) == key
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

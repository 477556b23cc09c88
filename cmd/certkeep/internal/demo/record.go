package demo

import (
	"bufio"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
)

// Entry is a certificate that a client received: what the authority has
// acknowledged, and must therefore have again after the restore.
type Entry struct {
	Client  string    `json:"client"`
	Serial  string    `json:"serial"`
	SHA256  string    `json:"sha256"` // of the certificate's DER
	At      time.Time `json:"at"`
	Revoked bool      `json:"revoked,omitempty"` // an acknowledged revocation, not a certificate
}

func entryOf(client string, cert *x509.Certificate) Entry {
	sum := sha256.Sum256(cert.Raw)
	return Entry{Client: client, Serial: schema.SerialText(cert.SerialNumber), SHA256: hex.EncodeToString(sum[:]), At: time.Now().UTC()}
}

// Record is a client's own file of what was acknowledged, outside the authority:
// JSON lines, one written before the next certificate is asked for.
type Record struct {
	mu sync.Mutex
	f  *os.File
	n  int
}

// NewRecord creates the file.
func NewRecord(name string) (*Record, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &Record{f: f}, nil
}

// Add appends an entry.
func (r *Record) Add(e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.f.Write(append(b, '\n')); err != nil {
		return err
	}
	r.n++
	return nil
}

// Close syncs and closes the file.
func (r *Record) Close() error { return errors.Join(r.f.Sync(), r.f.Close()) }

// ReadRecord reads a file that a Record wrote.
func ReadRecord(name string) ([]Entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var entries []Entry
	s := bufio.NewScanner(f)
	for s.Scan() {
		var e Entry
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, len(entries)+1, err)
		}
		entries = append(entries, e)
	}
	return entries, s.Err()
}

package sqlitelog

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Signature identifies a line of logs. It is made when a database is created,
// and again when one is restored or goes on after a loss, so that logs of
// different pasts are never joined. The zero Signature identifies nothing.
type Signature struct {
	// Random is what makes it unique.
	Random [16]byte
	// Created is when it was made, in nanoseconds since 1970 UTC.
	Created int64
}

func newSignature() Signature {
	s := Signature{Created: time.Now().UnixNano()}
	rand.Read(s.Random[:]) // never fails
	return s
}

// IsZero says whether s identifies nothing.
func (s Signature) IsZero() bool { return s == Signature{} }

// Time is when the signature was made.
func (s Signature) Time() time.Time { return time.Unix(0, s.Created).UTC() }

// String is 32 hex digits, a hyphen, and the creation time in hex.
func (s Signature) String() string {
	return hex.EncodeToString(s.Random[:]) + "-" + fmt.Sprintf("%016x", uint64(s.Created))
}

// ParseSignature reads what String writes, and nothing else.
func ParseSignature(text string) (Signature, error) {
	var s Signature
	random, created, ok := strings.Cut(text, "-")
	if !ok || len(random) != 32 || len(created) != 16 {
		return s, fmt.Errorf("not a database signature: %.80q", text)
	}
	if _, err := hex.Decode(s.Random[:], []byte(random)); err != nil {
		return Signature{}, fmt.Errorf("not a database signature: %.80q", text)
	}
	u, err := strconv.ParseUint(created, 16, 64)
	if err != nil {
		return Signature{}, fmt.Errorf("not a database signature: %.80q", text)
	}
	s.Created = int64(u)
	if s.String() != text {
		return Signature{}, fmt.Errorf("not a database signature in its usual form: %.80q", text)
	}
	return s, nil
}

// MarshalText is String.
func (s Signature) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSignature.
func (s *Signature) UnmarshalText(text []byte) error {
	v, err := ParseSignature(string(text))
	if err == nil {
		*s = v
	}
	return err
}

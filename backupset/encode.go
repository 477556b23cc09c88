package backupset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Bounds of what is read and written.
const (
	MaxManifestSize = 64 << 20 // bytes
	MaxReceiptSize  = 16 << 20
	maxFiles        = 200_000
	maxDynamic      = 20_000
	maxCalls        = 1_000_000
	maxText         = 4096   // error texts
	maxPath         = 32_767 // UTF-16 characters of the longest UNC name
	maxShort        = 1024   // names, hosts, versions
	maxDepth        = 16     // of nested JSON
	maxLogHead      = 64 << 10
)

// Encode writes a manifest in its one form and fills in Schema and SHA256. The
// manifest must be valid.
func (m *Manifest) Encode() ([]byte, error) {
	m.Schema = Schema
	m.normalize()
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	b, sum, err := seal(m, MaxManifestSize)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m.SHA256 = sum
	return b, nil
}

// DecodeManifest reads what Encode wrote. Errors are ErrDamaged or ErrNewer.
func DecodeManifest(b []byte) (*Manifest, error) {
	sum, err := unseal(b, MaxManifestSize)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w: %v", ErrDamaged, err)
	}
	m.SHA256 = sum
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("manifest: %w: %v", ErrDamaged, err)
	}
	return &m, nil
}

// Encode writes a receipt in its one form and fills in Schema and SHA256. The
// receipt must be valid.
func (r *Receipt) Encode() ([]byte, error) {
	r.Schema = Schema
	r.Finished = wallClock(r.Finished)
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	b, sum, err := seal(r, MaxReceiptSize)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	r.SHA256 = sum
	return b, nil
}

// DecodeReceipt reads what Receipt.Encode wrote. Errors are ErrDamaged or
// ErrNewer.
func DecodeReceipt(b []byte) (*Receipt, error) {
	sum, err := unseal(b, MaxReceiptSize)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	var r Receipt
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("receipt: %w: %v", ErrDamaged, err)
	}
	r.SHA256 = sum
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("receipt: %w: %v", ErrDamaged, err)
	}
	return &r, nil
}

func (m *Manifest) normalize() {
	m.Start, m.End = wallClock(m.Start), wallClock(m.End)
}

// wallClock drops what JSON cannot hold: the zone and the monotonic reading.
func wallClock(t time.Time) time.Time { return t.Round(0).UTC() }

// The last two lines of a sealed object.
const (
	sealHead = "  \"sha256\": \""
	sealTail = "\"\n}\n"
	sealLen  = len(sealHead) + 2*sha256.Size + len(sealTail)
)

// seal encodes v and adds its digest as the last member.
func seal(v any, limit int) ([]byte, string, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, "", err
	}
	b, ok := bytes.CutSuffix(buf.Bytes(), []byte("\n}\n"))
	if !ok {
		return nil, "", fmt.Errorf("not an object with members")
	}
	b = append(b, ",\n"...)
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	b = append(b, sealHead+digest+sealTail...)
	if len(b) > limit {
		return nil, "", fmt.Errorf("larger than %d bytes", limit)
	}
	return b, digest, nil
}

// unseal checks an object's digest, then its schema and its members' names. It
// returns the digest.
func unseal(b []byte, limit int) (string, error) {
	if len(b) > limit {
		return "", fmt.Errorf("%w: larger than %d bytes", ErrDamaged, limit)
	}
	if len(b) < sealLen {
		return "", fmt.Errorf("%w: cut short (%d bytes)", ErrDamaged, len(b))
	}
	body, last := b[:len(b)-sealLen], string(b[len(b)-sealLen:])
	digest := last[len(sealHead) : len(sealHead)+2*sha256.Size]
	if !strings.HasPrefix(last, sealHead) || !strings.HasSuffix(last, sealTail) || !isDigest(digest) {
		return "", fmt.Errorf("%w: does not end in its sha256 line; cut short or changed", ErrDamaged)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != digest {
		return "", fmt.Errorf("%w: its sha256 line does not match; a byte was changed", ErrDamaged)
	}
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return "", fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if head.Schema > Schema {
		return "", fmt.Errorf("%w: schema %d, and this version reads up to %d", ErrNewer, head.Schema, Schema)
	}
	if head.Schema < 1 {
		return "", fmt.Errorf("%w: schema %d", ErrDamaged, head.Schema)
	}
	if err := checkMembers(b); err != nil {
		return "", fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return digest, nil
}

// checkMembers refuses what JSON readers disagree about: a member named twice
// (encoding/json even ignores letter case), deep nesting, and a second value.
func checkMembers(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	type level struct {
		object bool
		key    bool // the next token is a member's name
		names  map[string]bool
	}
	var stack []level
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		top := len(stack) - 1
		if delim, ok := t.(json.Delim); ok && (delim == '}' || delim == ']') {
			stack = stack[:top]
			continue
		}
		if top >= 0 && stack[top].object {
			if stack[top].key {
				name, _ := t.(string)
				if fold := FoldName(name); stack[top].names[fold] {
					return fmt.Errorf("member %.80q is there twice", name)
				} else {
					stack[top].names[fold] = true
				}
			}
			stack[top].key = !stack[top].key
		} else if top < 0 && t != json.Delim('{') {
			return fmt.Errorf("not an object")
		}
		if delim, ok := t.(json.Delim); ok {
			if len(stack) == maxDepth {
				return fmt.Errorf("nested deeper than %d", maxDepth)
			}
			stack = append(stack, level{object: delim == '{', key: true, names: map[string]bool{}})
		}
	}
}

// isDigest reports whether s is a SHA-256 in lower-case hexadecimal.
func isDigest(s string) bool { return len(s) == 2*sha256.Size && isHex(s) }

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s)%2 == 0
}

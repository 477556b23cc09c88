package adcs

import (
	"context"
	"crypto/sha1" // Windows names certificates by it; nothing is proven with it
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/hint"
)

// Identity names the authority. Its certificate is empty if it is not found: a
// backup says so and is made all the same, since nothing else can make up for the
// database. A restore needs the certificate; see [Host.Certificate].
func (h *Host) Identity(context.Context) (certadm.Identity, error) {
	name, err := h.text(h.key(), "CommonName")
	if errors.Is(err, fs.ErrNotExist) {
		name, err = certadm.UnsanitizeName(h.name)
	}
	if err != nil {
		return certadm.Identity{}, err
	}
	d, err := h.directories()
	if err != nil {
		return certadm.Identity{}, err
	}
	id := certadm.Identity{Name: name, SanitizedName: h.name, Host: h.names.netBIOS, Engine: d.engine()}
	id.Certificate, err = h.Certificate()
	if err != nil && !errors.Is(err, ErrNoCertificate) {
		return certadm.Identity{}, err
	}
	return id, nil
}

// Certificate is the newest of the authority's certificates in DER; the error is
// [ErrNoCertificate] if the registry names none, or if none of the machine's
// stores has it.
func (h *Host) Certificate() ([]byte, error) {
	hashes, err := h.hashes()
	if err != nil {
		return nil, err
	}
	newest := ""
	for _, x := range hashes {
		if x != "" {
			newest = x
		}
	}
	if newest == "" {
		return nil, missingCertificate("CACertHash names none")
	}
	found, err := h.find(hashes)
	if err != nil {
		return nil, err
	}
	if c, ok := found[newest]; ok {
		return c, nil
	}
	return nil, missingCertificate("the one with the SHA-1 hash " + newest + ", named by CACertHash")
}

func missingCertificate(what string) error {
	return hint.With(fmt.Errorf("%w: %s", ErrNoCertificate, what),
		"restore the authority's key and certificate first (certutil -restoreKey, or import the PKCS#12 file and run certutil -repairstore my); "+
			"its database is of no use without them")
}

// maxCertificates bounds CACertHash; the authority gets one with each renewal.
const maxCertificates = 256

// hashes is CACertHash: the SHA-1 hash of each of the authority's certificates,
// oldest first, in lower case and without spaces. A certificate that is no more
// has a dash there, and an empty string here; its place still counts.
func (h *Host) hashes() ([]string, error) {
	v, err := h.sys.value(h.key(), "CACertHash")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the key pair is made, and its certificate not yet installed
	}
	if err != nil {
		return nil, fmt.Errorf(`HKLM\%s, CACertHash: %w`, h.key(), err)
	}
	list, err := v.Strings()
	if err != nil {
		return nil, fmt.Errorf(`HKLM\%s: %w`, h.key(), err)
	}
	if len(list) > maxCertificates {
		return nil, fmt.Errorf(`HKLM\%s, CACertHash: %d certificates`, h.key(), len(list))
	}
	for i, s := range list {
		s = strings.ToLower(strings.ReplaceAll(s, " ", ""))
		if b, err := hex.DecodeString(s); err != nil || len(b) != sha1.Size {
			s = ""
		}
		list[i] = s
	}
	return list, nil
}

// stores are those of the local machine in which a CA's certificate may be: with
// its key, as an intermediate one, as a root.
var stores = []string{"MY", "CA", "ROOT"}

// find looks certificates up by their hashes.
func (h *Host) find(hashes []string) (map[string][]byte, error) {
	found := make(map[string][]byte)
	for _, store := range stores {
		certs, err := h.sys.certificates(store)
		if err != nil {
			return nil, fmt.Errorf("certificate store %s: %w", store, err)
		}
		for _, c := range certs {
			sum := sha1.Sum(c)
			x := hex.EncodeToString(sum[:])
			for _, want := range hashes {
				if x == want && found[x] == nil {
					found[x] = c
				}
			}
		}
	}
	return found, nil
}

// maxChain bounds how far up issuers are looked for.
const maxChain = 16

// chain returns the issuers of a certificate, as far as the machine's stores have
// them, up to one that signed itself.
func (h *Host) chain(leaf []byte) ([][]byte, error) {
	var candidates []*x509.Certificate
	for _, store := range stores {
		certs, err := h.sys.certificates(store)
		if err != nil {
			return nil, fmt.Errorf("certificate store %s: %w", store, err)
		}
		for _, c := range certs {
			if x, err := x509.ParseCertificate(c); err == nil {
				candidates = append(candidates, x)
			}
		}
	}
	at, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, err
	}
	var chain [][]byte
	for range maxChain {
		if isIssuer(at, at) {
			break
		}
		var next *x509.Certificate
		for _, c := range candidates {
			if isIssuer(c, at) {
				next = c
				break
			}
		}
		if next == nil {
			break
		}
		chain = append(chain, next.Raw)
		at = next
	}
	return chain, nil
}

// isIssuer reports whether c is signed by the key of issuer. Signatures of kinds
// that are no longer checked, as of MD5, are believed if the names fit: a chain
// that is kept proves nothing.
func isIssuer(issuer, c *x509.Certificate) bool {
	if string(issuer.RawSubject) != string(c.RawIssuer) {
		return false
	}
	if len(c.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && string(c.AuthorityKeyId) != string(issuer.SubjectKeyId) {
		return false
	}
	err := issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	var old x509.InsecureAlgorithmError
	return err == nil || errors.As(err, &old) || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}

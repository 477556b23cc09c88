package certsrv

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// row is what one request adds to the database. The writer gives the id.
type row struct {
	id          int64
	raw         []byte
	disposition schema.Disposition
	status      uint32 // an HRESULT
	message     string
	submitted   int64
	resolved    int64 // 0: not yet
	revoked     int64 // 0: not revoked
	reason      schema.Reason
	requester   string
	rawName     []byte
	name        schema.Subject
	attrs       []attribute
	cert        *certRow // nil: no certificate

	done chan error // receives the outcome, once
}

type attribute struct{ name, value string }

// certRow is the certificate's part.
type certRow struct {
	raw       []byte
	hash      string
	serial    string
	notBefore int64
	notAfter  int64
	keyID     string
	key       []byte // the public key's bits
	keyBits   int
	keyOID    string
	keyParams []byte
	rawName   []byte
	name      schema.Subject
	exts      []extension
}

type extension struct {
	name  string
	flags uint32
	value []byte
}

// newCertRow takes a certificate apart for its columns.
func newCertRow(cert *x509.Certificate) (*certRow, error) {
	sum := sha1.Sum(cert.Raw) // the CertificateHash column is defined so; nothing is secured by it
	c := &certRow{
		raw:       cert.Raw,
		hash:      schema.HexText(sum[:]),
		serial:    schema.SerialText(cert.SerialNumber),
		notBefore: schema.Filetime(cert.NotBefore),
		notAfter:  schema.Filetime(cert.NotAfter),
		keyID:     schema.HexText(cert.SubjectKeyId),
		keyBits:   keyBits(cert.PublicKey),
		rawName:   cert.RawSubject,
	}
	if err := c.readKey(cert.RawSubjectPublicKeyInfo); err != nil {
		return nil, err
	}
	c.exts = make([]extension, len(cert.Extensions))
	for i, e := range cert.Extensions {
		x := extension{name: oidText(e.Id), flags: origin(e.Id), value: e.Value}
		if e.Critical {
			x.flags |= schema.ExtensionCritical
		}
		c.exts[i] = x
	}
	return c, nil
}

// readKey splits a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
func (c *certRow) readKey(spki []byte) error {
	in := cryptobyte.String(spki)
	var info, alg cryptobyte.String
	var oid asn1.ObjectIdentifier
	var bits asn1.BitString
	if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1(&alg, cbasn1.SEQUENCE) ||
		!alg.ReadASN1ObjectIdentifier(&oid) || !info.ReadASN1BitString(&bits) {
		return fmt.Errorf("public key information is malformed")
	}
	c.key, c.keyOID, c.keyParams = bits.Bytes, oidText(oid), []byte(alg)
	return nil
}

func keyBits(pub any) int {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return 256
	}
	return 0
}

func oidText(oid asn1.ObjectIdentifier) string { return oid.String() }

// origin says who put an extension into the certificate (certsrv.h).
func origin(oid asn1.ObjectIdentifier) uint32 {
	if len(oid) == 4 && oid[0] == 2 && oid[1] == 5 && oid[2] == 29 {
		switch oid[3] {
		case 17: // subjectAltName
			return schema.OriginRequest
		case 14, 31, 35: // key identifiers and CRL distribution points
			return schema.OriginServer
		}
		return schema.OriginPolicy
	}
	return schema.OriginServer
}

// requestRow is a request that was parsed.
func requestRow(req *authority.Request, requester string, attrs []attribute, now time.Time) (*row, error) {
	name, err := schema.SplitSubject(req.RawSubject)
	if err != nil {
		return nil, err
	}
	return &row{
		raw: req.Raw, submitted: schema.Filetime(now), requester: requester,
		rawName: req.RawSubject, name: name, attrs: attrs,
	}, nil
}

// serialBytes is the number of octets of a serial number.
const serialBytes = 16

// newSerial returns a positive serial number of 16 octets: the time in
// milliseconds since 1970 in six of them and 80 random bits. RFC 5280 wants
// them unique, and nobody may foresee the next one; the CA/Browser Forum asks
// for 64 random bits. The time in front keeps the database's index on serials
// growing at its end, which spares a page in the log for each certificate, and
// makes serials unique across a restore whatever happens to the random bits.
func newSerial(now time.Time, random func([]byte) (int, error)) (*big.Int, error) {
	var b [serialBytes]byte
	ms := uint64(max(now.UnixMilli(), 1<<40)) // a first octet that is not 0 keeps the length the same
	for i := range 6 {
		b[i] = byte(ms >> (8 * (5 - i)))
	}
	b[0] &= 0x7F
	if _, err := random(b[6:]); err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return new(big.Int).SetBytes(b[:]), nil
}

// serialNumber reads the SerialNumber column.
func serialNumber(text string) (*big.Int, error) {
	b, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("serial number %.80q: %w", text, err)
	}
	return new(big.Int).SetBytes(b), nil
}

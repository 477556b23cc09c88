package authority

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
)

const (
	// MaxRequest is the largest request accepted, as DER, in bytes.
	MaxRequest = 64 << 10
	// MaxRequestText bounds what ParseRequest looks at in any form: MaxRequest
	// in base64 with line breaks and PEM headers.
	MaxRequestText = 96 << 10
)

// Request is a certificate request (PKCS#10, RFC 2986) that was judged
// acceptable, its signature included. The fields are for reading.
type Request struct {
	Raw              []byte // the DER of the request
	RawSubject       []byte // copied into the certificate as it stands
	RawPublicKeyInfo []byte
	SubjectKeyID     []byte // RFC 7093, 2, method 1
	KeyAlgorithm     x509.PublicKeyAlgorithm
	KeyBits          int

	Subject    []Attribute // in the order of the encoding; may be empty
	CommonName string      // the last CN of Subject, or ""

	DNSNames       []string
	EmailAddresses []string
	IPAddresses    []string
	URIs           []string

	CA bool // asks for a CA certificate; never without Policy.AllowCA

	publicKey crypto.PublicKey
	san       []byte // extension value, validated
}

// DistinguishedName is the subject as text, its attributes in the order of the
// encoding: "C=DE, O=Example, CN=host".
func (r *Request) DistinguishedName() string { return formatDN(r.Subject) }

// PublicKey is the key to be certified.
func (r *Request) PublicKey() crypto.PublicKey { return r.publicKey }

func (r *Request) emptySubject() bool { return len(r.Subject) == 0 }

// Policy changes what is acceptable.
type Policy struct {
	// AllowCA accepts requests for CA certificates, to be issued with
	// ProfileSubordinateCA.
	AllowCA bool
}

// ParseRequest judges a request under the zero Policy. It takes DER, PEM
// (CERTIFICATE REQUEST or NEW CERTIFICATE REQUEST), or bare base64 as EST
// sends it. Every refusal is a *[RequestError].
func ParseRequest(b []byte) (*Request, error) { return Policy{}.ParseRequest(b) }

// ParseRequest judges a request under the policy; see the function of that
// name.
func (p Policy) ParseRequest(b []byte) (*Request, error) {
	der, err := decodeRequest(b)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, notParsed(err)
	}
	if csr.Version != 0 {
		return nil, refuse(ReasonMalformed, "PKCS#10 version %d: it must be 0", csr.Version)
	}
	r := &Request{
		Raw:              csr.Raw,
		RawSubject:       csr.RawSubject,
		RawPublicKeyInfo: csr.RawSubjectPublicKeyInfo,
		KeyAlgorithm:     csr.PublicKeyAlgorithm,
		publicKey:        csr.PublicKey,
	}
	if r.KeyBits, err = checkKey(csr.PublicKey); err != nil {
		return nil, err
	}
	if err := checkSignatureAlgorithm(csr.SignatureAlgorithm); err != nil {
		return nil, err
	}
	if r.Subject, err = parseSubject(csr.RawSubject); err != nil {
		return nil, err
	}
	for _, a := range r.Subject {
		if a.Type == "CN" {
			r.CommonName = a.Value
		}
	}
	if err := r.readAttributes(csr.RawTBSCertificateRequest, p); err != nil {
		return nil, err
	}
	if r.emptySubject() && r.san == nil {
		return nil, refuse(ReasonSubject, "the request has neither a subject nor alternative names")
	}
	if r.SubjectKeyID, err = subjectKeyID(csr.RawSubjectPublicKeyInfo); err != nil {
		return nil, notParsed(err)
	}
	// Last, because it is the only expensive step; and nowhere else.
	if err := csr.CheckSignature(); err != nil {
		return nil, refuse(ReasonSignature, "the request is not signed by the key it carries")
	}
	return r, nil
}

// decodeRequest finds the DER in what was sent.
func decodeRequest(b []byte) ([]byte, error) {
	if len(b) > MaxRequestText {
		return nil, refuse(ReasonTooLarge, "%d bytes: at most %d are accepted", len(b), MaxRequest)
	}
	text := bytes.TrimSpace(b)
	var der []byte
	switch {
	case len(text) == 0:
		return nil, refuse(ReasonMalformed, "the request is empty")
	case b[0] == 0x30: // a SEQUENCE. In base64 every request begins with M
		der = b
	case bytes.Contains(text, []byte("-----BEGIN ")):
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return nil, refuse(ReasonMalformed, "the PEM block is damaged")
		case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
			return nil, refuse(ReasonMalformed, "the PEM block is %s, not a CERTIFICATE REQUEST", quote(block.Type))
		case bytes.Contains(rest, []byte("-----BEGIN ")):
			return nil, refuse(ReasonMalformed, "there is more than one PEM block")
		}
		der = block.Bytes
	default:
		t := bytes.Join(bytes.Fields(text), nil)
		der = make([]byte, base64.StdEncoding.DecodedLen(len(t)))
		n, err := base64.StdEncoding.Strict().Decode(der, t)
		if err != nil {
			return nil, refuse(ReasonMalformed, "it is neither DER, nor PEM, nor base64")
		}
		der = der[:n]
	}
	if len(der) > MaxRequest {
		return nil, refuse(ReasonTooLarge, "%d bytes: at most %d are accepted", len(der), MaxRequest)
	}
	return der, nil
}

// notParsed turns the standard library's refusal into ours. Keys that it does
// not know it refuses while parsing.
func notParsed(err error) error {
	s := err.Error()
	for _, k := range []string{"elliptic", "RSA ", "ECDSA", "Ed25519", "DSA", "public key"} {
		if strings.Contains(s, k) {
			return refuse(ReasonKey, "%s", printable(s))
		}
	}
	return refuse(ReasonMalformed, "%s", printable(s))
}

func checkSignatureAlgorithm(a x509.SignatureAlgorithm) error {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
		x509.PureEd25519:
		return nil
	case x509.UnknownSignatureAlgorithm:
		return refuse(ReasonAlgorithm, "the request's signature algorithm is unknown")
	}
	return refuse(ReasonAlgorithm, "%v is too weak or unsupported: sign with SHA-256, SHA-384 or SHA-512", a)
}

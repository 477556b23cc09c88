package authority

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
)

// Profile says what a certificate may be used for.
type Profile string

const (
	// ProfileDefault is for TLS servers and clients alike.
	ProfileDefault Profile = ""
	// ProfileServer is for TLS servers.
	ProfileServer Profile = "server"
	// ProfileClient is for TLS clients.
	ProfileClient Profile = "client"
	// ProfileSubordinateCA is for a CA below this one that may issue end-entity
	// certificates only (path length 0). The request must ask for it, see
	// [Policy], and this CA's own path length must leave room.
	ProfileSubordinateCA Profile = "subca"
)

// ParseProfile reads a profile's name; "default" and the empty string are
// ProfileDefault.
func ParseProfile(s string) (Profile, error) {
	switch p := Profile(strings.ToLower(s)); p {
	case ProfileDefault, ProfileServer, ProfileClient, ProfileSubordinateCA:
		return p, nil
	case "default":
		return ProfileDefault, nil
	}
	return "", fmt.Errorf("unknown profile %q: it is one of default, server, client, subca", s)
}

// String is the name that ParseProfile reads.
func (p Profile) String() string {
	if p == ProfileDefault {
		return "default"
	}
	return string(p)
}

// apply fills in the usages. Key encipherment is what TLS 1.2 key exchange
// needs with RSA and means nothing for other keys (RFC 5480, 3; RFC 8410, 5).
func (p Profile) apply(c *x509.Certificate, req *Request, ca *x509.Certificate) error {
	if req.CA != (p == ProfileSubordinateCA) {
		if req.CA {
			return refuse(ReasonCA, "the request asks for a CA certificate, and the profile is %q", p.String())
		}
		return refuse(ReasonCA, "the profile is %q, and the request does not ask for a CA certificate", p.String())
	}
	c.KeyUsage = x509.KeyUsageDigitalSignature
	_, isRSA := req.publicKey.(*rsa.PublicKey)
	switch p {
	case ProfileDefault:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	case ProfileServer:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case ProfileClient:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		return nil
	case ProfileSubordinateCA:
		if ca.MaxPathLen == 0 && ca.MaxPathLenZero {
			return refuse(ReasonCA, "this CA's path length is 0, so that it can have no subordinate CA")
		}
		c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
		c.IsCA, c.MaxPathLen, c.MaxPathLenZero = true, 0, true
		return nil
	default:
		return fmt.Errorf("authority: unknown profile %q", string(p))
	}
	if isRSA {
		c.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	return nil
}

package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// Reason is the RevokedReason column: the CRLReason of RFC 5280 section 5.3.1,
// and AD CS's "released" for a certificate taken off hold without a reason.
type Reason uint32

// The reasons. A certificate on CertificateHold can be released, any other
// revocation is for good. RemoveFromCRL stands in delta CRLs only; in AD CS's
// database it marks a certificate that was released and is issued again.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6
	RemoveFromCRL        Reason = 8
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
	Released             Reason = 0xFFFFFFFF
)

var reasonNames = map[Reason]string{
	Unspecified: "unspecified", KeyCompromise: "keyCompromise", CACompromise: "cACompromise",
	AffiliationChanged: "affiliationChanged", Superseded: "superseded", CessationOfOperation: "cessationOfOperation",
	CertificateHold: "certificateHold", RemoveFromCRL: "removeFromCRL", PrivilegeWithdrawn: "privilegeWithdrawn",
	AACompromise: "aACompromise", Released: "released",
}

// String returns RFC 5280's name, or the number if there is none.
func (r Reason) String() string {
	if s, ok := reasonNames[r]; ok {
		return s
	}
	return strconv.FormatUint(uint64(r), 10)
}

// ParseReason reads a name of RFC 5280, in any case, or a number. The reason
// need not be one that an authority accepts, see [Reason.Revokes].
func ParseReason(s string) (Reason, error) {
	for r, name := range reasonNames {
		if strings.EqualFold(s, name) {
			return r, nil
		}
	}
	if n, err := strconv.ParseUint(s, 0, 32); err == nil {
		return Reason(n), nil
	}
	return 0, fmt.Errorf("unknown revocation reason %q: RFC 5280 has unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, cessationOfOperation, certificateHold, privilegeWithdrawn, aACompromise", s)
}

// Revokes reports whether a certificate can be revoked for this reason: it has
// a name, and is not one of those that end a hold.
func (r Reason) Revokes() bool {
	_, ok := reasonNames[r]
	return ok && r != RemoveFromCRL && r != Released
}

// MarshalText gives the name.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (r *Reason) UnmarshalText(b []byte) error {
	v, err := ParseReason(string(b))
	if err == nil {
		*r = v
	}
	return err
}

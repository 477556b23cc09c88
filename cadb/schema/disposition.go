package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// Disposition is the Disposition column of Requests (certsrv.h, DB_DISP_*).
type Disposition uint32

// The dispositions of AD CS. Pending requests wait for an officer; Issued and
// Revoked ones have a certificate.
const (
	Active  Disposition = 8  // being processed
	Pending Disposition = 9  // taken under submission
	Foreign Disposition = 12 // imported certificate of another authority
	CACert  Disposition = 15 // the authority's own certificate
	CAChain Disposition = 16 // a certificate of the authority's chain
	KRACert Disposition = 17 // a key recovery agent's certificate
	Issued  Disposition = 20
	Revoked Disposition = 21
	Failed  Disposition = 30 // the request was in error
	Denied  Disposition = 31
)

// Dispositions lists all of them in ascending order.
var Dispositions = []Disposition{Active, Pending, Foreign, CACert, CAChain, KRACert, Issued, Revoked, Failed, Denied}

var dispositionNames = map[Disposition]string{
	Active: "active", Pending: "pending", Foreign: "foreign", CACert: "ca-certificate", CAChain: "ca-chain",
	KRACert: "kra-certificate", Issued: "issued", Revoked: "revoked", Failed: "failed", Denied: "denied",
}

// String returns the disposition's name, or its number if it has none.
func (d Disposition) String() string {
	if s, ok := dispositionNames[d]; ok {
		return s
	}
	return strconv.FormatUint(uint64(d), 10)
}

// ParseDisposition reads a name, in any case, or a number.
func ParseDisposition(s string) (Disposition, error) {
	for d, name := range dispositionNames {
		if strings.EqualFold(s, name) {
			return d, nil
		}
	}
	if n, err := strconv.ParseUint(s, 0, 32); err == nil {
		return Disposition(n), nil
	}
	names := make([]string, 0, len(Dispositions))
	for _, d := range Dispositions {
		names = append(names, d.String())
	}
	return 0, fmt.Errorf("unknown disposition %q: one of %s, or a number", s, strings.Join(names, ", "))
}

// MarshalText gives the name, so that JSON has it both as value and as key.
func (d Disposition) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Disposition) UnmarshalText(b []byte) error {
	v, err := ParseDisposition(string(b))
	if err == nil {
		*d = v
	}
	return err
}

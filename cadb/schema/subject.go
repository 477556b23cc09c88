package schema

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// Subject is the text columns that Requests and Certificates hold of a name.
// Where a name has several values of one kind, the column has one on each line.
type Subject struct {
	DistinguishedName                                       string // as [NameText] has it
	Country, Organization, OrgUnit, CommonName              string
	Locality, State, Title, GivenName, Initials, SurName    string
	DomainComponent, EMail, StreetAddress, UnstructuredName string
	UnstructuredAddress, DeviceSerialNumber                 string
}

// Attribute types and their short names in a distinguished name.
var attributes = []struct {
	oid   string
	short string
	field func(*Subject) *string
}{
	{"2.5.4.6", "C", func(s *Subject) *string { return &s.Country }},
	{"2.5.4.10", "O", func(s *Subject) *string { return &s.Organization }},
	{"2.5.4.11", "OU", func(s *Subject) *string { return &s.OrgUnit }},
	{"2.5.4.3", "CN", func(s *Subject) *string { return &s.CommonName }},
	{"2.5.4.7", "L", func(s *Subject) *string { return &s.Locality }},
	{"2.5.4.8", "S", func(s *Subject) *string { return &s.State }},
	{"2.5.4.12", "T", func(s *Subject) *string { return &s.Title }},
	{"2.5.4.42", "G", func(s *Subject) *string { return &s.GivenName }},
	{"2.5.4.43", "I", func(s *Subject) *string { return &s.Initials }},
	{"2.5.4.4", "SN", func(s *Subject) *string { return &s.SurName }},
	{"0.9.2342.19200300.100.1.25", "DC", func(s *Subject) *string { return &s.DomainComponent }},
	{"1.2.840.113549.1.9.1", "E", func(s *Subject) *string { return &s.EMail }},
	{"2.5.4.9", "STREET", func(s *Subject) *string { return &s.StreetAddress }},
	{"1.2.840.113549.1.9.2", "UnstructuredName", func(s *Subject) *string { return &s.UnstructuredName }},
	{"1.2.840.113549.1.9.8", "UnstructuredAddress", func(s *Subject) *string { return &s.UnstructuredAddress }},
	{"2.5.4.5", "SERIALNUMBER", func(s *Subject) *string { return &s.DeviceSerialNumber }},
}

// SplitSubject reads a DER name (the RawName column, Certificate.RawSubject)
// into its columns.
func SplitSubject(raw []byte) (Subject, error) {
	var s Subject
	rdns, err := parseName(raw)
	if err != nil {
		return s, err
	}
	s.DistinguishedName = nameText(rdns)
	for _, rdn := range rdns {
		for _, atv := range rdn {
			oid := atv.Type.String()
			for _, a := range attributes {
				if a.oid == oid {
					f := a.field(&s)
					if *f != "" {
						*f += "\n"
					}
					*f += fmt.Sprint(atv.Value)
				}
			}
		}
	}
	return s, nil
}

// NameText is the DistinguishedName column of a DER name: the last relative
// name first, `CN=web, O="Example, Ltd"`, with the short names that certutil
// uses and an OID for other types.
func NameText(raw []byte) (string, error) {
	rdns, err := parseName(raw)
	if err != nil {
		return "", err
	}
	return nameText(rdns), nil
}

func parseName(raw []byte) (pkix.RDNSequence, error) {
	var rdns pkix.RDNSequence
	rest, err := asn1.Unmarshal(raw, &rdns)
	if err != nil {
		return nil, fmt.Errorf("distinguished name: %w", err)
	}
	if len(rest) > 0 {
		return nil, errors.New("distinguished name: trailing bytes")
	}
	return rdns, nil
}

func nameText(rdns pkix.RDNSequence) string {
	var b strings.Builder
	for i := len(rdns) - 1; i >= 0; i-- {
		for j, atv := range rdns[i] {
			switch {
			case j > 0:
				b.WriteString(" + ")
			case b.Len() > 0:
				b.WriteString(", ")
			}
			oid := atv.Type.String()
			short := "OID." + oid
			for _, a := range attributes {
				if a.oid == oid {
					short = a.short
				}
			}
			b.WriteString(short)
			b.WriteByte('=')
			b.WriteString(quote(fmt.Sprint(atv.Value)))
		}
	}
	return b.String()
}

// quote puts a value that has separators in it in double quotes, as
// CertNameToStr does.
func quote(v string) string {
	if v == "" || strings.ContainsAny(v, ",+=\"\n<>#;") || v != strings.TrimSpace(v) {
		return `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
	}
	return v
}

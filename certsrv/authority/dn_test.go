package authority

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
)

func TestParseDN(t *testing.T) {
	for in, want := range map[string]string{
		"CN=a":                                 "CN=a",
		" cn = a , o= b c ":                    "CN=a, O=b c",
		`CN=a\, b,O=\#x\ `:                     `CN=a\, b, O=\#x\ `,
		`CN=\C3\BC`:                            "CN=ü",
		"C=DE,ST=Hessen,S=x,L=y":               "C=DE, ST=Hessen, ST=x, L=y",
		"DC=org,DC=example,CN=x,E=a@b.example": "DC=org, DC=example, CN=x, E=a@b.example",
		"emailAddress=a@b.example,UID=7":       "E=a@b.example, UID=7",
		"1.2.3.4=x":                            "1.2.3.4=x",
		"CN=a=b":                               "CN=a=b",
		`CN=a\+b`:                              `CN=a\+b`,
	} {
		raw, err := ParseDN(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		attrs, err := parseSubject(raw)
		if err != nil || formatDN(attrs) != want {
			t.Errorf("%q: %q, %v; want %q", in, formatDN(attrs), err, want)
		}
		again, err := ParseDN(formatDN(attrs))
		if err != nil || string(again) != string(raw) {
			t.Errorf("%q does not come back: %v", in, err)
		}
		var seq pkix.RDNSequence
		if rest, err := asn1.Unmarshal(raw, &seq); err != nil || len(rest) > 0 {
			t.Errorf("%q: the standard library: %v", in, err)
		}
	}
	for _, in := range []string{"", "a", "CN=", "CN=a,", "XX=a", "CN=a\x00", `CN=\00`, `CN=a\`, "C=DEU", "1=a", "3.1=a", "1.40=a", "C=d*é", "E=ü@b", ".=a", "1..2=x"} {
		if _, err := ParseDN(in); err == nil {
			t.Errorf("%q: accepted", in)
		} else {
			wantReason(t, err, ReasonSubject, "")
		}
	}
}

func TestNewRequestNames(t *testing.T) {
	_, err := NewRequest(newKey(t), nil, []string{"not a name"})
	wantReason(t, err, ReasonAltName, "not a name")
	_, err = NewRequest(newKey(t), nil, make([]string, 101))
	wantReason(t, err, ReasonAltName, "more than")
	r := mustParse(t, newRequest(t, "", "::ffff:10.0.0.1", "fe80::1"))
	if len(r.IPAddresses) != 2 || r.IPAddresses[0] != "10.0.0.1" || r.IPAddresses[1] != "fe80::1" {
		t.Errorf("addresses %q", r.IPAddresses)
	}
}

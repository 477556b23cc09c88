package schema_test

import (
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"github.com/certkeep/certkeep/cadb/schema"
)

// The DDL and the column list say the same thing twice; neither may drift.
func TestSQLiteHasTheColumns(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema.SQLite); err != nil {
		t.Fatal(err)
	}
	types := map[schema.Type]string{schema.Long: "INTEGER", schema.Date: "INTEGER", schema.String: "TEXT", schema.Binary: "BLOB"}
	for _, table := range schema.Tables {
		var want, got [][2]string
		for _, c := range table.Columns {
			want = append(want, [2]string{c.Name, types[c.Type]})
			if isBytes := c.Type == schema.String || c.Type == schema.Binary; isBytes != (c.Max > 0) && c.Name != "RawCRL" {
				t.Errorf("%s.%s: maximum length %d", table.Name, c.Name, c.Max)
			}
		}
		rows, err := db.Query("SELECT name, type FROM pragma_table_info(?) ORDER BY cid", table.Name)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var c [2]string
			if err := rows.Scan(&c[0], &c[1]); err != nil {
				t.Fatal(err)
			}
			got = append(got, c)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", table.Name, d)
		}
	}
}

func TestSerialTwiceIsRefused(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema.SQLite); err != nil {
		t.Fatal(err)
	}
	const ins = "INSERT INTO Certificates (RequestID, SerialNumber) VALUES (?, ?)"
	for id, serial := range []any{nil, nil, "0a"} {
		if _, err := db.Exec(ins, id, serial); err != nil {
			t.Fatalf("request %d: %v", id, err)
		}
	}
	if _, err := db.Exec(ins, 9, "0a"); err == nil {
		t.Error("a serial number was stored twice")
	}
	if _, err := db.Exec("INSERT INTO Requests (RequestID, Disposition) VALUES (1, 'twenty')"); err == nil {
		t.Error("text was stored in a Long column")
	}
}

func TestDispositionNames(t *testing.T) {
	for _, d := range schema.Dispositions {
		for _, s := range []string{d.String(), strings.ToUpper(d.String())} {
			if got, err := schema.ParseDisposition(s); err != nil || got != d {
				t.Errorf("ParseDisposition(%q) = %v, %v", s, got, err)
			}
		}
	}
	if got, err := schema.ParseDisposition("0x14"); err != nil || got != schema.Issued {
		t.Errorf("0x14 = %v, %v", got, err)
	}
	if got, _ := schema.ParseDisposition("77"); got.String() != "77" {
		t.Errorf("77 = %v", got)
	}
	for _, s := range []string{"", "issue", "-1", "4294967296"} {
		if d, err := schema.ParseDisposition(s); err == nil {
			t.Errorf("%q accepted as %v", s, d)
		}
	}
	b, err := json.Marshal(map[schema.Disposition]int{schema.Issued: 3})
	if err != nil || string(b) != `{"issued":3}` {
		t.Errorf("JSON %s, %v", b, err)
	}
	var back map[schema.Disposition]int
	if err := json.Unmarshal(b, &back); err != nil || back[schema.Issued] != 3 {
		t.Errorf("back %v, %v", back, err)
	}
}

func TestReasons(t *testing.T) {
	// RFC 5280 section 5.3.1: 7 is not used.
	for n, revokes := range []bool{true, true, true, true, true, true, true, false, false, true, true, false} {
		r := schema.Reason(n)
		if r.Revokes() != revokes {
			t.Errorf("%d (%v) revokes: %v", n, r, r.Revokes())
		}
		if got, err := schema.ParseReason(r.String()); err != nil || got != r {
			t.Errorf("ParseReason(%v) = %v, %v", r, got, err)
		}
	}
	if schema.Released.Revokes() || schema.Released.String() != "released" {
		t.Error("released")
	}
	if r, err := schema.ParseReason("KEYCOMPROMISE"); err != nil || r != schema.KeyCompromise {
		t.Errorf("%v %v", r, err)
	}
	if _, err := schema.ParseReason("because"); err == nil {
		t.Error("unknown reason accepted")
	}
}

func TestFiletime(t *testing.T) {
	// A public sample row: SubmittedWhen of RequestID 1.
	if got, want := schema.Time(0x01dc1109c16e2030).Truncate(time.Second), time.Date(2025, 8, 19, 13, 4, 11, 0, time.UTC); !got.Equal(want) {
		t.Errorf("sample: %v, want %v", got, want)
	}
	if v := schema.Filetime(time.Unix(0, 0)); v != 116444736000000000 {
		t.Errorf("1970: %d", v)
	}
	if v := schema.Filetime(time.Date(1601, 1, 1, 0, 0, 0, 100, time.UTC)); v != 1 {
		t.Errorf("1601: %d", v)
	}
	for _, want := range []time.Time{
		time.Date(1601, 1, 1, 0, 0, 1, 0, time.UTC),
		time.Date(1969, 12, 31, 23, 59, 59, 999999900, time.UTC),
		time.Date(2026, 3, 1, 12, 0, 0, 123456700, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		if got := schema.Time(schema.Filetime(want)); !got.Equal(want) {
			t.Errorf("%v became %v", want, got)
		}
	}
	if schema.Filetime(time.Time{}) != 0 || schema.Filetime(time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC)) != 0 {
		t.Error("what is before the format must read as not set")
	}
	if got := schema.Time(1<<63 - 1); !got.Equal(time.Date(9999, 12, 31, 23, 59, 59, 999999900, time.UTC)) { // "never"
		t.Error(got)
	}
	if !schema.Time(0).IsZero() || !schema.Time(-5).IsZero() {
		t.Error("0 and negative numbers are not set")
	}
	if v := schema.Filetime(time.Date(200000, 1, 1, 0, 0, 0, 0, time.UTC)); v <= 0 {
		t.Errorf("far future overflows: %d", v)
	}
}

func TestSerialText(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
	}{{0, "00"}, {1, "01"}, {0xabc, "0abc"}, {0xff12, "ff12"}, {-3, "-03"}} {
		if got := schema.SerialText(big.NewInt(c.n)); got != c.want {
			t.Errorf("%d: %q, want %q", c.n, got, c.want)
		}
	}
	for in, want := range map[string]string{
		"0ABC": "0abc", "00:0a:bc": "0abc", "0xabc": "0abc", "ab c": "0abc", "0": "00", "000": "00", "0x0": "00",
	} {
		if got, err := schema.ParseSerial(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "  ", "0x", "g1", "-01", "ü", string(make([]byte, 200))} {
		if got, err := schema.ParseSerial(in); err == nil {
			t.Errorf("%q accepted as %q", in, got)
		}
	}
}

func FuzzParseSerial(f *testing.F) {
	f.Add("0x0A bC")
	f.Add("00:00")
	f.Fuzz(func(t *testing.T, s string) {
		text, err := schema.ParseSerial(s)
		if err != nil {
			return
		}
		n, ok := new(big.Int).SetString(text, 16)
		if !ok || schema.SerialText(n) != text {
			t.Fatalf("%q: %q is not the normal form", s, text)
		}
	})
}

func TestHexText(t *testing.T) {
	if got := schema.HexText([]byte{0xd8, 0x1b, 0}); got != "d8 1b 00" {
		t.Errorf("%q", got)
	}
	if got := schema.HexText(nil); got != "" {
		t.Errorf("%q", got)
	}
	for _, s := range []string{"d8 1b 00", "D81B00"} {
		if b, err := schema.ParseHex(s); err != nil || hex.EncodeToString(b) != "d81b00" {
			t.Errorf("%q: %x, %v", s, b, err)
		}
	}
	if _, err := schema.ParseHex("d8 1"); err == nil {
		t.Error("half an octet accepted")
	}
}

func TestSubject(t *testing.T) {
	name := pkix.Name{Country: []string{"NL"}, Organization: []string{`Example, Ltd "x"`}, OrganizationalUnit: []string{"A"}, CommonName: "web", SerialNumber: "7"}
	name.ExtraNames = []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "com"},
		{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "contoso"},
		{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "other"},
	}
	raw, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	got, err := schema.SplitSubject(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := schema.Subject{
		DistinguishedName: got.DistinguishedName,
		Country:           "NL", Organization: `Example, Ltd "x"`, OrgUnit: "A", CommonName: "web", DeviceSerialNumber: "7",
		DomainComponent: "com\ncontoso",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	const dn = `OID.1.2.3=other, DC=contoso, DC=com, SERIALNUMBER=7, CN=web, OU=A, O="Example, Ltd ""x""", C=NL`
	if got.DistinguishedName != dn {
		t.Errorf("name\n%s, want\n%s", got.DistinguishedName, dn)
	}
	if _, err := schema.SplitSubject(append(raw, 0)); err == nil {
		t.Error("trailing byte accepted")
	}
	if _, err := schema.NameText(raw[:len(raw)-1]); err == nil {
		t.Error("truncated name accepted")
	}
}

func FuzzSplitSubject(f *testing.F) {
	raw, _ := asn1.Marshal(pkix.Name{CommonName: "a", Country: []string{"NL"}}.ToRDNSequence())
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := schema.SplitSubject(raw)
		if err != nil {
			return
		}
		if text, err := schema.NameText(raw); err != nil || text != s.DistinguishedName {
			t.Fatalf("%q, %v; %q", text, err, s.DistinguishedName)
		}
	})
}

// Every column is found under its own name, and under those that AD CS gives it.
func TestDiskNames(t *testing.T) {
	for _, x := range []struct{ table, column, disk string }{
		{schema.Requests, "OrgUnit", "$OrganizationalUnit"}, {schema.Certificates, "State", "$StateOrProvince"}, {schema.Certificates, "CertificateHash", "$CertificateHash2"},
		{schema.Certificates, "CertificateHash", "$CertificateHash"}, {schema.Certificates, "RawPublicKey", "PublicKey"}, {schema.Certificates, "RawPublicKeyAlgorithmParameters", "PublicKeyParams"},
		{schema.Certificates, "PrivatekeyFlags", "PrivateKeyFlags"}, {schema.CertificateExtensions, "ExtensionRequestId", "RequestID"}, {schema.RequestAttributes, "AttributeRequestId", "RequestID"},
		{schema.RequestAttributes, "AttributeName", "$AttributeName"}, {schema.CRLs, "RowId", "CRLRowId"}, {schema.CRLs, "PropagationComplete", "PropgationComplete"}, {schema.CRLs, "RawCRL", "CRLRawCRL"},
		{schema.CRLs, "CRLPublishError", "$CRLPublishError"},
	} {
		if names := schema.DiskNames(x.table, x.column); !slices.Contains(names, schema.DiskName(x.disk)) {
			t.Errorf("%s.%s: %q lacks %s", x.table, x.column, names, x.disk)
		}
	}
	if names := schema.DiskNames(schema.Certificates, "CertificateHash"); names[0] != "certificatehash2" {
		t.Errorf("%q", names)
	}
	for _, table := range schema.Tables {
		seen := make(map[string]string) // no name stands for two columns
		for _, c := range table.Columns {
			names := schema.DiskNames(table.Name, c.Name)
			if !slices.Contains(names, schema.DiskName("$"+c.Name)) {
				t.Errorf("%s.%s: %q", table.Name, c.Name, names)
			}
			for _, n := range names {
				if other := seen[n]; other != "" {
					t.Errorf("%s: %s is %s and %s", table.Name, n, other, c.Name)
				}
				seen[n] = c.Name
			}
		}
	}
}

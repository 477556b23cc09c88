package certsrv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// Every column that the authority fills says what the certificate does.
func TestRowsOfACertificate(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "web", Organization: []string{`Example, "Ltd"`}, Country: []string{"NL"}},
		DNSNames: []string{"web.example.org"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	p := with(account.Enroll)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})
	res, err := s.Submit(t.Context(), p, text, map[string]string{"ccm": "client1", "SAN": "x"})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(res.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	var raw, rawName, key2 []byte
	var requester, cn, o, dn, c2, algorithm string
	var typ, bits, notAfter int64
	err = s.run.db.Reader().QueryRow(`SELECT r.RawRequest, r.RequesterName, r.RequestType, c.CommonName, c.Organization, r.Country,
		c.DistinguishedName, c.RawName, c.RawPublicKey, c.PublicKeyLength, c.PublicKeyAlgorithm, c.NotAfter
		FROM Requests r JOIN Certificates c USING (RequestID) WHERE RequestID = ?`, res.RequestID).
		Scan(&raw, &requester, &typ, &cn, &o, &c2, &dn, &rawName, &key2, &bits, &algorithm, &notAfter)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, csr) || requester != "alice" || typ != schema.RequestPKCS10 || cn != "web" || o != `Example, "Ltd"` || c2 != "NL" {
		t.Errorf("request row: %d bytes, %q %#x %q %q %q", len(raw), requester, typ, cn, o, c2)
	}
	if want := x509.MarshalPKCS1PublicKey(&key.PublicKey); !bytes.Equal(key2, want) || bits != 2048 || algorithm != "1.2.840.113549.1.1.1" {
		t.Errorf("key: %x, %d bits, %s", key2, bits, algorithm)
	}
	if !bytes.Equal(rawName, cert.RawSubject) || !schema.Time(notAfter).Equal(cert.NotAfter) || !strings.Contains(dn, "CN=web") {
		t.Errorf("name %s, not after %v", dn, schema.Time(notAfter))
	}
	rows, err := s.run.db.Reader().Query("SELECT ExtensionName, ExtensionFlags, ExtensionRawValue FROM CertificateExtensions WHERE ExtensionRequestId = ?", res.RequestID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var name string
		var flags int64
		var value []byte
		if err := rows.Scan(&name, &flags, &value); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.String() == name })
		if i < 0 || !bytes.Equal(cert.Extensions[i].Value, value) || cert.Extensions[i].Critical != (flags&schema.ExtensionCritical != 0) || flags&schema.OriginMask == 0 {
			t.Errorf("extension %s, flags %#x, %x", name, flags, value)
		}
		n++
	}
	if n != len(cert.Extensions) {
		t.Errorf("%d extensions, the certificate has %d", n, len(cert.Extensions))
	}
	var attrs string
	if err := s.run.db.Reader().QueryRow("SELECT group_concat(AttributeName || '=' || AttributeValue) FROM RequestAttributes WHERE AttributeRequestId = ?",
		res.RequestID).Scan(&attrs); err != nil || attrs != "SAN=x,ccm=client1" {
		t.Errorf("attributes %q, %v", attrs, err)
	}
}

func TestBadRequestsAreRecorded(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this toolchain makes no weak keys: ", err)
	}
	weakCSR, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "weak"}}, weak)
	if err != nil {
		t.Fatal(err)
	}
	forged := newCSR(t, "forged")
	forged[len(forged)-1] ^= 1
	for what, csr := range map[string][]byte{"not a request": []byte("\x30\x03abc"), "a weak key": weakCSR, "a bad signature": forged, "too large": make([]byte, 1<<20)} {
		res, err := s.Submit(t.Context(), root, csr, nil)
		var re *authority.RequestError
		if !errors.As(err, &re) || res.Disposition != schema.Failed || res.RequestID == 0 {
			t.Errorf("%s: %+v, %v", what, res, err)
			continue
		}
		rec, err := s.Request(t.Context(), res.RequestID)
		if err != nil || rec.Disposition != schema.Failed || rec.Serial != "" || rec.Message == "" {
			t.Errorf("%s: recorded as %+v, %v", what, rec, err)
		}
		if what == "too large" != (rec.Request == nil) {
			t.Errorf("%s: %d bytes of it kept", what, len(rec.Request))
		}
	}
	for what, attrs := range map[string]map[string]string{
		"no name":   {"": "x"},
		"long name": {strings.Repeat("n", 255): "x"},
		"long":      {"n": strings.Repeat("x", 8193)},
		"NUL":       {"n": "a\x00b"},
		"not UTF-8": {"n": "\xff"},
		"control":   {"a\nb": "x"},
		"profile":   {ProfileAttribute: "no such profile"},
	} {
		if _, err := s.Submit(t.Context(), root, newCSR(t, "a"), attrs); err == nil {
			t.Errorf("attribute %s: accepted", what)
		}
	}
	many := make(map[string]string)
	for i := range maxAttributes + 1 {
		many[fmt.Sprint(i)] = ""
	}
	if _, err := s.Submit(t.Context(), root, newCSR(t, "a"), many); err == nil {
		t.Error("too many attributes accepted")
	}
}

func TestPendingRequests(t *testing.T) {
	s := startServer(t, InitOptions{RequireApproval: true}, Options{})
	submit := func(name string) int64 {
		res, err := s.Submit(t.Context(), root, newCSR(t, name), nil)
		if err != nil || res.Disposition != schema.Pending || res.Certificate != nil {
			t.Fatalf("%+v, %v", res, err)
		}
		return res.RequestID
	}
	a, b := submit("a"), submit("b")
	res, err := s.Resubmit(t.Context(), root, a)
	if err != nil || res.Disposition != schema.Issued || res.Certificate == nil {
		t.Fatalf("resubmit: %+v, %v", res, err)
	}
	rec, err := s.Certificate(t.Context(), res.Serial)
	if err != nil || rec.RequestID != a || rec.Disposition != schema.Issued || rec.Subject != "CN=a" {
		t.Errorf("%+v, %v", rec, err)
	}
	if _, err := s.Resubmit(t.Context(), root, a); !errors.Is(err, ErrState) {
		t.Errorf("resubmit an issued one: %v", err)
	}
	if err := s.Deny(t.Context(), root, a); !errors.Is(err, ErrState) {
		t.Errorf("deny an issued one: %v", err)
	}
	if err := s.Deny(t.Context(), root, b); err != nil {
		t.Fatal(err)
	}
	if err := s.Deny(t.Context(), root, b); !errors.Is(err, ErrState) {
		t.Errorf("deny twice: %v", err)
	}
	if _, err := s.Resubmit(t.Context(), root, b); err != nil { // an officer may think again
		t.Errorf("resubmit a denied one: %v", err)
	}
	for _, err := range []error{func() error { _, err := s.Resubmit(t.Context(), root, 999); return err }(), s.Deny(t.Context(), root, 999)} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("no such request: %v", err)
		}
	}
	// The extension rows of a resubmitted request are there once.
	var n int
	if err := s.run.db.Reader().QueryRow("SELECT count(*) FROM CertificateExtensions WHERE ExtensionRequestId = ?", a).Scan(&n); err != nil || n < 4 {
		t.Errorf("%d extensions, %v", n, err)
	}
	c := submit("c")
	if _, err := s.Submit(t.Context(), root, []byte("0broken"), nil); err == nil {
		t.Error("broken request accepted")
	}
	if _, err := s.Resubmit(t.Context(), root, c+1); !errors.Is(err, authority.ErrRequest) {
		t.Errorf("resubmit of a broken request: %v", err)
	}
}

// Two officers decide at once: one wins.
func TestDecidedOnce(t *testing.T) {
	s := startServer(t, InitOptions{RequireApproval: true}, Options{})
	res, err := s.Submit(t.Context(), root, newCSR(t, "a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	won := 0
	for range 8 {
		wg.Go(func() {
			_, err := s.Resubmit(context.Background(), root, res.RequestID)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrState) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("issued %d times", won)
	}
}

func TestRights(t *testing.T) {
	s := startServer(t, InitOptions{RequireApproval: true}, Options{})
	ctx := t.Context()
	for what, c := range map[string]struct {
		needs account.Roles
		call  func(account.Principal) error
	}{
		"submit":    {account.Enroll, func(p account.Principal) error { _, err := s.Submit(ctx, p, newCSR(t, "a"), nil); return err }},
		"resubmit":  {account.Officer, func(p account.Principal) error { _, err := s.Resubmit(ctx, p, 1); return err }},
		"deny":      {account.Officer, func(p account.Principal) error { return s.Deny(ctx, p, 1) }},
		"revoke":    {account.Officer, func(p account.Principal) error { return s.Revoke(ctx, p, "ab", schema.Unspecified) }},
		"release":   {account.Officer, func(p account.Principal) error { return s.Unrevoke(ctx, p, "ab") }},
		"crl":       {account.Administrator, func(p account.Principal) error { _, err := s.PublishCRL(ctx, p); return err }},
		"clear gap": {account.Administrator, func(p account.Principal) error { return s.ClearGap(ctx, p, true) }},
		"shutdown": {account.Administrator, func(p account.Principal) error {
			// not the shutdown itself, which ends the test
			return account.Check(account.Shutdown, p)
		}},
	} {
		if err := c.call(with(account.AllRoles &^ c.needs)); !errors.Is(err, account.ErrDenied) {
			t.Errorf("%s without %v: %v", what, c.needs, err)
		}
		if err := c.call(with(c.needs)); errors.Is(err, account.ErrDenied) {
			t.Errorf("%s with %v: %v", what, c.needs, err)
		}
		if err := c.call(account.Principal{}); !errors.Is(err, account.ErrDenied) {
			t.Errorf("%s by nobody: %v", what, err)
		}
	}
	_, err := s.Service(with(account.Operator)).ServerControl(ctx, certadm.ControlShutdown)
	wantCode(t, err, certadm.EAccessDenied, "shutdown by an operator")
	if !s.Running() {
		t.Error("an operator stopped the service")
	}
}

// A row that the database refuses must not take the others of its group along.
func TestGroupWithABadRow(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	r := s.run
	serial := issue(t, s, 1)[0]
	good := func(serial string) *row {
		return &row{disposition: schema.Revoked, message: "test", submitted: 1, cert: &certRow{serial: serial}, done: make(chan error, 1)}
	}
	batch := []*row{good("aa01"), good(serial), good("aa02")}
	r.commit(batch)
	for i, want := range []bool{true, false, true} {
		if err := <-batch[i].done; (err == nil) != want {
			t.Errorf("row %d: %v", i, err)
		}
	}
	if got := serials(t, s, schema.Revoked); !slices.Equal(got, []string{"aa01", "aa02"}) {
		t.Errorf("stored %v", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{GenerationSize: 1 << 20})
	csr := newCSR(t, "host")
	var mu sync.Mutex
	var wg sync.WaitGroup
	var acknowledged []string
	ids := make(map[int64]bool)
	for range 16 {
		wg.Go(func() {
			for range 20 {
				res, err := s.Submit(context.Background(), root, csr, nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, res.Serial)
				ids[res.RequestID] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(ids) != len(acknowledged) {
		t.Errorf("%d ids for %d certificates", len(ids), len(acknowledged))
	}
	slices.Sort(acknowledged)
	got := serials(t, s, schema.Issued)
	slices.Sort(got)
	if !slices.Equal(got, acknowledged) {
		t.Errorf("%d acknowledged, %d in the database", len(acknowledged), len(got))
	}
	if n := len(slices.Compact(acknowledged)); n != len(got) {
		t.Errorf("%d different serial numbers of %d", n, len(got))
	}
}

func TestNewSerial(t *testing.T) {
	for _, now := range []time.Time{time.Now(), {}, time.Unix(-5, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		n, err := newSerial(now, rand.Read)
		if err != nil {
			t.Fatal(err)
		}
		if n.Sign() <= 0 || n.BitLen() > 127 || len(schema.SerialText(n)) != 2*serialBytes {
			t.Errorf("at %v: %x, %d bits", now, n, n.BitLen())
		}
	}
	now := time.Now()
	a, _ := newSerial(now, rand.Read)
	b, _ := newSerial(now, rand.Read)
	if a.Cmp(b) == 0 {
		t.Error("twice the same")
	}
	later, _ := newSerial(now.Add(time.Millisecond), rand.Read)
	if later.Cmp(a) < 0 {
		t.Error("serials do not grow")
	}
	if _, err := newSerial(now, func([]byte) (int, error) { return 0, errors.New("no entropy") }); err == nil {
		t.Error("a serial number without random bits")
	}
}

func TestNumbers(t *testing.T) {
	var s sequence
	s.raise(5)
	s.raise(3)
	if n, err := s.take(2); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := s.take(1); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	s.raise(maxLong)
	if n, err := s.take(1); n != maxLong || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := s.take(1); err == nil {
		t.Error("a number beyond the column's end")
	}
	for _, c := range [][3]int64{{10, 1000, 1011}, {maxLong, 1000, maxLong + 1}, {maxLong - 10, 1000, maxLong - 4}} {
		if got := jump(c[0], c[1]); got != c[2] {
			t.Errorf("jump from %d by %d to %d, want %d", c[0], c[1], got, c[2])
		}
	}
	big1 := new(big.Int).Lsh(big.NewInt(1), 100)
	if crlNumber(big1) != 0 || crlNumber(big.NewInt(-1)) != 0 || crlNumber(nil) != 0 || crlNumber(big.NewInt(7)) != 7 {
		t.Error("CRL numbers of others")
	}
}

// The certificate's key is one's own, and not that of the authority.
func TestKeysAreTheRequesters(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := authority.ParseDN("CN=mine")
	if err != nil {
		t.Fatal(err)
	}
	csr, err := authority.NewRequest(k, subject, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Submit(t.Context(), root, csr, nil)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(res.Certificate)
	if err != nil || !k.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("%v, %v", cert.PublicKey, err)
	}
}

package authority

import (
	"bytes"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"
)

func TestBuildCRL(t *testing.T) {
	a := newCA(t, CAOptions{}, Options{})
	when := testNow.Add(-time.Hour)
	var entries []Revoked
	for _, reason := range []int{0, 1, 2, 3, 4, 5, 6, 9, 10} {
		entries = append(entries, Revoked{Serial: big.NewInt(int64(100 + reason)), Time: when, Reason: reason})
	}
	der, err := a.BuildCRL(entries, big.NewInt(7), testNow, testNow.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CheckSignatureFrom(a.Certificate()); err != nil {
		t.Error(err)
	}
	if l.Number.Int64() != 7 || !l.ThisUpdate.Equal(testNow) || !l.NextUpdate.Equal(testNow.Add(24*time.Hour)) ||
		!bytes.Equal(l.AuthorityKeyId, a.Certificate().SubjectKeyId) || len(l.RevokedCertificateEntries) != len(entries) {
		t.Errorf("CRL %v, %v to %v, %d entries", l.Number, l.ThisUpdate, l.NextUpdate, len(l.RevokedCertificateEntries))
	}
	for i, e := range l.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(entries[i].Serial) != 0 || e.ReasonCode != entries[i].Reason || !e.RevocationTime.Equal(when) {
			t.Errorf("entry %d: %v reason %d at %v", i, e.SerialNumber, e.ReasonCode, e.RevocationTime)
		}
		if e.ReasonCode == 0 && len(e.Extensions) != 0 {
			t.Error("reason unspecified should be left out")
		}
	}
	if der, err := a.BuildCRL(nil, big.NewInt(1), testNow, testNow.Add(time.Hour)); err != nil {
		t.Error(err)
	} else if _, err := x509.ParseRevocationList(der); err != nil {
		t.Error(err)
	}
}

func TestBuildCRLRefuses(t *testing.T) {
	a := newCA(t, CAOptions{}, Options{})
	one, next := big.NewInt(1), testNow.Add(time.Hour)
	ok := Revoked{Serial: one, Time: testNow}
	entry := func(e Revoked) []Revoked { return []Revoked{e} }
	for name, c := range map[string]struct {
		entries []Revoked
		number  *big.Int
		next    time.Time
		is      error
	}{
		"removeFromCRL": {entry(Revoked{one, testNow, 8}), one, next, ErrRemoveFromCRL},
		"reason 7":      {entry(Revoked{one, testNow, 7}), one, next, nil},
		"reason 11":     {entry(Revoked{one, testNow, 11}), one, next, nil},
		"reason -1":     {entry(Revoked{one, testNow, -1}), one, next, nil},
		"no serial":     {entry(Revoked{nil, testNow, 0}), one, next, nil},
		"negative":      {entry(Revoked{big.NewInt(-1), testNow, 0}), one, next, nil},
		"no time":       {entry(Revoked{one, time.Time{}, 0}), one, next, nil},
		"twice":         {[]Revoked{ok, ok}, one, next, nil},
		"no number":     {nil, nil, next, nil},
		"number 0":      {nil, new(big.Int), next, nil},
		"number":        {nil, new(big.Int).Lsh(one, 160), next, nil},
		"next update":   {nil, one, testNow, nil},
		"too many":      {make([]Revoked, MaxCRLEntries+1), one, next, nil},
	} {
		_, err := a.BuildCRL(c.entries, c.number, testNow, c.next)
		if err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.BuildCRL(nil, one, time.Time{}, next); err == nil {
		t.Error("no time of issue: accepted")
	}
	if _, err := a.BuildCRL(entry(ok), one, testNow, next); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

package authority

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// MaxCRLEntries bounds a CRL: at about 40 bytes an entry it is then 40 MB.
const MaxCRLEntries = 1_000_000

// Revoked is one entry of a CRL.
type Revoked struct {
	Serial *big.Int
	Time   time.Time // of revocation
	// Reason is the code of RFC 5280, 5.3.1: 0 unspecified (left out of the
	// CRL, as the RFC asks), 1 to 6, 9, 10. Reason 8, removeFromCRL, belongs in
	// delta CRLs only and is refused, as is 7, which is not used.
	Reason int
}

// BuildCRL signs a base CRL: the entries in the order given, number as CRL
// number (positive, at most 20 octets), authority key identifier.
func (a *Authority) BuildCRL(entries []Revoked, number *big.Int, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	switch {
	case len(entries) > MaxCRLEntries:
		return nil, fmt.Errorf("authority: CRL with %d entries: at most %d are possible", len(entries), MaxCRLEntries)
	case number == nil || number.Sign() <= 0 || number.BitLen() > 20*8-1:
		return nil, errors.New("authority: the CRL number must be positive and have at most 20 octets")
	case thisUpdate.IsZero() || !nextUpdate.After(thisUpdate):
		return nil, errors.New("authority: the CRL's next update must come after this one")
	}
	list := make([]x509.RevocationListEntry, len(entries))
	seen := make(map[string]bool, len(entries))
	for i, e := range entries {
		if err := checkSerial(e.Serial); err != nil {
			return nil, fmt.Errorf("CRL entry %d: %w", i, err)
		}
		if err := checkRevoked(e); err != nil {
			return nil, fmt.Errorf("authority: CRL entry %x: %w", e.Serial, err)
		}
		key := string(e.Serial.Bytes())
		if seen[key] {
			return nil, fmt.Errorf("authority: CRL entry %x is there twice", e.Serial)
		}
		seen[key] = true
		list[i] = x509.RevocationListEntry{SerialNumber: e.Serial, RevocationTime: e.Time, ReasonCode: e.Reason}
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		RevokedCertificateEntries: list,
		Number:                    number,
		ThisUpdate:                thisUpdate,
		NextUpdate:                nextUpdate,
	}, a.cert, a.signer)
	if err != nil {
		return nil, fmt.Errorf("authority: sign CRL: %w", err)
	}
	return der, nil
}

// ErrRemoveFromCRL says that a base CRL was to contain reason 8.
var ErrRemoveFromCRL = errors.New("reason removeFromCRL belongs in delta CRLs only")

func checkRevoked(e Revoked) error {
	switch {
	case e.Time.IsZero():
		return errors.New("no time of revocation")
	case e.Reason == 8:
		return ErrRemoveFromCRL
	case e.Reason < 0 || e.Reason == 7 || e.Reason > 10:
		return fmt.Errorf("reason %d does not exist", e.Reason)
	}
	return nil
}

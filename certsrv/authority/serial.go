package authority

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
)

// NewSerial returns a positive serial number of 127 random bits, the most that
// fit 16 octets as an INTEGER, so that two authorities restored from one backup
// do not meet, and nobody can foresee the next one.
func NewSerial() (*big.Int, error) {
	for {
		b := make([]byte, 16)
		if _, err := rand.Read(b); err != nil {
			return nil, fmt.Errorf("authority: serial number: %w", err)
		}
		b[0] &= 0x7F
		if n := new(big.Int).SetBytes(b); n.Sign() > 0 {
			return n, nil
		}
	}
}

// checkSerial holds a serial number to RFC 5280, 4.1.2.2.
func checkSerial(n *big.Int) error {
	if n == nil || n.Sign() <= 0 {
		return errors.New("authority: a serial number must be positive")
	}
	if n.BitLen() > 20*8-1 {
		return errors.New("authority: a serial number has at most 20 octets")
	}
	return nil
}

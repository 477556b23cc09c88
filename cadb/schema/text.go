package schema

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// filetimeUnix is the FILETIME of 1970-01-01: 100 ns since 1601-01-01 UTC.
const filetimeUnix = 116444736000000000

// maxUnix is the last second whose FILETIME fits.
const maxUnix = (1<<63-1-filetimeUnix)/10_000_000 - 1

// Filetime returns t in units of 100 ns since 1601-01-01 UTC, rounded down. The
// zero Time, and any before 1601, is 0, which reads as "not set"; dates too
// late for the format are held at its end.
func Filetime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	s := t.Unix()
	if s < -filetimeUnix/10_000_000 {
		return 0
	}
	s = min(s, maxUnix)
	return s*10_000_000 + int64(t.Nanosecond())/100 + filetimeUnix
}

// maxTime is the FILETIME of the end of the year 9999, behind which dates can be
// written neither in certificates nor in JSON.
const maxTime = (253402300800+11644473600)*10_000_000 - 1

// Time returns the UTC time of a FILETIME; the zero Time for 0 and for negative
// numbers, which are no dates. What is later than the year 9999 ("never" is the largest
// number) is held at its end.
func Time(filetime int64) time.Time {
	if filetime <= 0 {
		return time.Time{}
	}
	filetime = min(filetime, maxTime)
	v := filetime - filetimeUnix
	s, n := v/10_000_000, v%10_000_000
	if n < 0 {
		s, n = s-1, n+10_000_000
	}
	return time.Unix(s, n*100).UTC()
}

// maxSerialDigits bounds what ParseSerial accepts. RFC 5280 allows 20 octets;
// the column holds 128 characters.
const maxSerialDigits = 128

// SerialText is the SerialNumber column: lower-case hexadecimal, big-endian, an
// even number of digits, no separators and no leading zero octet. Negative
// numbers, which RFC 5280 forbids, have a minus sign.
func SerialText(n *big.Int) string {
	if n == nil {
		return ""
	}
	s := new(big.Int).Abs(n).Text(16)
	if len(s)%2 == 1 {
		s = "0" + s
	}
	if n.Sign() < 0 {
		s = "-" + s
	}
	return s
}

// ParseSerial brings a serial number as people and tools write it (upper case,
// with spaces, colons or a leading 0x, with leading zeros) into the form of
// [SerialText].
func ParseSerial(s string) (string, error) {
	t := strings.Map(func(r rune) rune {
		if r == ' ' || r == ':' || r == '\t' {
			return -1
		}
		return r
	}, s)
	if len(t) > 2 && t[0] == '0' && (t[1] == 'x' || t[1] == 'X') {
		t = t[2:]
	}
	if t == "" || len(t) > maxSerialDigits {
		return "", fmt.Errorf("serial number %.40q: need 1 to %d hexadecimal digits", s, maxSerialDigits)
	}
	for _, c := range []byte(t) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return "", fmt.Errorf("serial number %.40q: %q is no hexadecimal digit", s, c)
		}
	}
	t = strings.ToLower(strings.TrimLeft(t, "0"))
	if t == "" {
		t = "0"
	}
	if len(t)%2 == 1 {
		t = "0" + t
	}
	return t, nil
}

// HexText is the form of CertificateHash (SHA-1 of RawCertificate) and of
// SubjectKeyIdentifier: lower-case hexadecimal, a space between octets.
func HexText(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	out := make([]byte, 0, 3*len(b)-1)
	for i, c := range b {
		if i > 0 {
			out = append(out, ' ')
		}
		out = hex.AppendEncode(out, []byte{c})
	}
	return string(out)
}

// ParseHex reads [HexText], with or without spaces, in any case.
func ParseHex(s string) ([]byte, error) {
	return hex.DecodeString(strings.ReplaceAll(s, " ", ""))
}

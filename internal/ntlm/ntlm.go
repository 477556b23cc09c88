// Package ntlm is NTLM version 2 with session security (MS-NLMP), on both
// sides: [Initiator] proves that it knows a password's hash, [Acceptor] checks
// that against a table of hashes. Both then sign and seal messages.
//
// Nothing older is spoken: no LM, no NTLMv1, no 40 or 56 bit keys, no session
// without extended session security and key exchange, no anonymous or guest
// logon (those have no session key). A peer that asks for less is refused.
//
// What protects the handshake itself is the message integrity code in the last
// message, over all three. This initiator always sends it. The acceptor checks
// it wherever the client says that it is there, which is said in a place that
// the client's password protects; a client that never learned of it (and says
// so in that same place) is still served.
//
// NTLM's cipher is RC4 and its hashes are MD4 and MD5. All strength lies in
// the secret: use generated ones of at least 128 bits.
package ntlm

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf16"

	//lint:ignore SA1019 the NT hash is defined by MD4 (MS-NLMP section 3.3.1)
	"golang.org/x/crypto/md4"
)

// Credentials are what an [Initiator] logs on with. They print as the
// account's name alone.
type Credentials struct {
	User        string
	Domain      string // NetBIOS or DNS name; empty or the server's name for its own accounts
	Workstation string // this machine's name, for the server's log; may be empty
	Hash        [16]byte
}

// String returns the account's name, and never the hash.
func (c Credentials) String() string {
	if c.Domain == "" {
		return c.User
	}
	return c.Domain + `\` + c.User
}

// Format implements [fmt.Formatter], so that no verb shows the hash.
func (c Credentials) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// MarshalText implements [encoding.TextMarshaler], so that neither JSON nor a
// log shows the hash.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// NTHash returns the hash that NTLM uses in place of the password: MD4 of its
// UTF-16 (NTOWFv1, MS-NLMP section 3.3.1). Who knows it can log on: it is as
// secret as the password.
func NTHash(password string) [16]byte {
	h := md4.New()
	unicode := toUTF16(password)
	h.Write(unicode)
	clear(unicode)
	return [16]byte(h.Sum(nil))
}

// Negotiate flags (MS-NLMP section 2.2.2.5).
const (
	flagUnicode      = 1 << 0
	flagReqTarget    = 1 << 2
	flagSign         = 1 << 4
	flagSeal         = 1 << 5
	flagNTLM         = 1 << 9
	flagAnonymous    = 1 << 11
	flagAlwaysSign   = 1 << 15
	flagTargetServer = 1 << 17
	flagESS          = 1 << 19 // extended session security
	flagTargetInfo   = 1 << 23
	flagVersion      = 1 << 25
	flag128          = 1 << 29
	flagKeyExchange  = 1 << 30
	flag56           = 1 << 31
)

// required is what either side must agree to. The 56 bit flag and the version
// are never asked for: they change nothing once these are there.
const required = flagUnicode | flagSign | flagSeal | flagNTLM | flagESS | flag128 | flagKeyExchange

// version is sent where a Windows version is expected: 10.0, NTLM revision 15.
// It is for debugging only (MS-NLMP section 2.2.2.10).
var version = [8]byte{10, 0, 0, 0, 0, 0, 0, 15}

// toUTF16 encodes s as UTF-16, little-endian, without a terminating NUL.
func toUTF16(s string) []byte {
	units := utf16.Encode([]rune(s))
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// fromUTF16 is the inverse of toUTF16; ok is false for an odd number of bytes.
// Unpaired surrogates become U+FFFD.
func fromUTF16(b []byte) (s string, ok bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units)), true
}

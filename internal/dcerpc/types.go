package dcerpc

import (
	"encoding/binary"
	"fmt"

	"github.com/certkeep/certkeep/internal/ndr"
)

// Syntax names an interface (an abstract syntax) or an encoding of stubs (a
// transfer syntax), with its version.
type Syntax struct {
	UUID         ndr.GUID
	Major, Minor uint16
}

func (s Syntax) String() string { return fmt.Sprintf("%v v%d.%d", s.UUID, s.Major, s.Minor) }

const syntaxSize = 20

func (s Syntax) append(b []byte) []byte {
	b = append(b, s.UUID[:]...)
	b = binary.LittleEndian.AppendUint16(b, s.Major)
	return binary.LittleEndian.AppendUint16(b, s.Minor)
}

// syntaxAt reads the Syntax at the start of b, which has syntaxSize bytes.
func syntaxAt(b []byte) (s Syntax) {
	copy(s.UUID[:], b)
	s.Major = binary.LittleEndian.Uint16(b[16:])
	s.Minor = binary.LittleEndian.Uint16(b[18:])
	return s
}

// NDR is the transfer syntax that this package speaks: NDR 2.0 (C706 chapter
// 14).
var NDR = Syntax{UUID: ndr.MustGUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), Major: 2}

// features is the pseudo transfer syntax of bind time feature negotiation
// (MS-RPCE section 3.3.1.5.3): the first half of its UUID is fixed, the second
// a mask of what the client can do.
var features = ndr.MustGUID("6cb71c2c-9812-4540-0000-000000000000")

// Bind time features. Both hold for this package's server: a connection may
// have several security contexts, and survives an orphaned call.
const (
	featureMultiplexing = 1
	featureKeepOnOrphan = 2
)

// featureMask reports whether s offers features, and which.
func featureMask(s Syntax) (mask uint16, ok bool) {
	if [8]byte(s.UUID[:8]) != [8]byte(features[:8]) || s.Major != 1 || s.Minor != 0 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(s.UUID[8:]), true
}

// AuthType is the security provider of a security context (MS-RPCE section
// 2.2.1.1.7).
type AuthType uint8

// The security providers that are of use here.
const (
	AuthNone     AuthType = 0
	AuthSPNEGO   AuthType = 9
	AuthNTLM     AuthType = 10
	AuthKerberos AuthType = 16
)

func (t AuthType) String() string {
	switch t {
	case AuthNone:
		return "none"
	case AuthSPNEGO:
		return "spnego"
	case AuthNTLM:
		return "ntlm"
	case AuthKerberos:
		return "kerberos"
	}
	return fmt.Sprintf("auth type %d", uint8(t))
}

// Level is how well calls are protected (MS-RPCE section 2.2.1.1.8); a higher
// one includes the lower ones.
type Level uint8

// The levels. Call is treated as Packet, and Packet signs as Integrity does.
const (
	LevelNone      Level = 1 // nothing
	LevelConnect   Level = 2 // the peer is known as the connection is made
	LevelCall      Level = 3
	LevelPacket    Level = 4
	LevelIntegrity Level = 5 // each fragment is signed
	LevelPrivacy   Level = 6 // and encrypted
)

func (l Level) String() string {
	switch l {
	case LevelNone:
		return "none"
	case LevelConnect:
		return "connect"
	case LevelCall:
		return "call"
	case LevelPacket:
		return "packet"
	case LevelIntegrity:
		return "integrity"
	case LevelPrivacy:
		return "privacy"
	}
	return fmt.Sprintf("level %d", uint8(l))
}

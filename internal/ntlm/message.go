package ntlm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of what comes before the payload, and limits.
const (
	signature = "NTLMSSP\x00"

	negotiateMin       = 16 // signature, type, flags: the oldest clients send no more
	challengeMin       = 48
	challengeSize      = 56
	authenticateMin    = 64 // neither version nor MIC
	authenticateNoMIC  = 72
	authenticateSize   = 88
	micOffset          = 72
	maxMessage         = 32 << 10 // real ones stay below 2 KiB
	maxName            = 512      // bytes of a user, domain or workstation name: 256 UTF-16 units
	typeNegotiate      = 1
	typeChallenge      = 2
	typeAuthenticate   = 3
	fieldTargetName    = 12
	fieldTargetInfo    = 40
	fieldLM            = 12
	fieldNT            = 20
	fieldDomain        = 28
	fieldUser          = 36
	fieldWorkstation   = 44
	fieldSessionKey    = 52
	flagsNegotiate     = 12
	flagsChallenge     = 20
	flagsAuthenticate  = 60
	serverChallengeOff = 24
)

var errShort = errors.New("message is too short")

// start checks what all messages begin with.
func start(b []byte, typ uint32, least int) error {
	switch {
	case len(b) < least:
		return errShort
	case len(b) > maxMessage:
		return fmt.Errorf("message of %d bytes is too long", len(b))
	case string(b[:8]) != signature:
		return errors.New("not an ntlm message")
	case binary.LittleEndian.Uint32(b[8:]) != typ:
		return fmt.Errorf("message is of type %d, expected %d", binary.LittleEndian.Uint32(b[8:]), typ)
	}
	return nil
}

// field returns the part of the payload that the length and offset at b[at:]
// name (MS-NLMP section 2.2.1.1). An empty one may have any offset; others
// begin behind the fixed part, of which least bytes are known to be there.
func field(b []byte, at, least int, name string) ([]byte, error) {
	n := int(binary.LittleEndian.Uint16(b[at:]))
	off := uint64(binary.LittleEndian.Uint32(b[at+4:]))
	if n == 0 {
		return nil, nil
	}
	if off < uint64(least) || off+uint64(n) > uint64(len(b)) {
		return nil, fmt.Errorf("%s lies outside of the message", name)
	}
	return b[off : off+uint64(n) : off+uint64(n)], nil
}

// putField appends v to the message's payload and names it at b[at:].
func putField(b []byte, at int, v []byte) []byte {
	binary.LittleEndian.PutUint16(b[at:], uint16(len(v)))
	binary.LittleEndian.PutUint16(b[at+2:], uint16(len(v)))
	binary.LittleEndian.PutUint32(b[at+4:], uint32(len(b)))
	return append(b, v...)
}

func newMessage(typ uint32, size int) []byte {
	b := make([]byte, size, size+512)
	copy(b, signature)
	binary.LittleEndian.PutUint32(b[8:], typ)
	return b
}

// marshalNegotiate makes a NEGOTIATE_MESSAGE (MS-NLMP section 2.2.1.1) that
// names neither domain nor workstation.
func marshalNegotiate(flags uint32) []byte {
	b := newMessage(typeNegotiate, 40)
	binary.LittleEndian.PutUint32(b[flagsNegotiate:], flags)
	binary.LittleEndian.PutUint32(b[20:], 40)
	binary.LittleEndian.PutUint32(b[28:], 40)
	if flags&flagVersion != 0 {
		copy(b[32:], version[:])
	}
	return b
}

// parseNegotiate returns the client's flags, all that matters of the message.
func parseNegotiate(b []byte) (flags uint32, err error) {
	if err := start(b, typeNegotiate, negotiateMin); err != nil {
		return 0, fmt.Errorf("ntlm negotiate: %w", err)
	}
	return binary.LittleEndian.Uint32(b[flagsNegotiate:]), nil
}

// challenge is a CHALLENGE_MESSAGE (MS-NLMP section 2.2.1.2).
type challenge struct {
	flags      uint32
	challenge  [8]byte
	targetName []byte // UTF-16
	targetInfo []byte // AV pairs
	version    [8]byte
}

func (c *challenge) marshal() []byte {
	b := newMessage(typeChallenge, challengeSize)
	binary.LittleEndian.PutUint32(b[flagsChallenge:], c.flags)
	copy(b[serverChallengeOff:], c.challenge[:])
	copy(b[48:], c.version[:])
	b = putField(b, fieldTargetName, c.targetName)
	return putField(b, fieldTargetInfo, c.targetInfo)
}

func parseChallenge(b []byte) (*challenge, error) {
	c, err := parseChallengeFields(b)
	if err != nil {
		return nil, fmt.Errorf("ntlm challenge: %w", err)
	}
	return c, nil
}

func parseChallengeFields(b []byte) (*challenge, error) {
	err := start(b, typeChallenge, challengeMin)
	if err != nil {
		return nil, err
	}
	c := &challenge{flags: binary.LittleEndian.Uint32(b[flagsChallenge:])}
	copy(c.challenge[:], b[serverChallengeOff:])
	if c.targetName, err = field(b, fieldTargetName, challengeMin, "target name"); err != nil {
		return nil, err
	}
	if c.targetInfo, err = field(b, fieldTargetInfo, challengeMin, "target information"); err != nil {
		return nil, err
	}
	if c.flags&flagVersion != 0 && len(b) >= challengeSize {
		copy(c.version[:], b[48:])
	}
	return c, nil
}

// authenticate is an AUTHENTICATE_MESSAGE (MS-NLMP section 2.2.1.3).
type authenticate struct {
	flags                     uint32
	domain, user, workstation []byte // UTF-16
	lm, nt                    []byte
	sessionKey                []byte // encrypted
	version                   [8]byte
	hasMIC                    bool // there is room for it; whether it is filled is said in the AV pairs
	mic                       [16]byte
}

func (a *authenticate) marshal() []byte {
	size := authenticateNoMIC
	if a.hasMIC {
		size = authenticateSize
	}
	b := newMessage(typeAuthenticate, size)
	binary.LittleEndian.PutUint32(b[flagsAuthenticate:], a.flags)
	copy(b[64:], a.version[:])
	if a.hasMIC {
		copy(b[micOffset:], a.mic[:])
	}
	b = putField(b, fieldDomain, a.domain)
	b = putField(b, fieldUser, a.user)
	b = putField(b, fieldWorkstation, a.workstation)
	b = putField(b, fieldLM, a.lm)
	b = putField(b, fieldNT, a.nt)
	return putField(b, fieldSessionKey, a.sessionKey)
}

func parseAuthenticate(b []byte) (*authenticate, error) {
	a, err := parseAuthenticateFields(b)
	if err != nil {
		return nil, fmt.Errorf("ntlm authenticate: %w", err)
	}
	return a, nil
}

func parseAuthenticateFields(b []byte) (*authenticate, error) {
	if err := start(b, typeAuthenticate, authenticateMin); err != nil {
		return nil, err
	}
	a := &authenticate{flags: binary.LittleEndian.Uint32(b[flagsAuthenticate:])}
	lowest := len(b) // where the payload begins
	for _, f := range []struct {
		at    int
		to    *[]byte
		name  string
		limit int
	}{
		{fieldLM, &a.lm, "lm response", maxMessage},
		{fieldNT, &a.nt, "nt response", maxMessage},
		{fieldDomain, &a.domain, "domain name", maxName},
		{fieldUser, &a.user, "user name", maxName},
		{fieldWorkstation, &a.workstation, "workstation name", maxName},
		{fieldSessionKey, &a.sessionKey, "session key", maxMessage},
	} {
		v, err := field(b, f.at, authenticateMin, f.name)
		if err != nil {
			return nil, err
		}
		if len(v) > f.limit {
			return nil, fmt.Errorf("%s of %d bytes is too long", f.name, len(v))
		}
		if len(v) > 0 {
			lowest = min(lowest, int(binary.LittleEndian.Uint32(b[f.at+4:])))
		}
		*f.to = v
	}
	// Senders older than the MIC, and some of today, begin the payload where
	// it, or even the version, would stand.
	if lowest >= authenticateSize {
		a.hasMIC = true
		copy(a.mic[:], b[micOffset:])
	}
	if lowest >= authenticateNoMIC && a.flags&flagVersion != 0 {
		copy(a.version[:], b[64:])
	}
	return a, nil
}

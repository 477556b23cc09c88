package spnego

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Limits of what is read.
const (
	maxToken = 64 << 10 // what DCE/RPC can carry (C706 section 12.6.3.1)
	maxMechs = 32       // Windows sends up to five
)

// oidSPNEGO is the mechanism's own identifier, in the frame of the first token
// (RFC 2743 section 3.1).
var oidSPNEGO = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}

// negState is NegTokenResp's state (RFC 4178 section 4.2.2).
type negState int

const (
	acceptCompleted  negState = 0
	acceptIncomplete negState = 1
	reject           negState = 2
	requestMIC       negState = 3
	noState          negState = -1 // it is optional
)

// initToken is a NegTokenInit (RFC 4178 section 4.2.1), or the client's use of
// NegTokenInit2 (MS-SPNG section 2.2.1).
type initToken struct {
	list  []byte // DER of the MechTypeList, as it is signed
	mechs []asn1.ObjectIdentifier
	token []byte // nil when absent
	mic   []byte // nil when absent
}

// respToken is a NegTokenResp.
type respToken struct {
	state negState
	mech  asn1.ObjectIdentifier // nil when absent
	token []byte                // nil when absent
	mic   []byte                // nil when absent
}

func explicit(n uint8) cbasn1.Tag { return cbasn1.Tag(n).Constructed().ContextSpecific() }

// marshalList makes the MechTypeList.
func marshalList(mechs []asn1.ObjectIdentifier) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, m := range mechs {
			b.AddASN1ObjectIdentifier(m)
		}
	})
	return b.Bytes()
}

func (t *initToken) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.Tag(0).Constructed()|0x40, func(b *cryptobyte.Builder) { // [APPLICATION 0]
		b.AddASN1ObjectIdentifier(oidSPNEGO)
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddBytes(t.list) })
				addOctets(b, 2, t.token)
				addOctets(b, 3, t.mic)
			})
		})
	})
	return b.Bytes()
}

func (t *respToken) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			if t.state != noState {
				b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(t.state)) })
			}
			if t.mech != nil {
				b.AddASN1(explicit(1), func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(t.mech) })
			}
			addOctets(b, 2, t.token)
			addOctets(b, 3, t.mic)
		})
	})
	return b.Bytes()
}

func addOctets(b *cryptobyte.Builder, n uint8, v []byte) {
	if v != nil {
		b.AddASN1(explicit(n), func(b *cryptobyte.Builder) { b.AddASN1OctetString(v) })
	}
}

var errDER = errors.New("malformed")

// parseInit reads a client's first token.
func parseInit(in []byte) (*initToken, error) {
	t, err := parseInitFields(in)
	if err != nil {
		return nil, fmt.Errorf("spnego first token: %w", err)
	}
	return t, nil
}

func parseInitFields(in []byte) (*initToken, error) {
	if len(in) > maxToken {
		return nil, errors.New("too long")
	}
	s := cryptobyte.String(in)
	var frame, choice, seq cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !s.ReadASN1(&frame, cbasn1.Tag(0).Constructed()|0x40) || !s.Empty() || !frame.ReadASN1ObjectIdentifier(&oid) {
		return nil, errDER
	}
	if !oid.Equal(oidSPNEGO) {
		return nil, fmt.Errorf("of another mechanism, %v", oid)
	}
	if !frame.ReadASN1(&choice, explicit(0)) || !frame.Empty() || !choice.ReadASN1(&seq, cbasn1.SEQUENCE) || !choice.Empty() {
		return nil, errDER
	}
	t := &initToken{}
	var list, mechs cryptobyte.String
	if !seq.ReadASN1(&list, explicit(0)) {
		return nil, errDER
	}
	t.list = list
	if !list.ReadASN1(&mechs, cbasn1.SEQUENCE) || !list.Empty() {
		return nil, errDER
	}
	for !mechs.Empty() {
		var m asn1.ObjectIdentifier
		if !mechs.ReadASN1ObjectIdentifier(&m) {
			return nil, errDER
		}
		if len(t.mechs) == maxMechs {
			return nil, errors.New("too many mechanisms")
		}
		t.mechs = append(t.mechs, m)
	}
	if len(t.mechs) == 0 {
		return nil, errors.New("no mechanism offered")
	}
	var skipped cryptobyte.String
	if !seq.SkipOptionalASN1(explicit(1)) || !readOctets(&seq, 2, &t.token) {
		return nil, errDER
	}
	// [3] is the MIC or, in NegTokenInit2, the hints; then the MIC is [4].
	var present bool
	if !seq.ReadOptionalASN1(&skipped, &present, explicit(3)) {
		return nil, errDER
	}
	if present && skipped.PeekASN1Tag(cbasn1.OCTET_STRING) {
		if !octets(skipped, &t.mic) {
			return nil, errDER
		}
	} else if !readOctets(&seq, 4, &t.mic) {
		return nil, errDER
	}
	if !seq.Empty() {
		return nil, errDER
	}
	return t, nil
}

// parseResp reads any token but a client's first.
func parseResp(in []byte) (*respToken, error) {
	t, err := parseRespFields(in)
	if err != nil {
		return nil, fmt.Errorf("spnego token: %w", err)
	}
	return t, nil
}

func parseRespFields(in []byte) (*respToken, error) {
	if len(in) > maxToken {
		return nil, errors.New("too long")
	}
	s := cryptobyte.String(in)
	var choice, seq, inner cryptobyte.String
	if !s.ReadASN1(&choice, explicit(1)) || !s.Empty() || !choice.ReadASN1(&seq, cbasn1.SEQUENCE) || !choice.Empty() {
		return nil, errDER
	}
	t := &respToken{state: noState}
	var present bool
	if !seq.ReadOptionalASN1(&inner, &present, explicit(0)) {
		return nil, errDER
	}
	if present {
		var state int
		if !inner.ReadASN1Enum(&state) || !inner.Empty() || state < 0 || state > int(requestMIC) {
			return nil, errDER
		}
		t.state = negState(state)
	}
	if !seq.ReadOptionalASN1(&inner, &present, explicit(1)) {
		return nil, errDER
	}
	if present && (!inner.ReadASN1ObjectIdentifier(&t.mech) || !inner.Empty()) {
		return nil, errDER
	}
	if !readOctets(&seq, 2, &t.token) || !readOctets(&seq, 3, &t.mic) || !seq.Empty() {
		return nil, errDER
	}
	return t, nil
}

// readOctets reads an optional, explicitly tagged OCTET STRING; out stays nil
// when there is none and is not nil when it is empty.
func readOctets(s *cryptobyte.String, n uint8, out *[]byte) bool {
	var inner cryptobyte.String
	var present bool
	if !s.ReadOptionalASN1(&inner, &present, explicit(n)) {
		return false
	}
	return !present || octets(inner, out)
}

func octets(s cryptobyte.String, out *[]byte) bool {
	var v cryptobyte.String
	if !s.ReadASN1(&v, cbasn1.OCTET_STRING) || !s.Empty() {
		return false
	}
	*out = append([]byte{}, v...)
	return true
}

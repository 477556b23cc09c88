package kerberos

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxToken bounds the tokens of a handshake. Windows limits its own to 48 000
// bytes, or 65 535 where that has been raised.
const maxToken = 1 << 16

// Application tags (RFC 4120 section 5.10).
const (
	tagAPReq        = 14
	tagAPRep        = 15
	tagEncAPRepPart = 27
	tagKRBError     = 30
)

// Identifier octets of the messages of a handshake.
const (
	octetAPReq    = 0x60 | tagAPReq
	octetAPRep    = 0x60 | tagAPRep
	octetKRBError = 0x60 | tagKRBError
)

func application(n int) cbasn1.Tag { return cbasn1.Tag(0x60 | n) }
func explicit(n int) cbasn1.Tag    { return cbasn1.Tag(n).ContextSpecific().Constructed() }

var (
	oidKRB5   = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}
	oidMSKRB5 = asn1.ObjectIdentifier{1, 2, 840, 48018, 1, 2, 2}
)

var errMalformed = errors.New("malformed")

// unframe returns the Kerberos message in a token. In DCE style it stands
// there alone (MS-KILE section 3.4.5.1); but some peers frame it as RFC 4121
// section 4.1 does elsewhere, and this is accepted.
func unframe(token []byte) ([]byte, error) {
	if len(token) > maxToken {
		return nil, errors.New("token is too long")
	}
	s := cryptobyte.String(token)
	var element cryptobyte.String
	var tag cbasn1.Tag
	if !s.ReadAnyASN1Element(&element, &tag) || !s.Empty() {
		return nil, errMalformed
	}
	if tag != application(0) {
		return element, nil
	}
	var inner cryptobyte.String
	var oid asn1.ObjectIdentifier
	var id uint16
	if !element.ReadASN1(&inner, tag) || !inner.ReadASN1ObjectIdentifier(&oid) || !inner.ReadUint16(&id) {
		return nil, errMalformed
	}
	if !oid.Equal(oidKRB5) && !oid.Equal(oidMSKRB5) {
		return nil, errors.New("token is of another mechanism")
	}
	token = inner
	s = inner
	if !s.ReadAnyASN1Element(&element, &tag) || !s.Empty() {
		return nil, errMalformed
	}
	// 01 00 AP-REQ, 02 00 AP-REP, 03 00 KRB-ERROR
	want := map[uint16]int{0x0100: octetAPReq, 0x0200: octetAPRep, 0x0300: octetKRBError}[id]
	if int(token[0]) != want {
		return nil, errMalformed
	}
	return token, nil
}

// encryptedData appends an EncryptedData (RFC 4120 section 5.2.9) in a context
// tag. kvno 0 stands for none.
func encryptedData(b *cryptobyte.Builder, tag int, et *etype, kvno int64, cipher []byte) {
	b.AddASN1(explicit(tag), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addInt(b, 0, int64(et.id))
			if kvno != 0 {
				addInt(b, 1, kvno)
			}
			b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(cipher) })
		})
	})
}

func addInt(b *cryptobyte.Builder, tag int, v int64) {
	b.AddASN1(explicit(tag), func(b *cryptobyte.Builder) { b.AddASN1Int64(v) })
}

// apReq returns an AP-REQ (RFC 4120 section 5.5.1) around a ticket's bytes as
// they came, and an encrypted authenticator.
func apReq(ticket []byte, mutual bool, et *etype, authenticator []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(application(tagAPReq), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addInt(b, 0, 5)
			addInt(b, 1, tagAPReq)
			b.AddASN1(explicit(2), func(b *cryptobyte.Builder) {
				var options [4]byte
				if mutual {
					options[0] = 0x20
				}
				b.AddASN1BitString(options[:])
			})
			b.AddASN1(explicit(3), func(b *cryptobyte.Builder) { b.AddBytes(ticket) })
			encryptedData(b, 4, et, 0, authenticator)
		})
	})
	return b.Bytes()
}

// apRep returns an AP-REP (RFC 4120 section 5.5.2).
func apRep(et *etype, cipher []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(application(tagAPRep), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addInt(b, 0, 5)
			addInt(b, 1, tagAPRep)
			encryptedData(b, 2, et, 0, cipher)
		})
	})
	return b.Bytes()
}

// parseAPRep returns the ciphertext of an AP-REP of this encryption type.
func parseAPRep(msg []byte, et *etype) ([]byte, error) {
	s := cryptobyte.String(msg)
	var app, seq, enc, data cryptobyte.String
	var pvno, kind, id int64
	if !s.ReadASN1(&app, application(tagAPRep)) || !s.Empty() ||
		!app.ReadASN1(&seq, cbasn1.SEQUENCE) || !app.Empty() ||
		!readInt(&seq, 0, &pvno) || !readInt(&seq, 1, &kind) ||
		!seq.ReadASN1(&enc, explicit(2)) || !seq.Empty() ||
		!enc.ReadASN1(&data, cbasn1.SEQUENCE) || !enc.Empty() ||
		!readInt(&data, 0, &id) {
		return nil, errMalformed
	}
	if pvno != 5 || kind != tagAPRep {
		return nil, errMalformed
	}
	if !data.SkipOptionalASN1(explicit(1)) { // kvno
		return nil, errMalformed
	}
	var outer, cipher cryptobyte.String
	if !data.ReadASN1(&outer, explicit(2)) || !data.Empty() || !outer.ReadASN1(&cipher, cbasn1.OCTET_STRING) || !outer.Empty() {
		return nil, errMalformed
	}
	if id != int64(et.id) {
		return nil, errors.New("encryption type is not the session key's")
	}
	return cipher, nil
}

func readInt(s *cryptobyte.String, tag int, v *int64) bool {
	var in cryptobyte.String
	return s.ReadASN1(&in, explicit(tag)) && in.ReadASN1Integer(v) && in.Empty()
}

// apRepPart is an EncAPRepPart (RFC 4120 section 5.5.2).
type apRepPart struct {
	time      stamp
	subkeyID  int32 // 0: no subkey
	subkey    []byte
	hasSeq    bool
	seqNumber uint32
}

// stamp is a Kerberos time: seconds and microseconds, compared as such.
type stamp struct{ sec, usec int64 }

func stampOf(t time.Time) stamp {
	return stamp{t.Unix(), int64(t.Nanosecond() / 1000)}
}

func (s stamp) time() time.Time { return time.Unix(s.sec, s.usec*1000).UTC() }

func (p *apRepPart) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(application(tagEncAPRepPart), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(time.Unix(p.time.sec, 0).UTC()) })
			addInt(b, 1, p.time.usec)
			if p.subkeyID != 0 {
				b.AddASN1(explicit(2), func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						addInt(b, 0, int64(p.subkeyID))
						b.AddASN1(explicit(1), func(b *cryptobyte.Builder) { b.AddASN1OctetString(p.subkey) })
					})
				})
			}
			if p.hasSeq {
				addInt(b, 3, int64(p.seqNumber))
			}
		})
	})
	return b.Bytes()
}

func parseAPRepPart(plain []byte) (*apRepPart, error) {
	// The types of RFC 3962 need no padding; anything behind the message is wrong.
	s := cryptobyte.String(plain)
	var app, seq, in cryptobyte.String
	var when time.Time
	p := new(apRepPart)
	if !s.ReadASN1(&app, application(tagEncAPRepPart)) || !s.Empty() ||
		!app.ReadASN1(&seq, cbasn1.SEQUENCE) || !app.Empty() ||
		!seq.ReadASN1(&in, explicit(0)) || !in.ReadASN1GeneralizedTime(&when) || !in.Empty() ||
		!readInt(&seq, 1, &p.time.usec) {
		return nil, errMalformed
	}
	p.time.sec = when.Unix()
	var has bool
	if !seq.ReadOptionalASN1(&in, &has, explicit(2)) {
		return nil, errMalformed
	}
	if has {
		var k, v, value cryptobyte.String
		var id int64
		if !in.ReadASN1(&k, cbasn1.SEQUENCE) || !in.Empty() || !readInt(&k, 0, &id) ||
			!k.ReadASN1(&v, explicit(1)) || !k.Empty() || !v.ReadASN1(&value, cbasn1.OCTET_STRING) || !v.Empty() ||
			id <= 0 || id > math.MaxInt32 {
			return nil, errMalformed
		}
		p.subkeyID, p.subkey = int32(id), bytes.Clone(value)
	}
	if !seq.ReadOptionalASN1(&in, &p.hasSeq, explicit(3)) {
		return nil, errMalformed
	}
	if p.hasSeq {
		var n int64
		// Some implementations encode numbers of 2^31 and more as negative.
		if !in.ReadASN1Integer(&n) || !in.Empty() || n < math.MinInt32 || n > math.MaxUint32 {
			return nil, errMalformed
		}
		p.seqNumber = uint32(n)
	}
	if !seq.Empty() {
		return nil, errMalformed
	}
	return p, nil
}

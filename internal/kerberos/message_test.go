package kerberos

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/internal/gss"
)

// sides are both ends of one direction, from the acceptor to the initiator,
// under a key that is known.
func sides(et *etype) (from, to *session) {
	k := &key{et, counting(0, et.key)}
	from, to = &session{}, &session{}
	from.establish(k, true, true, 5, 9)
	to.establish(k, false, true, 9, 5)
	return from, to
}

func testMessage(body string, signHeader bool) gss.Message {
	return gss.Message{Header: []byte("a header"), Body: []byte(body), Trailer: []byte("trailer!"), SignHeader: signHeader}
}

func clone(m gss.Message) gss.Message {
	m.Header, m.Body, m.Trailer = bytes.Clone(m.Header), bytes.Clone(m.Body), bytes.Clone(m.Trailer)
	return m
}

// TestChangedMessages changes every bit of everything that is protected, and of
// the token. Header and trailer are part of it exactly when they are signed.
func TestChangedMessages(t *testing.T) {
	for _, et := range etypes {
		for _, seal := range []bool{true, false} {
			for _, signHeader := range []bool{true, false} {
				for _, body := range []string{"a body", "a body of 2 full blocks, exactly"} {
					from, _ := sides(et)
					m := testMessage(body, signHeader)
					token := make([]byte, from.TokenSize(seal, len(body)))
					if err := from.Wrap(token, m, seal); err != nil {
						t.Fatal(err)
					}
					for part := range 4 {
						size := len([][]byte{m.Header, m.Body, m.Trailer, token}[part])
						for bit := range 8 * size {
							_, to := sides(et)
							m, token := clone(m), bytes.Clone(token)
							[][]byte{m.Header, m.Body, m.Trailer, token}[part][bit/8] ^= 1 << (bit % 8)
							err := to.Unwrap(token, m, seal)
							if unsigned := !signHeader && part%2 == 0; unsigned && err != nil || !unsigned && !errors.Is(err, gss.ErrIntegrity) {
								t.Fatalf("%s, seal %v, header %v, part %d, bit %d of %d: %v", et.name, seal, signHeader, part, bit, 8*size, err)
							}
						}
					}
				}
			}
		}
	}
}

// TestHeaderSigningDisagreed: one side signs headers and the other does not.
func TestHeaderSigningDisagreed(t *testing.T) {
	for _, seal := range []bool{true, false} {
		for _, signs := range []bool{true, false} {
			from, to := sides(etypes[etypeAES256SHA1])
			m := testMessage("a body", signs)
			token := make([]byte, from.TokenSize(seal, len(m.Body)))
			if err := from.Wrap(token, m, seal); err != nil {
				t.Fatal(err)
			}
			m.SignHeader = !signs
			if err := to.Unwrap(token, m, seal); !errors.Is(err, gss.ErrIntegrity) {
				t.Errorf("seal %v, sender signs %v: %v", seal, signs, err)
			}
		}
	}
}

// TestOrder: messages count once, and in their order; those of another context,
// or one's own, do not count. A context that has seen one such is over.
func TestOrder(t *testing.T) {
	type sealed struct {
		m     gss.Message
		token []byte
	}
	for _, seal := range []bool{true, false} {
		from, to := sides(etypes[etypeAES128SHA1])
		wrap := func(s *session) sealed {
			v := sealed{testMessage("a body", true), make([]byte, s.TokenSize(seal, 6))}
			if err := s.Wrap(v.token, v.m, seal); err != nil {
				t.Fatal(err)
			}
			return v
		}
		unwrap := func(s *session, v sealed) error { return s.Unwrap(bytes.Clone(v.token), clone(v.m), seal) }
		first, second := wrap(from), wrap(from)
		other := &session{}
		other.establish(randomKey(etypes[etypeAES128SHA1]), true, true, 5, 9)
		noSubkey := &session{}
		noSubkey.establish(&key{etypes[etypeAES128SHA1], counting(0, 16)}, true, false, 5, 9)
		if err := unwrap(to, first); err != nil {
			t.Fatal(err)
		}
		for name, v := range map[string]struct {
			to    *session
			s     sealed
			after bool // the first message has come
		}{
			"replayed":               {nil, first, true},
			"the first one dropped":  {nil, second, false},
			"another context's":      {nil, wrap(other), false},
			"not the agreed key":     {nil, wrap(noSubkey), false},
			"reflected":              {from, first, true},
			"its own, of its number": {nil, wrap(to), true},
		} {
			at := v.to
			if at == nil {
				_, at = sides(etypes[etypeAES128SHA1])
				if v.after {
					if err := unwrap(at, first); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := unwrap(at, v.s); !errors.Is(err, gss.ErrIntegrity) {
				t.Errorf("seal %v, %s: %v", seal, name, err)
			}
			for _, good := range []sealed{first, second} {
				if err := unwrap(at, good); !errors.Is(err, gss.ErrIntegrity) {
					t.Errorf("seal %v, %s: goes on", seal, name)
				}
			}
		}
		if err := unwrap(to, second); err != nil {
			t.Errorf("seal %v: %v", seal, err)
		}
	}
	// A message that is sent once more under the number that is due: the number
	// in front is not protected, the one inside is.
	for _, body := range []string{"a body", "a body of 2 full blocks, exactly"} {
		for _, seal := range []bool{true, false} {
			for _, et := range etypes {
				from, to := sides(et)
				m, token := testMessage(body, true), make([]byte, from.TokenSize(seal, len(body)))
				if err := from.Wrap(token, m, seal); err != nil {
					t.Fatal(err)
				}
				if err := to.Unwrap(bytes.Clone(token), clone(m), seal); err != nil {
					t.Fatal(err)
				}
				binary.BigEndian.PutUint64(token[8:], 6)
				if err := to.Unwrap(token, m, seal); !errors.Is(err, gss.ErrIntegrity) {
					t.Errorf("%s, seal %v, %q renumbered: %v", et.name, seal, body, err)
				}
			}
		}
	}

	// A token of one kind is not taken for the other.
	from, to := sides(etypes[etypeAES256SHA1])
	m, token := testMessage("a body", false), make([]byte, from.TokenSize(false, 6))
	if err := from.Wrap(token, m, false); err != nil {
		t.Fatal(err)
	}
	if err := to.Unwrap(token, m, true); !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("signed taken for sealed: %v", err)
	}
	from, to = sides(etypes[etypeAES256SHA1])
	token = make([]byte, from.TokenSize(true, 6))
	if err := from.Wrap(token, m, true); err != nil {
		t.Fatal(err)
	}
	if err := to.Unwrap(token, m, false); !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("sealed taken for signed: %v", err)
	}
}

// TestNumbersPass32Bits: numbers are of 64 bits, so none is used twice.
func TestNumbersPass32Bits(t *testing.T) {
	k := randomKey(etypes[etypeAES256SHA1])
	var from, to session
	from.establish(k, true, true, 0xffffffff, 0)
	to.establish(k, false, true, 0, 0xffffffff)
	for n := range uint64(3) {
		m, token := testMessage("a body", true), make([]byte, 76)
		if err := from.Wrap(token, m, true); err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(token[8:]); got != 0xffffffff+n {
			t.Errorf("number %#x", got)
		}
		if err := to.Unwrap(token, m, true); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTokenRoom(t *testing.T) {
	from, _ := sides(etypes[etypeAES256SHA1])
	for _, seal := range []bool{true, false} {
		size := from.TokenSize(seal, 6)
		for _, n := range []int{0, size - 1, size + 1} {
			if err := from.Wrap(make([]byte, n), testMessage("a body", true), seal); err == nil {
				t.Errorf("%d bytes of room for %d", n, size)
			}
		}
	}
	var none session
	if none.TokenSize(true, 1) != 0 || none.Wrap(nil, gss.Message{}, true) == nil || none.Unwrap(nil, gss.Message{}, false) == nil || none.VerifyMIC(nil, nil) == nil {
		t.Error("a context of use before it is established")
	}
	if _, err := none.MIC(nil); err == nil {
		t.Error("a MIC without a key")
	}
}

// wrapAs seals as some peer might: with this much filler of its own and this
// rotation (RFC 4121 section 4.2.4, MS-KILE section 3.4.5.4.1). It is the text
// of those sections, and knows nothing of how this package goes about it.
func wrapAs(k *key, usage uint32, flags byte, seq uint64, fill []byte, rrc uint16, confounder []byte, m *gss.Message) (token []byte) {
	header := []byte{5, 4, flags, 0xff}
	header = binary.BigEndian.AppendUint16(header, uint16(len(fill)))
	header = append(header, 0, 0)
	header = binary.BigEndian.AppendUint64(header, seq)
	s := k.sealer(usage)
	text := bytes.Join([][]byte{confounder, m.Body, fill, header}, nil)
	signed := text
	if m.SignHeader {
		signed = bytes.Join([][]byte{confounder, m.Header, m.Body, m.Trailer, fill, header}, nil)
	}
	mac := s.sum(signed)
	ctsReference(s.block, text)
	if k.et.sha2 { // over what is encrypted
		signed = text
		if m.SignHeader {
			n := blockSize + len(m.Body)
			signed = bytes.Join([][]byte{text[:blockSize], m.Header, text[blockSize:n], m.Trailer, text[n:]}, nil)
		}
		mac = s.sum(signed)
	}
	all := append(text, mac...)
	r := (len(fill) + int(rrc)) % len(all)
	all = append(append([]byte{}, all[len(all)-r:]...), all[:len(all)-r]...)
	binary.BigEndian.PutUint16(header[6:], rrc)
	n := len(all) - len(m.Body)
	copy(m.Body, all[n:])
	return append(header, all[:n]...)
}

// ctsReference is RFC 3962 section 5 by the letter, over two blocks or more.
func ctsReference(block cipher.Block, buf []byte) {
	padded := append([]byte{}, buf...)
	for len(padded)%blockSize != 0 {
		padded = append(padded, 0)
	}
	cipher.NewCBCEncrypter(block, zeroBlock[:]).CryptBlocks(padded, padded)
	n := len(padded)
	last := append([]byte{}, padded[n-blockSize:]...)
	previous := append([]byte{}, padded[n-2*blockSize:n-blockSize]...)
	copy(padded[n-2*blockSize:], last)
	copy(padded[n-blockSize:], previous)
	copy(buf, padded)
}

// TestPeersTokens: tokens as Windows makes them (a block of filler), as Impacket
// does (as much as the body lacks of a block, of ones) and as any other might.
func TestPeersTokens(t *testing.T) {
	for _, et := range etypes {
		k := &key{et, counting(0, et.key)}
		for _, signHeader := range []bool{false, true} {
			for size := range 50 {
				rotation := uint16(tokenHeader + et.mac)
				for name, v := range map[string]struct {
					fill []byte
					rrc  uint16
				}{
					"Windows":      {make([]byte, 16), rotation},
					"Impacket":     {bytes.Repeat([]byte{0xff}, -size&15), rotation},
					"no filler":    {nil, rotation},
					"not rotated":  {nil, 0},
					"own rotation": {[]byte("filler"), 5},
					"many rounds":  {[]byte("fill"), 0xffff},
				} {
					_, to := sides(et)
					plain := counting(byte(size), size)
					m := testMessage(string(plain), signHeader)
					token := wrapAs(k, usageAcceptorSeal, flagSentByAcceptor|flagSealed|flagAcceptorSubkey, 5, v.fill, v.rrc, counting(0x10, 16), &m)
					if err := to.Unwrap(token, m, true); err != nil {
						t.Fatalf("%s, %s, header %v, %d bytes: %v", et.name, name, signHeader, size, err)
					}
					if !bytes.Equal(m.Body, plain) {
						t.Fatalf("%s, %s, header %v, %d bytes came out as %x", et.name, name, signHeader, size, m.Body)
					}
				}
			}
		}
	}
}

// TestAnyRotation: any filler and rotation come out right, and with any bit
// changed they do not come out.
func TestAnyRotation(t *testing.T) {
	ids := []int32{etypeAES128SHA1, etypeAES256SHA1, etypeAES128SHA2, etypeAES256SHA2}
	rapid.Check(t, func(r *rapid.T) {
		et := etypes[rapid.SampledFrom(ids).Draw(r, "type")]
		part := rapid.SliceOfN(rapid.Byte(), 0, 100)
		plain, fill := part.Draw(r, "body"), part.Draw(r, "filler")
		m := gss.Message{Header: part.Draw(r, "header"), Body: bytes.Clone(plain), Trailer: part.Draw(r, "trailer"), SignHeader: rapid.Bool().Draw(r, "sign header")}
		token := wrapAs(&key{et, counting(0, et.key)}, usageAcceptorSeal, 7, 5, fill, rapid.Uint16().Draw(r, "rrc"), counting(1, 16), &m)
		_, to := sides(et)
		changed, bad := bytes.Clone(token), clone(m)
		if err := to.Unwrap(token, m, true); err != nil || !bytes.Equal(m.Body, plain) {
			r.Fatalf("%x, %v", m.Body, err)
		}
		bit := rapid.IntRange(0, 8*(len(token)+len(plain))-1).Draw(r, "bit")
		if at := bit / 8; at < len(changed) {
			changed[at] ^= 1 << (bit % 8)
		} else {
			bad.Body[at-len(changed)] ^= 1 << (bit % 8)
		}
		_, to = sides(et)
		if err := to.Unwrap(changed, bad, true); !errors.Is(err, gss.ErrIntegrity) && bit/8 != 6 && bit/8 != 7 {
			r.Fatalf("bit %d: %v", bit, err)
		}
	})
}

package ntlm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
)

// TestFlippedHandshake flips every bit of every message. With a MIC all of
// them are refused, before the acceptor says that it is done.
func TestFlippedHandshake(t *testing.T) {
	for n := 1; n <= 3; n++ {
		for bit := 0; ; bit++ {
			reached := false
			i, a := NewInitiator(testCredentials(), "RPCSS/ca1"), NewAcceptor(testConfig())
			err := handshake(t, i, a, func(k int, m []byte) []byte {
				if k == n && bit < 8*len(m) {
					reached = true
					m[bit/8] ^= 1 << (bit % 8)
				}
				return m
			})
			if !reached {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if err == nil {
				t.Errorf("message %d: bit %d of byte %#x is not protected", n, bit%8, bit/8)
			}
		}
	}
}

// TestFlippedHandshakeWithoutMIC flips every bit of what a client without MIC
// and the server say to it. The password protects only the server's list, its
// challenge and the names; the session key shows in the first message. What
// can be changed unseen is listed here, and gives nobody anything.
func TestFlippedHandshakeWithoutMIC(t *testing.T) {
	unprotected := func(n, offset, bit int, m []byte) bool {
		inField := func(at int) bool { // the maximum lengths are for nobody
			return offset >= at+2 && offset < at+4
		}
		payload := func(at int) bool {
			from := int(binary.LittleEndian.Uint32(m[at+4:]))
			return offset >= from && offset < from+int(binary.LittleEndian.Uint16(m[at:]))
		}
		header := func(at int) bool { return offset >= at && offset < at+8 }
		flag := func(at int) bool { // all but those that are demanded
			return offset >= at && offset < at+4 && required>>(8*(offset-at)+bit)&1 == 0
		}
		switch n {
		case 1: // all that is not needed
			return flag(flagsNegotiate) || offset >= negotiateMin
		case 2: // target name, version, reserved, flags
			return flag(flagsChallenge) || header(fieldTargetName) || payload(fieldTargetName) || inField(fieldTargetInfo) ||
				offset >= 32 && offset < 40 || offset >= 48 && offset < 56
		default: // LM response, workstation, version, flags other than anonymous
			return flag(flagsAuthenticate) && !(offset == flagsAuthenticate+1 && bit == 3) ||
				offset >= 64 && offset < 72 ||
				header(fieldLM) || payload(fieldLM) || header(fieldWorkstation) || payload(fieldWorkstation) ||
				inField(fieldNT) || inField(fieldDomain) || inField(fieldUser) || inField(fieldSessionKey)
		}
	}
	for n := 1; n <= 3; n++ {
		for bit := 0; ; bit++ {
			reached, expected := false, false
			i, a := &oldClient{cred: testCredentials()}, NewAcceptor(testConfig())
			err := handshake(t, i, a, func(k int, m []byte) []byte {
				if k == n && bit < 8*len(m) {
					reached, expected = true, unprotected(n, bit/8, bit%8, m)
					m[bit/8] ^= 1 << (bit % 8)
				}
				return m
			})
			if err == nil {
				err = exchange(i, a)
			}
			if !reached {
				break
			}
			if err == nil && !expected {
				t.Errorf("message %d: bit %d of byte %#x is not protected", n, bit%8, bit/8)
			}
		}
	}
}

// TestUnprotectedIsUnprotected shows two of the holes that the list above
// names, so that it is no excuse for what is protected.
func TestUnprotectedIsUnprotected(t *testing.T) {
	for name, change := range map[string]func(n int, m []byte) []byte{
		"target name": func(n int, m []byte) []byte {
			if n == 2 {
				m[challengeSize] ^= 1
			}
			return m
		},
		"workstation": func(n int, m []byte) []byte {
			if n == 3 {
				m[binary.LittleEndian.Uint32(m[fieldWorkstation+4:])] ^= 1
			}
			return m
		},
	} {
		if err := handshake(t, &oldClient{cred: testCredentials()}, NewAcceptor(testConfig()), change); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := handshake(t, NewInitiator(testCredentials(), ""), NewAcceptor(testConfig()), change); !errors.Is(err, gss.ErrIntegrity) {
			t.Errorf("%s, with mic: %v", name, err)
		}
	}
}

// TestDowngrades takes each demanded flag away from each message.
func TestDowngrades(t *testing.T) {
	at := map[int]int{1: flagsNegotiate, 2: flagsChallenge, 3: flagsAuthenticate}
	for n, offset := range at {
		for bit := range 32 {
			if required>>bit&1 == 0 {
				continue
			}
			t.Run(fmt.Sprintf("message %d flag %#x", n, 1<<bit), func(t *testing.T) {
				refusedBy := 0
				i, a := NewInitiator(testCredentials(), ""), NewAcceptor(testConfig())
				err := handshake(t, i, a, func(k int, m []byte) []byte {
					refusedBy = k
					if k == n {
						binary.LittleEndian.PutUint32(m[offset:], binary.LittleEndian.Uint32(m[offset:])&^(1<<bit))
					}
					return m
				})
				if err == nil {
					t.Fatal("accepted")
				}
				if errors.Is(err, gss.ErrIntegrity) || refusedBy != n {
					t.Errorf("noticed only later: message %d, %v", refusedBy, err)
				}
			})
		}
	}
}

// TestMICTakenAway: an attacker who wants to change other things has to get
// rid of the MIC. The client's list, which he cannot change, says that it was
// there.
func TestMICTakenAway(t *testing.T) {
	rebuild := func(change func(*authenticate)) func(n int, m []byte) []byte {
		return func(n int, m []byte) []byte {
			if n == 3 {
				p, err := parseAuthenticate(m)
				if err != nil {
					t.Fatal(err)
				}
				change(p)
				m = p.marshal()
			}
			return m
		}
	}
	for name, change := range map[string]func(n int, m []byte) []byte{
		"no room":  rebuild(func(p *authenticate) { p.hasMIC = false }),
		"zeros":    rebuild(func(p *authenticate) { p.mic = [16]byte{} }),
		"no flags": rebuild(func(p *authenticate) { p.nt = withoutPair(p.nt, avFlags); p.hasMIC = false }),
		"no timestamp in the challenge": func(n int, m []byte) []byte {
			if n == 2 {
				c, _ := parseChallenge(m)
				list, _ := parsePairs(c.targetInfo)
				c.targetInfo = list[:len(list)-1].marshal()
				m = c.marshal()
			}
			return m
		},
	} {
		err := handshake(t, NewInitiator(testCredentials(), ""), NewAcceptor(testConfig()), change)
		if !errors.Is(err, gss.ErrIntegrity) && !errors.Is(err, gss.ErrLogon) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The last one also where the client knows no MIC.
	err := handshake(t, &oldClient{cred: testCredentials()}, NewAcceptor(testConfig()), func(n int, m []byte) []byte {
		if n == 2 {
			c, _ := parseChallenge(m)
			list, _ := parsePairs(c.targetInfo)
			c.targetInfo = list[:len(list)-1].marshal()
			m = c.marshal()
		}
		return m
	})
	if !errors.Is(err, gss.ErrIntegrity) {
		t.Errorf("client without mic, no timestamp: %v", err)
	}
}

// withoutPair takes a pair out of an NT response.
func withoutPair(nt []byte, id uint16) []byte {
	r, err := parseNTResponse(nt)
	if err != nil {
		panic(err)
	}
	var left pairs
	for _, p := range r.pairs {
		if p.id != id {
			left = append(left, p)
		}
	}
	out := append([]byte{}, nt[:16+blobPairs]...)
	out = append(out, left.marshal()...)
	return append(out, 0, 0, 0, 0)
}

func TestRefusedAuthenticates(t *testing.T) {
	for name, change := range map[string]func(*authenticate){
		"ntlm version 1":         func(p *authenticate) { p.nt = p.nt[:24] },
		"lm only":                func(p *authenticate) { p.nt = nil },
		"proof only":             func(p *authenticate) { p.nt = p.nt[:16] },
		"another version":        func(p *authenticate) { p.nt[16] = 2 },
		"no session key":         func(p *authenticate) { p.sessionKey = nil },
		"short session key":      func(p *authenticate) { p.sessionKey = p.sessionKey[:8] },
		"long session key":       func(p *authenticate) { p.sessionKey = append(p.sessionKey, 0) },
		"anonymous flag":         func(p *authenticate) { p.flags |= flagAnonymous },
		"odd user name":          func(p *authenticate) { p.user = p.user[:3] },
		"odd domain name":        func(p *authenticate) { p.domain = p.domain[:3] },
		"another domain":         func(p *authenticate) { p.domain = toUTF16("OTHER") },
		"another user":           func(p *authenticate) { p.user = toUTF16("other") },
		"endless av pairs":       func(p *authenticate) { p.nt = p.nt[:len(p.nt)-8] },
		"proof without the rest": func(p *authenticate) { p.nt = p.nt[:16+blobPairs] },
	} {
		a := NewAcceptor(testConfig())
		err := handshake(t, &oldClient{cred: testCredentials()}, a, func(n int, m []byte) []byte {
			if n == 3 {
				p, err := parseAuthenticate(m)
				if err != nil {
					t.Fatal(err)
				}
				change(p)
				m = p.marshal()
			}
			return m
		})
		if err == nil || a.Peer() != (gss.Peer{}) {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestReflection: a client's challenge answered with the client's own messages
// gets nobody in.
func TestReflection(t *testing.T) {
	i := NewInitiator(testCredentials(), "")
	negotiate, _, err := i.Step(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.Step(t.Context(), negotiate); err == nil {
		t.Error("an initiator takes its own message for a challenge")
	}
	if _, _, err := NewInitiator(testCredentials(), "").Step(t.Context(), negotiate); err == nil {
		t.Error("an initiator lets the server speak first")
	}
}

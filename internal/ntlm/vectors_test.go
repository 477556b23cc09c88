package ntlm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
)

// unhex decodes hexadecimal, blanks and line ends ignored.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func equal(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if !bytes.Equal(got, unhex(want)) {
		t.Errorf("%s\n got %x\nwant %x", what, got, unhex(want))
	}
}

// The example of MS-NLMP sections 4.2.1 and 4.2.4: user "User", domain
// "Domain", password "Password", server "Server", workstation "COMPUTER".
const (
	vecTemp = `01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000
		02000c0044006f006d00610069006e00 01000c005300650072007600650072000000000000000000`
	vecProof     = "68cd0ab851e51c96aabc927bebef6a1c"
	vecLM        = "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa"
	vecEncKey    = "c5dad2544fc9799094ce1ce90bc9d03e"
	vecChallenge = `4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000 2400240044000000
		060070170000000f 530065007200760065007200 02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000`
	vecAuthenticate = `4e544c4d53535000 03000000 180018006c000000 5400540084000000 0c000c0048000000 0800080054000000 100010005c000000
		10001000d8000000 358288e2 0501280a0000000f 44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200 ` +
		vecLM + vecProof + vecTemp + vecEncKey
	vecNegotiateFlags = 0xe2088235
)

var (
	vecServerChallenge = [8]byte(unhex("0123456789abcdef"))
	vecClientChallenge = [8]byte(unhex("aaaaaaaaaaaaaaaa"))
	vecSessionKey      = [16]byte(unhex("55555555555555555555555555555555"))
)

func TestVectorComputations(t *testing.T) {
	hash := NTHash("Password")
	equal(t, "nt hash", hash[:], "a4f49c406510bdcab6824ee7c30fd852")
	key := ntowfv2(hash, "User", "Domain")
	equal(t, "ntowfv2", key[:], "0c868a403bfd7a93a3001ef22ef02e3f")
	list := pairs{{avNbDomain, toUTF16("Domain")}, {avNbComputer, toUTF16("Server")}}
	blob := clientBlob([8]byte{}, vecClientChallenge, list.marshal())
	equal(t, "temp", blob, vecTemp)
	proof, base := proofs(key, vecServerChallenge, blob)
	equal(t, "proof", proof[:], vecProof)
	equal(t, "session base key", base[:], "8de40ccadbc14a82f15cb0ad0de95ca3")
	equal(t, "lmv2", lmv2(key, vecServerChallenge, vecClientChallenge), vecLM)
	enc := rc4k(base, vecSessionKey[:])
	equal(t, "encrypted session key", enc[:], vecEncKey)
}

func TestVectorMessages(t *testing.T) {
	c, err := parseChallenge(unhex(vecChallenge))
	if err != nil {
		t.Fatal(err)
	}
	if c.flags != 0xe28a8233 || c.challenge != vecServerChallenge || !bytes.Equal(c.targetName, toUTF16("Server")) {
		t.Errorf("challenge: %+v", c)
	}
	equal(t, "challenge again", c.marshal(), vecChallenge)
	list, err := parsePairs(c.targetInfo)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "av pairs again", list.marshal(), "02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000")

	a, err := parseAuthenticate(unhex(vecAuthenticate))
	if err != nil {
		t.Fatal(err)
	}
	if a.hasMIC {
		t.Error("a message without mic has one")
	}
	if a.flags != 0xe2888235 || !bytes.Equal(a.user, toUTF16("User")) || !bytes.Equal(a.domain, toUTF16("Domain")) ||
		!bytes.Equal(a.workstation, toUTF16("COMPUTER")) {
		t.Errorf("authenticate: %+v", a)
	}
	equal(t, "authenticate again", a.marshal(), vecAuthenticate)
	r, err := parseNTResponse(a.nt)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "proof", r.proof, vecProof)
	equal(t, "temp", r.blob, vecTemp)
}

// TestVectorAcceptor gives the published third message to an acceptor that has
// sent the published second one.
func TestVectorAcceptor(t *testing.T) {
	for _, known := range []bool{true, false} {
		a := NewAcceptor(AcceptorConfig{Lookup: func(user, domain string) ([16]byte, bool) {
			if user != "User" || domain != "Domain" {
				t.Errorf("asked for %q %q", user, domain)
			}
			return NTHash("Password"), known
		}})
		a.state, a.challenge, a.server = stateChallenged, unhex(vecChallenge), vecServerChallenge
		a.pairs = pairs{{avNbDomain, toUTF16("Domain")}, {avNbComputer, toUTF16("Server")}}
		_, done, err := a.Step(t.Context(), unhex(vecAuthenticate))
		if done != known || (err == nil) != known {
			t.Fatalf("known %v: %v %v", known, done, err)
		}
		if !known {
			continue
		}
		if got := a.Peer().String(); got != `Domain\User` {
			t.Errorf("peer %q", got)
		}
		token, body := sealOnce(t, &a.session, "Plaintext")
		equal(t, "sealed s2c", body, "160871b730ba74e946c453d7465b54278dd0")
		equal(t, "signature s2c", token, "01000000b298b847ce7c580700000000")
	}
}

func sealOnce(t *testing.T, s *session, text string) (token, body []byte) {
	t.Helper()
	token, body = make([]byte, tokenSize), toUTF16(text)
	if err := s.Wrap(token, gss.Message{Body: body}, true); err != nil {
		t.Fatal(err)
	}
	return token, body
}

func vectorSessions() (client, server *session) {
	client, server = &session{}, &session{}
	client.establish(vecSessionKey, true)
	server.establish(vecSessionKey, false)
	return client, server
}

func TestVectorKeysAndSeals(t *testing.T) {
	client, server := vectorSessions()
	for _, k := range []struct {
		name, want string
		got        []byte
	}{
		{"client seal", "59f600973cc4960a25480a7c196e4c58", client.send.sealKey[:]},
		{"server seal", "9355f3a957c1583d25c4c2f11e40390e", server.send.sealKey[:]},
	} {
		equal(t, k.name, k.got, k.want)
	}
	// The sign keys are seen in what they make: an HMAC under them.
	for _, k := range []struct {
		name, key string
		d         *direction
	}{
		{"client sign", "4788dc861b4782f35d43fd98fe1a2d39", client.send},
		{"server sign", "d04d6f10741041d1d246d64188d7a8ad", server.send},
	} {
		k.d.hash(&gss.Message{Body: []byte("x")})
		want := hmacMD5(unhex(k.key), make([]byte, 4), []byte("x"))
		if k.d.sum != want {
			t.Errorf("%s key is wrong", k.name)
		}
	}
	for _, v := range []struct {
		from, to        *session
		data, signature string
	}{
		{client, server, "54e50165bf1936dc996020c1811b0f06fb5f", "010000007fb38ec5c55d497600000000"},
		{client, server, "64c308e09ea236e7f4232553c94a01e700fa", "01000000255405955d31d8c401000000"},
		{server, client, "160871b730ba74e946c453d7465b54278dd0", "01000000b298b847ce7c580700000000"},
		{server, client, "3db8ae180836dceebba76946aab5e969c977", "010000001c358b931a2feeb201000000"},
	} {
		token, body := sealOnce(t, v.from, "Plaintext")
		equal(t, "data", body, v.data)
		equal(t, "signature", token, v.signature)
		if err := v.to.Unwrap(token, gss.Message{Body: body}, true); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body, toUTF16("Plaintext")) {
			t.Error("another text came back")
		}
	}
}

// TestVectorChecksums: what the signatures above are before they are encrypted.
func TestVectorChecksums(t *testing.T) {
	client, server := vectorSessions()
	for _, v := range []struct {
		d    *direction
		want []string
	}{
		{client.send, []string{"70352851f2564309", "126c5d58da2144d6"}},
		{server.send, []string{"a6139944aa644dd5", "54a1dfcffa59ae94"}},
	} {
		for _, want := range v.want {
			v.d.hash(&gss.Message{Body: toUTF16("Plaintext")})
			equal(t, "checksum", v.d.sum[:8], want)
			v.d.seq++
		}
	}
}

// Whole DCE/RPC PDUs sealed under the same session key.
const (
	pduREQ1      = "050000831000000080001000020000003e000000000012000100000002000300040000000000000501e56a65de195fdcf76054c1e40a5535cb0a69f12e0d9db0c6a2da3c64e0ffa25fe798235653ac4a79e774fa303858cdd510f3122dac10154550e2d4b842ffc80a060200010000000100000004df0f887c15a1be00000000"
	pduRSP1      = "050002031000000040001000020000000c0000000000000046081db751ba1de928c427d7235b2c270a0604000100000001000000aed7cc5da1249a6000000000"
	pduREQ2      = "050000831000000060001000030000002000000000001500010000000200030004000000000000057a4b52bbddf807b53ea8ed28bda4638c109ca81c92f0feff5676f60c69b7b6510a06000001000000010000004b57248227743ac501000000"
	pduRSP2      = "050002031000000040001000030000000c0000000000000015d26db8c2186936b5eed5a71d46cfb50a0604000100000001000000a1e3fb170e37312601000000"
	pduREQ1After = "050000831000000080001000020000003e000000000012000100000002000300040000000000000501e56a65de195fdcf76054c1e40a5535cb0a69f12e0d9db0c6a2da3c64e0ffa25fe798235653ac4a79e774fa303858cdd510f3122dac10154550e2d4b842ffc80a0602000100000001000000b71f0852a279e1c501000000"
	micC2S       = "0100000022a3984fefbb9c3200000000"
	micS2C       = "010000007dd6da05648a73ae00000000"
	mechList     = "300c060a2b06010401823702020a"
)

// splitPDU takes a sealed request or response apart.
func splitPDU(pdu []byte) (m gss.Message, token []byte) {
	header := 24
	if pdu[3]&0x80 != 0 { // an object UUID
		header = 40
	}
	trailer := len(pdu) - int(binary.LittleEndian.Uint16(pdu[10:])) - 8
	return gss.Message{Header: pdu[:header], Body: pdu[header:trailer], Trailer: pdu[trailer : trailer+8]}, pdu[trailer+8:]
}

// stub1 is Ping("RootCA"), stub2 BackupEnd, in the PDUs above.
var (
	stub1 = unhex("05000700000000000000000000112233445566778899aabbccddeeff000000000000020007000000000000000700000052006f006f007400430041000000")
	stub2 = unhex("05000700000000000000000000112233445566778899aabbccddeeff00000000")
	stubR = make([]byte, 12) // ORPCTHAT, S_OK
)

func checkPDU(t *testing.T, from, to *session, vector string, stub []byte) {
	t.Helper()
	pdu := unhex(vector)
	m, token := splitPDU(pdu)
	if err := to.Unwrap(token, m, true); err != nil {
		t.Fatalf("unwrap: %v", err)
	}
	padded := append(bytes.Clone(stub), make([]byte, m.Trailer[2])...)
	if !bytes.Equal(m.Body, padded) {
		t.Fatalf("body\n got %x\nwant %x", m.Body, padded)
	}
	clear(token)
	if err := from.Wrap(token, m, true); err != nil {
		t.Fatalf("wrap: %v", err)
	}
	equal(t, "pdu", pdu, vector)
}

func TestVectorPDUs(t *testing.T) {
	client, server := vectorSessions()
	checkPDU(t, client, server, pduREQ1, stub1)
	checkPDU(t, server, client, pduRSP1, stubR)
	checkPDU(t, client, server, pduREQ2, stub2)
	checkPDU(t, server, client, pduRSP2, stubR)
}

func TestVectorMechListMIC(t *testing.T) {
	client, server := vectorSessions()
	for _, v := range []struct {
		from, to *session
		want     string
	}{{client, server, micC2S}, {server, client, micS2C}} {
		mic, err := v.from.MIC(unhex(mechList))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "mic", mic, v.want)
		if err := v.to.VerifyMIC(unhex(mechList), mic); err != nil {
			t.Fatal(err)
		}
	}
	client.AfterMIC()
	server.AfterMIC()
	checkPDU(t, client, server, pduREQ1After, stub1)
}

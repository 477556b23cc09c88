package kerberos

import (
	"bytes"
	"crypto/pbkdf2"
	"encoding/hex"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func counting(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func TestNfold(t *testing.T) {
	// RFC 3961 appendix A.1
	for _, v := range []struct{ in, want string }{
		{"012345", "be072631276b1955"},
		{"password", "78a07b6caf85fa"},
		{"Rough Consensus, and Running Code", "bb6ed30870b7f0e0"},
		{"password", "59e4a8ca7c0385c3c37b3f6d2000247cb6e6bd5b3e"},
		{"MASSACHVSETTS INSTITVTE OF TECHNOLOGY", "db3b0d8f0b061e603282b308a50841229ad798fab9540c1b"},
		{"Q", "518a54a215a8452a518a54a215a8452a518a54a215"},
		{"ba", "fb25d531ae8974499f52fd92ea9857c4ba24cf297e"},
		{"kerberos", "6b65726265726f737b9b5b2b93132b93"},
	} {
		want := unhex(t, v.want)
		if got := nfold([]byte(v.in), len(want)); !bytes.Equal(got, want) {
			t.Errorf("nfold(%q, %d) = %x, want %x", v.in, len(want), got, want)
		}
	}
}

func TestStringToKey(t *testing.T) {
	ffff := bytes.Repeat([]byte("\uffff"), 120)
	for _, v := range []struct {
		id         int32
		iterations string
		password   string
		salt, want string
	}{
		// RFC 3962 appendix B
		{17, "00000001", "password", "ATHENA.MIT.EDUraeburn", "42263c6e89f4fc28b8df68ee09799f15"},
		{18, "00000001", "password", "ATHENA.MIT.EDUraeburn", "fe697b52bc0d3ce14432ba036a92e65bbb52280990a2fa27883998d72af30161"},
		{17, "000004b0", "password", "ATHENA.MIT.EDUraeburn", "4c01cd46d632d01e6dbe230a01ed642a"},
		// MS-KILE section 4.4
		{17, "000003e8", string(ffff), "DOMAIN.COMhostclient.domain.com", "b82ee122531c2d94821ac755bccb5879"},
		// RFC 8009 appendix A; the salt begins with 16 random bytes
		{19, "00008000", "password", "\x10\xdf\x9d\xd7\x83\xe5\xbc\x8a\xce\xa1\x73\x0e\x74\x35\x5f\x61ATHENA.MIT.EDUraeburn", "089bca48b105ea6ea77ca5d2f39dc5e7"},
		{20, "00008000", "password", "\x10\xdf\x9d\xd7\x83\xe5\xbc\x8a\xce\xa1\x73\x0e\x74\x35\x5f\x61ATHENA.MIT.EDUraeburn", "45bd806dbf6a833a9cffc1c94589a222367a79bc21c413718906e9f578a78467"},
	} {
		k, err := etypes[v.id].stringToKey([]byte(v.password), v.salt, unhex(t, v.iterations))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.value, unhex(t, v.want)) {
			t.Errorf("type %d: %x, want %s", v.id, k.value, v.want)
		}
	}
	// What MS-KILE's example is before its last step (DK with "kerberos").
	if k := unhex(t, "c7730daa23521bc16ab83cbee3b37f41"); !bytes.Equal(etypes[17].kdf(k, []byte("kerberos"), 16), unhex(t, "b82ee122531c2d94821ac755bccb5879")) {
		t.Error("DK of MS-KILE section 4.4")
	}
	pbk, err := pbkdf2.Key(etypes[17].hash, string(ffff), []byte("DOMAIN.COMhostclient.domain.com"), 1000, 16)
	if err != nil || !bytes.Equal(pbk, unhex(t, "c7730daa23521bc16ab83cbee3b37f41")) {
		t.Errorf("PBKDF2 of MS-KILE section 4.4: %x, %v", pbk, err)
	}
	for _, params := range [][]byte{{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {1}} {
		if _, err := etypes[18].stringToKey([]byte("x"), "y", params); err == nil {
			t.Errorf("parameters %x were accepted", params)
		}
	}
}

func TestDerive(t *testing.T) {
	for _, v := range []struct {
		id    int32
		key   string
		usage uint32
		kind  byte
		want  string
	}{
		{18, hex.EncodeToString(counting(0, 32)), 22, kindEncryption, "f5f006e1d4e1987dfdfc5dee1701c944c028edf8cc26b834fab2283dcac65886"},
		{18, hex.EncodeToString(counting(0, 32)), 22, kindIntegrity, "fc38ddefa490cae0f345f885b78643bcb86bdb631d83cf2b203e0bbbedeaabb9"},
		// RFC 8009 appendix A
		{19, "3705d96080c17728a0e800eab6e0d23c", 2, kindChecksum, "b31a018a48f54776f403e9a396325dc3"},
		{19, "3705d96080c17728a0e800eab6e0d23c", 2, kindEncryption, "9b197dd1e8c5609d6e67c3e37c62c72e"},
		{19, "3705d96080c17728a0e800eab6e0d23c", 2, kindIntegrity, "9fda0e56ab2d85e1569a688696c26a6c"},
		{20, "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52", 2, kindChecksum, "ef5718be86cc84963d8bbb5031e9f5c4ba41f28faf69e73d"},
		{20, "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52", 2, kindEncryption, "56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49"},
		{20, "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52", 2, kindIntegrity, "69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f"},
	} {
		k, err := newKey(v.id, unhex(t, v.key))
		if err != nil {
			t.Fatal(err)
		}
		if got := k.derive(v.usage, v.kind); !bytes.Equal(got, unhex(t, v.want)) {
			t.Errorf("type %d, kind %x: %x, want %s", v.id, v.kind, got, v.want)
		}
	}
}

func TestCTS(t *testing.T) {
	// RFC 3962 appendix B
	block := mustAES([]byte("chicken teriyaki"))
	text := []byte("I would like the General Gau's Chicken, please, and wonton soup.")
	for _, v := range []struct {
		n    int
		want string
	}{
		{17, "c6353568f2bf8cb4d8a580362da7ff7f97"},
		{31, "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5"},
		{32, "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584"},
		{47, "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5"},
		{48, "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8"},
		{64, "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a84807efe836ee89a526730dbc2f7bc8409dad8bbb96c4cdc03bc103e1a194bbd8"},
	} {
		buf := bytes.Clone(text[:v.n])
		ctsEncrypt(block, buf)
		if hex.EncodeToString(buf) != v.want {
			t.Errorf("%d bytes: %x, want %s", v.n, buf, v.want)
		}
		ctsDecrypt(block, buf)
		if !bytes.Equal(buf, text[:v.n]) {
			t.Errorf("%d bytes: decrypted to %q", v.n, buf)
		}
	}
}

// TestRFC8009Encryption is the samples of RFC 8009 appendix A.
func TestRFC8009Encryption(t *testing.T) {
	for _, v := range []struct {
		id                           int32
		key, confounder, plain, want string
	}{
		{19, "3705d96080c17728a0e800eab6e0d23c", "7e5895eaf2672435bad817f545a37148", "",
			"ef85fb890bb8472f4dab20394dca781dad877eda39d50c870c0d5a0a8e48c718"},
		{19, "3705d96080c17728a0e800eab6e0d23c", "7bca285e2fd4130fb55b1a5c83bc5b24", "000102030405",
			"84d7f30754ed987bab0bf3506beb09cfb55402cef7e6877ce99e247e52d16ed4421dfdf8976c"},
		{20, "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52", "f764e9fa15c276478b2c7d0c4e5f58e4", "",
			"41f53fa5bfe7026d91faf9be959195a058707273a96a40f0a01960621ac612748b9bbfbe7eb4ce3c"},
	} {
		k, err := newKey(v.id, unhex(t, v.key))
		if err != nil {
			t.Fatal(err)
		}
		s := k.sealer(2)
		got := s.sealBuffer(append(unhex(t, v.confounder), unhex(t, v.plain)...))
		if hex.EncodeToString(got) != v.want {
			t.Errorf("type %d: %x, want %s", v.id, got, v.want)
		}
		if plain, err := s.open(got); err != nil || hex.EncodeToString(plain) != v.plain {
			t.Errorf("type %d: opened to %x, %v", v.id, plain, err)
		}
	}
}

// fixed makes a direction's next confounder known.
func fixed(d *direction, confounder []byte) {
	d.fresh = blockSize
	copy(d.random[len(d.random)-blockSize:], confounder)
}

func TestTokenVectors(t *testing.T) {
	k, err := newKey(etypeAES256SHA1, counting(0, 32))
	if err != nil {
		t.Fatal(err)
	}
	const sealedBody = "de9e0f74c9b7ba674ff1ce70d51ba9e4"
	for _, v := range []struct {
		name            string
		header, trailer string
		token           string
	}{
		{"body only", "", "", "050407ff0010001c0000000000000000563e3d27c952049349666d1f4293f3ab941e9b7219fd3c5895683d0a231c5f4e4e49a71158e69bd194e4eeaa992ad306e4da9c46efb3453ce26c5009"},
		{"header signed", "05000203100000007c004c00020000000c00000000000000", "1006000001000000", "050407ff0010001c0000000000000000563e3d27c952049349666d1f4293f3ab941e9b7219fd3c5895683d0a231c5f4ebf36109643220222c2263655992ad306e4da9c46efb3453ce26c5009"},
	} {
		t.Run(v.name, func(t *testing.T) {
			var acc, ini session
			acc.establish(k, true, true, 0, 0)
			ini.establish(k, false, true, 0, 0)
			fixed(acc.send, counting(0x10, 16))
			m := gss.Message{Header: unhex(t, v.header), Body: make([]byte, 16), Trailer: unhex(t, v.trailer), SignHeader: v.header != ""}
			token := make([]byte, acc.TokenSize(true, 16))
			if err := acc.Wrap(token, m, true); err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(token) != v.token {
				t.Errorf("token %x, want %s", token, v.token)
			}
			if hex.EncodeToString(m.Body) != sealedBody {
				t.Errorf("body %x, want %s", m.Body, sealedBody)
			}
			if err := ini.Unwrap(unhex(t, v.token), m, true); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Body, make([]byte, 16)) {
				t.Errorf("unwrapped to %x", m.Body)
			}
		})
	}

	// The MIC of an initiator, over 16 zero bytes.
	var ini, acc session
	ini.establish(k, false, true, 0, 0)
	acc.establish(k, true, true, 0, 0)
	mic, err := ini.MIC(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	if want := "040404ffffffffff00000000000000003c5af5018eb2dbc52bbf4c6b"; hex.EncodeToString(mic) != want {
		t.Errorf("MIC %x, want %s", mic, want)
	}
	if err := acc.VerifyMIC(make([]byte, 16), mic); err != nil {
		t.Error(err)
	}
}

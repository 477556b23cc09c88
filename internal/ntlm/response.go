package ntlm

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"errors"
	"strings"
)

func hmacMD5(key []byte, parts ...[]byte) [16]byte {
	h := hmac.New(md5.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return [16]byte(h.Sum(nil))
}

// ntowfv2 is the key that a password's hash, the user's name in upper case and
// the domain as the client spells it make (MS-NLMP section 3.3.2).
func ntowfv2(hash [16]byte, user, domain string) [16]byte {
	return hmacMD5(hash[:], toUTF16(strings.ToUpper(user)+domain))
}

// clientBlob is NTLMv2_CLIENT_CHALLENGE (MS-NLMP section 2.2.2.7), which
// section 3.3.2 calls temp. list has its end; four zero bytes follow it.
func clientBlob(time, clientChallenge [8]byte, list []byte) []byte {
	b := make([]byte, blobPairs, blobPairs+len(list)+4)
	b[0], b[1] = 1, 1
	copy(b[8:], time[:])
	copy(b[16:], clientChallenge[:])
	b = append(b, list...)
	return append(b, 0, 0, 0, 0)
}

// blobPairs is where the AV pairs begin in a client's blob.
const blobPairs = 28

// ntResponse is an NTLMv2_RESPONSE taken apart.
type ntResponse struct {
	proof []byte // 16 bytes
	blob  []byte
	pairs pairs
}

func parseNTResponse(b []byte) (*ntResponse, error) {
	if len(b) == 24 {
		return nil, errors.New("the client sent an ntlm version 1 response")
	}
	if len(b) < 16+blobPairs+4 {
		return nil, errors.New("nt response is too short")
	}
	r := &ntResponse{proof: b[:16], blob: b[16:]}
	if r.blob[0] != 1 || r.blob[1] != 1 {
		return nil, errors.New("nt response is of an unknown version")
	}
	var err error
	r.pairs, err = parsePairs(r.blob[blobPairs:])
	return r, err
}

// proofs returns NTProofStr and the session base key, which with NTLMv2 is the
// key exchange key too.
func proofs(key [16]byte, serverChallenge [8]byte, blob []byte) (proof, sessionBase [16]byte) {
	proof = hmacMD5(key[:], serverChallenge[:], blob)
	return proof, hmacMD5(key[:], proof[:])
}

// lmv2 is the LMv2 response, for servers that send no timestamp.
func lmv2(key [16]byte, serverChallenge, clientChallenge [8]byte) []byte {
	h := hmacMD5(key[:], serverChallenge[:], clientChallenge[:])
	return append(h[:], clientChallenge[:]...)
}

// rc4k encrypts or decrypts the session key under the key exchange key.
func rc4k(key [16]byte, data []byte) (out [16]byte) {
	newRC4(key).XORKeyStream(out[:], data)
	return out
}

func newRC4(key [16]byte) *rc4.Cipher {
	c, err := rc4.NewCipher(key[:])
	if err != nil {
		panic(err) // only for keys of no or more than 256 bytes
	}
	return c
}

// messageMIC is the MIC over the three messages as they travelled, the last
// with zeros in the MIC's place (MS-NLMP section 3.1.5.1.2).
func messageMIC(sessionKey [16]byte, negotiate, challenge, authenticate []byte) [16]byte {
	var zero [16]byte
	return hmacMD5(sessionKey[:], negotiate, challenge,
		authenticate[:micOffset], zero[:], authenticate[micOffset+16:])
}

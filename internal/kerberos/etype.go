package kerberos

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

// Numbers of the encryption types (RFC 3962 section 7, RFC 8009 section 5).
const (
	etypeAES128SHA1 = 17
	etypeAES256SHA1 = 18
	etypeAES128SHA2 = 19
	etypeAES256SHA2 = 20
)

// Key usage numbers (RFC 4120 section 7.5.1, RFC 4121 section 2).
const (
	usagePAEncTimestamp   = 1
	usageTicket           = 2
	usageASRep            = 3
	usageTGSReqChecksum   = 6
	usageTGSReqAuth       = 7
	usageTGSRepSessionKey = 8
	usageAPReqAuth        = 11
	usageAPRep            = 12
	usageAcceptorSeal     = 22
	usageAcceptorSign     = 23
	usageInitiatorSeal    = 24
	usageInitiatorSign    = 25
)

// etype is what the encryption types differ in.
type etype struct {
	id     int32
	name   string
	key    int // bytes of a key
	mac    int // bytes of a truncated HMAC
	macKey int // bytes of the keys of HMACs
	hash   func() hash.Hash

	// sha2 marks the types of RFC 8009, which authenticate the ciphertext and
	// derive keys by HMAC; those of RFC 3962 authenticate the plaintext.
	sha2       bool
	iterations uint32 // default of string-to-key
}

var etypes = map[int32]*etype{
	etypeAES128SHA1: {id: etypeAES128SHA1, name: "aes128-cts-hmac-sha1-96", key: 16, mac: 12, macKey: 16, hash: sha1.New, iterations: 4096},
	etypeAES256SHA1: {id: etypeAES256SHA1, name: "aes256-cts-hmac-sha1-96", key: 32, mac: 12, macKey: 32, hash: sha1.New, iterations: 4096},
	etypeAES128SHA2: {id: etypeAES128SHA2, name: "aes128-cts-hmac-sha256-128", key: 16, mac: 16, macKey: 16, hash: sha256.New, sha2: true, iterations: 32768},
	etypeAES256SHA2: {id: etypeAES256SHA2, name: "aes256-cts-hmac-sha384-192", key: 32, mac: 24, macKey: 24, hash: sha512.New384, sha2: true, iterations: 32768},
}

// maxIterations bounds what a KDC may make us compute: its answers to a first
// request are not authenticated.
const maxIterations = 1 << 20

var errEtype = errors.New("encryption type not supported; only the AES ones are")

// key is a protocol key.
type key struct {
	et    *etype
	value []byte
}

// newKey copies value.
func newKey(id int32, value []byte) (*key, error) {
	et := etypes[id]
	if et == nil {
		return nil, fmt.Errorf("%w (type %d)", errEtype, id)
	}
	if len(value) != et.key {
		return nil, fmt.Errorf("a key of %s has %d bytes, not %d", et.name, et.key, len(value))
	}
	return &key{et: et, value: append([]byte(nil), value...)}, nil
}

// randomKey returns a new key.
func randomKey(et *etype) *key {
	k := &key{et: et, value: make([]byte, et.key)}
	rand.Read(k.value) // never fails (Go 1.24)
	return k
}

func (k *key) wipe() {
	if k != nil {
		clear(k.value)
	}
}

// The three kinds of keys that are derived for each usage (RFC 3961 section
// 5.3).
const (
	kindChecksum   = 0x99
	kindEncryption = 0xaa
	kindIntegrity  = 0x55
)

// derive returns the key of one kind for one usage.
func (k *key) derive(usage uint32, kind byte) []byte {
	var constant [5]byte
	binary.BigEndian.PutUint32(constant[:], usage)
	constant[4] = kind
	size := k.et.macKey
	if kind == kindEncryption {
		size = k.et.key
	}
	return k.et.kdf(k.value, constant[:], size)
}

// kdf is the key derivation of RFC 3961 section 5.1 (DK) or RFC 8009 section 3.
func (et *etype) kdf(base, constant []byte, size int) []byte {
	if et.sha2 {
		m := hmac.New(et.hash, base)
		m.Write([]byte{0, 0, 0, 1})
		m.Write(constant)
		m.Write([]byte{0})
		m.Write(binary.BigEndian.AppendUint32(nil, uint32(size*8)))
		return m.Sum(nil)[:size]
	}
	block := mustAES(base)
	x := nfold(constant, aes.BlockSize)
	out := make([]byte, 0, 2*aes.BlockSize)
	for len(out) < size {
		block.Encrypt(x, x)
		out = append(out, x...)
	}
	return out[:size]
}

// mustAES is for keys whose length is known to be right.
func mustAES(k []byte) cipher.Block {
	b, err := aes.NewCipher(k)
	if err != nil {
		panic("kerberos: " + err.Error())
	}
	return b
}

// nfold stretches or folds in to n bytes: copies of in, each rotated right by
// 13 bits more than the one before, are added up in one's complement (RFC 3961
// section 5.1).
func nfold(in []byte, n int) []byte {
	bits := len(in) * 8
	total := len(in) * n / gcd(len(in), n)
	sum := make([]int, n)
	for i := range total {
		// byte i of the concatenation: byte i%len(in) of a copy that has been
		// rotated i/len(in) times.
		shift := 13 * (i / len(in))
		first := ((i%len(in))*8 - shift%bits + bits) % bits
		b := 0
		for bit := range 8 {
			p := (first + bit) % bits
			b = b<<1 | int(in[p/8]>>(7-p%8)&1)
		}
		sum[i%n] += b
	}
	// carries travel to the left and from the left end to the right one
	for carry := 0; ; {
		for i := n - 1; i >= 0; i-- {
			v := sum[i] + carry
			sum[i], carry = v&0xff, v>>8
		}
		if carry == 0 {
			break
		}
	}
	out := make([]byte, n)
	for i, v := range sum {
		out[i] = byte(v)
	}
	return out
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// stringToKey makes a key of a password (RFC 3962 section 4, RFC 8009 section
// 4). params is empty for the default, or a count of iterations.
func (et *etype) stringToKey(password []byte, salt string, params []byte) (*key, error) {
	n := et.iterations
	if len(params) != 0 {
		if len(params) != 4 {
			return nil, errors.New("string-to-key parameters of the KDC are malformed")
		}
		n = binary.BigEndian.Uint32(params)
	}
	if n == 0 || n > maxIterations {
		return nil, fmt.Errorf("the KDC asks for %d iterations of string-to-key; at most %d are done", n, maxIterations)
	}
	s := []byte(salt)
	if et.sha2 {
		s = append(append([]byte(et.name), 0), s...)
	}
	t, err := pbkdf2.Key(et.hash, string(password), s, int(n), et.key)
	if err != nil {
		return nil, err
	}
	defer clear(t)
	return &key{et: et, value: et.kdf(t, []byte("kerberos"), et.key)}, nil
}

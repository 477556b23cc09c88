package kerberos

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"hash"
)

const blockSize = aes.BlockSize

var zeroBlock [blockSize]byte

// A chain is CBC that can begin anew without a new object.
type chain interface {
	cipher.BlockMode
	SetIV([]byte)
}

// ctsEncrypt encrypts buf in place with ciphertext stealing (RFC 3962 section
// 5), initial vector zero. buf has at least one block.
func ctsEncrypt(block cipher.Block, buf []byte) {
	cbc := cipher.NewCBCEncrypter(block, zeroBlock[:])
	if len(buf) == blockSize {
		cbc.CryptBlocks(buf, buf)
		return
	}
	m := (len(buf) - 1) / blockSize * blockSize // where the last block, whole or not, begins
	cbc.CryptBlocks(buf[:m], buf[:m])
	var last [blockSize]byte
	copy(last[:], buf[m:])
	cbc.CryptBlocks(last[:], last[:])
	copy(buf[m:], buf[m-blockSize:m])
	copy(buf[m-blockSize:], last[:])
}

// ctsDecrypt undoes ctsEncrypt.
func ctsDecrypt(block cipher.Block, buf []byte) {
	if len(buf) > blockSize {
		m := (len(buf) - 1) / blockSize * blockSize
		var x [blockSize]byte // plaintext of the last block, xored with the ciphertext before it
		block.Decrypt(x[:], buf[m-blockSize:m])
		var prev [blockSize]byte // that ciphertext: what there is of it, the rest from x
		n := copy(prev[:], buf[m:])
		copy(prev[n:], x[n:])
		for i := range n {
			buf[m+i] ^= x[i]
		}
		copy(buf[m-blockSize:], prev[:])
		buf = buf[:m]
	}
	cipher.NewCBCDecrypter(block, zeroBlock[:]).CryptBlocks(buf, buf)
}

// sealer encrypts and decrypts whole messages for one usage of one key.
type sealer struct {
	et    *etype
	block cipher.Block
	ki    []byte
}

func (k *key) sealer(usage uint32) *sealer {
	return &sealer{et: k.et, block: mustAES(k.derive(usage, kindEncryption)), ki: k.derive(usage, kindIntegrity)}
}

// seal returns the ciphertext of plain: confounder, message and HMAC.
func (s *sealer) seal(plain []byte) []byte {
	buf := make([]byte, blockSize+len(plain), blockSize+len(plain)+64)
	rand.Read(buf[:blockSize]) // never fails (Go 1.24)
	copy(buf[blockSize:], plain)
	return s.sealBuffer(buf)
}

// sealBuffer does the work of seal for a buffer that begins with the
// confounder; it appends the HMAC.
func (s *sealer) sealBuffer(buf []byte) []byte {
	if s.et.sha2 {
		ctsEncrypt(s.block, buf)
		return append(buf, s.sum(buf)...)
	}
	m := s.sum(buf)
	ctsEncrypt(s.block, buf)
	return append(buf, m...)
}

var errDecrypt = errors.New("does not decrypt")

// open returns the plaintext of a ciphertext, which it leaves alone.
func (s *sealer) open(ciphertext []byte) ([]byte, error) {
	n := len(ciphertext) - s.et.mac
	if n < blockSize {
		return nil, errDecrypt
	}
	buf := append([]byte(nil), ciphertext[:n]...)
	var sum []byte
	if s.et.sha2 {
		sum = s.sum(buf)
		ctsDecrypt(s.block, buf)
	} else {
		ctsDecrypt(s.block, buf)
		sum = s.sum(buf)
	}
	if !hmac.Equal(sum, ciphertext[n:]) {
		return nil, errDecrypt
	}
	return buf[blockSize:], nil
}

// sum is the HMAC of a message: of the plaintext, or with RFC 8009 of the
// initial vector and the ciphertext.
func (s *sealer) sum(buf []byte) []byte {
	m := hmac.New(s.et.hash, s.ki)
	if s.et.sha2 {
		m.Write(zeroBlock[:])
	}
	m.Write(buf)
	return m.Sum(nil)[:s.et.mac]
}

// checksum returns the keyed checksum of msg (RFC 3961 section 5.4).
func (k *key) checksum(usage uint32, msg []byte) []byte {
	m := k.checksummer(usage)
	m.Write(msg)
	return m.Sum(nil)[:k.et.mac]
}

func (k *key) checksummer(usage uint32) hash.Hash {
	return hmac.New(k.et.hash, k.derive(usage, kindChecksum))
}

// checksumType is the number of the checksum that belongs to the type.
func (et *etype) checksumType() int32 {
	switch et.id {
	case etypeAES128SHA1:
		return 15
	case etypeAES256SHA1:
		return 16
	case etypeAES128SHA2:
		return 19
	}
	return 20
}

package repo

import (
	"encoding/hex"
	"testing"
)

// The vector is openssl's: mac -cipher AES-256-GCM … GMAC.
func TestIDs(t *testing.T) {
	key, err := hex.DecodeString("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	if err != nil {
		t.Fatal(err)
	}
	i := (&caKeys{idKey: key}).ids()
	id := i.of([]byte("hello"))
	if got := hex.EncodeToString(id[:]); got != "1e41edc481ec0cb9d8e7d0b3f91ef532" {
		t.Errorf("id %s", got)
	}
	if again := i.of([]byte("hello")); again != id {
		t.Errorf("a second time %x", again)
	}
	if other := i.of([]byte("hellp")); other == id {
		t.Error("another chunk has the same id")
	}
}

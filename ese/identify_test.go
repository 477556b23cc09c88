package ese_test

import (
	"bytes"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

// TestIdentifyTemporary: the engine's temporary database is none of the authority.
func TestIdentifyTemporary(t *testing.T) {
	for fileType, want := range map[byte]ese.FileType{0: ese.FileDatabase, 1: ese.FileDatabase, 5: ese.FileTemporary} {
		d := seed.Sample(4096, true)
		d.Header = func(b []byte) { b[667] = fileType }
		b := d.Bytes()
		if got, err := ese.Identify(bytes.NewReader(b), int64(len(b))); got != want || err != nil {
			t.Errorf("file type %d: %v, %v", fileType, got, err)
		}
	}
}

package ese_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

// TestSeveralReaders: one database serves several goroutines, with a cache that is
// too small for them.
func TestSeveralReaders(t *testing.T) {
	b := seed.Sample(4096, false).Bytes()
	db, err := ese.OpenWith(bytes.NewReader(b), int64(len(b)), ese.Options{CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				table, err := db.Table("Requests")
				if err != nil {
					t.Error(err)
					return
				}
				for row, err := range table.Rows() {
					if err != nil {
						t.Error(err)
						return
					}
					if n, err := row.Int32("RequestID"); n == 1 {
						if got, err := row.Bytes("RawRequest"); err != nil || !bytes.Equal(got, seed.PlainLongBytes()) {
							t.Error(err)
						}
					} else if err != nil {
						t.Error(err)
					}
				}
				db.Notes()
			}
		})
	}
	wg.Wait()
}

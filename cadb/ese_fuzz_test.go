package cadb_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese/esetest"
)

// FuzzESE changes bytes of a page, which keeps a right checksum. Nothing may panic or
// hang, and what passes as sound has the same certificates.
func FuzzESE(f *testing.F) {
	path, w := eseFile(f, 12, esetest.Options{}, nil)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	pages, _ := leaves(f, whole, schema.Certificates)
	f.Add(pages[0], uint16(34), []byte{3})
	f.Add(pages[0], uint16(45), []byte{0xff})
	f.Add(uint32(1), uint16(0), []byte{})
	f.Add(uint32(4), uint16(60), []byte{1, 2, 3})
	f.Add(longLeaf(f, whole, schema.Requests), uint16(100), []byte{0})
	certificates := make(map[int64][]byte)
	for _, r := range w.requests {
		if r.Certificate != nil {
			certificates[int64(r.ID)] = r.Certificate.Raw
		}
	}
	f.Fuzz(func(t *testing.T, page uint32, at uint16, change []byte) {
		b := bytes.Clone(whole)
		page = page%uint32(len(b)/esePage-2) + 1
		p := esetest.PageOf(b, esePage, page)
		copy(p[8+int(at)%(esePage-8):], change)
		esetest.SealPage(p, page, false)
		path := filepath.Join(t.TempDir(), "x.edb")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		db, err := cadb.Open(ctx, path)
		if err != nil {
			return
		}
		defer db.Close()
		r, err := cadb.Check(ctx, db, w.Authority())
		for _, err := range db.Attributes(ctx, cadb.AllExtensions) {
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		if err != nil || r.Damaged() || int(r.Certificates) != len(certificates) {
			return
		}
		got := make(map[int64][]byte)
		for r, err := range db.Requests(ctx, cadb.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.RawCertificate != nil {
				got[r.ID] = r.RawCertificate
			}
		}
		if !maps.EqualFunc(got, certificates, bytes.Equal) {
			t.Fatal("other certificates, and nothing was found")
		}
	})
}

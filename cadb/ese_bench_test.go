package cadb_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese/esetest"
)

// BenchmarkESECertificates reads all certificates of a database, by itself or, with
// CERTKEEP_BENCH_EDB, of a file made by ese/esetest/cmd/mkca.
func BenchmarkESECertificates(b *testing.B) {
	path := os.Getenv("CERTKEEP_BENCH_EDB")
	if path == "" {
		path, _ = eseFile(b, 5000, esetest.Options{}, nil)
	}
	for _, bc := range []struct {
		name string
		f    cadb.Filter
	}{{"certificates", cadb.Filter{NoRequest: true}}, {"requests too", cadb.Filter{}}} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			rows, peak := 0, uint64(0)
			for b.Loop() {
				db, err := cadb.Open(b.Context(), path)
				if err != nil {
					b.Fatal(err)
				}
				rows = 0
				for r, err := range db.Requests(b.Context(), bc.f) {
					if err != nil || r.RawCertificate == nil && r.Serial != "" {
						b.Fatal(err)
					}
					if rows++; rows%10000 == 0 {
						var m runtime.MemStats
						runtime.ReadMemStats(&m)
						peak = max(peak, m.HeapAlloc)
					}
				}
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			if peak > 0 {
				b.ReportMetric(float64(peak)/(1<<20), "MiB-heap")
			}
		})
	}
}

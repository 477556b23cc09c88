package esetest_test

import (
	"testing"
	"time"

	"github.com/certkeep/certkeep/ese/esetest"
)

// BenchmarkCA writes requests with certificates, into memory.
func BenchmarkCA(b *testing.B) {
	const n = 2000
	for b.Loop() {
		g, err := esetest.NewGenerator(1, time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
		if err != nil {
			b.Fatal(err)
		}
		var m esetest.Memory
		ca, err := esetest.CreateCA(&m, esetest.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Fill(b.Context(), ca, n); err != nil {
			b.Fatal(err)
		}
		info, err := ca.Close()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(info.Size)
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "requests/s")
}

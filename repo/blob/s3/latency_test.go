package s3_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/s3"
	"github.com/certkeep/certkeep/repo/blob/s3/s3test"
)

// BenchmarkLatency puts objects of 16 MiB from n goroutines, with and without 50 ms more
// for each request. What n it takes for the same throughput is what a writer should use.
func BenchmarkLatency(b *testing.B) {
	const size = 16 << 20
	data := make([]byte, size)
	server := s3test.Start(b, s3test.Options{TLS: true})
	for _, goroutines := range []int{1, 2, 4, 8} {
		for _, by := range []time.Duration{0, 50 * time.Millisecond} {
			b.Run(fmt.Sprintf("%d/%v", goroutines, by), func(b *testing.B) {
				a := s3.Address{Bucket: server.Bucket(false), Endpoint: server.Endpoint}
				s, err := s3.Open(b.Context(), a, s3.Options{Transport: server.Far(by)})
				if err != nil {
					b.Fatal(err)
				}
				// The first Put tries what the server knows, once.
				if _, err := s.Put(b.Context(), "first", nil, blob.PutOptions{}); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(size)
				b.ResetTimer()
				next := make(chan int)
				var wg sync.WaitGroup
				for range goroutines {
					wg.Go(func() {
						for n := range next {
							key := fmt.Sprintf("packs/%d", n)
							if _, err := s.Put(b.Context(), key, data, blob.PutOptions{}); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for n := range b.N {
					next <- n
				}
				close(next)
				wg.Wait()
				b.StopTimer()
			})
		}
	}
}

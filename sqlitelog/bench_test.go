package sqlitelog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// certRow inserts what one issued certificate is: about 2.5 KiB and a random serial
// number in an index.
func certRow(tx *sql.Tx) error {
	var serial [16]byte
	raw := make([]byte, 2500)
	rand.Read(serial[:])
	rand.Read(raw)
	_, err := tx.Exec("INSERT INTO cert (serial, raw) VALUES (?, ?)", hex.EncodeToString(serial[:]), raw)
	return err
}

// rollTimes collects how long writers are stopped by each roll.
type rollTimes struct {
	mu      sync.Mutex
	gate    time.Time
	stalls  []time.Duration
	publish []time.Duration
}

func (r *rollTimes) observe(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Phase {
	case PhaseRollGate:
		r.gate = time.Now()
	case PhaseCheckpointBegin:
		r.publish = append(r.publish, time.Since(r.gate))
	case PhaseRollEnd:
		r.stalls = append(r.stalls, time.Since(r.gate))
	}
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Clone(d)
	slices.Sort(s)
	return s[int(float64(len(s)-1)*q)]
}

// load runs writers until the context ends or n writes are done, and returns the latencies.
func load(ctx context.Context, t testing.TB, db *DB, writers int, n int64) []time.Duration {
	var left atomic.Int64
	left.Store(n)
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	for range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var mine []time.Duration
			for ctx.Err() == nil && left.Add(-1) >= 0 {
				t0 := time.Now()
				if err := db.Write(context.Background(), certRow); err != nil {
					t.Error(err)
					return
				}
				mine = append(mine, time.Since(t0))
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		}()
	}
	wg.Wait()
	return all
}

// BenchmarkGroupCommit: how many certificates a second, by how many are in flight.
func BenchmarkGroupCommit(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 128, 256} {
		b.Run(fmt.Sprintf("inflight=%d", writers), func(b *testing.B) {
			db := newDB(b, testConfig(b))
			b.ResetTimer()
			l := load(context.Background(), b, db, writers, int64(b.N))
			b.StopTimer()
			b.ReportMetric(float64(len(l))/b.Elapsed().Seconds(), "certs/s")
			b.ReportMetric(float64(quantile(l, .5).Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(quantile(l, .99).Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkRollStall: how long writers are stopped by a roll, by generation size, with
// 128 writers in flight.
func BenchmarkRollStall(b *testing.B) {
	for _, mib := range []int64{1, 4, 8, 16, 32} {
		b.Run(fmt.Sprintf("MiB=%d", mib), func(b *testing.B) {
			cfg := testConfig(b)
			cfg.GenerationSize = mib << 20
			var r rollTimes
			cfg.Observe = r.observe
			db := newDB(b, cfg)
			b.ResetTimer()
			l := load(context.Background(), b, db, 128, int64(b.N))
			b.StopTimer()
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(float64(len(l))/b.Elapsed().Seconds(), "certs/s")
			b.ReportMetric(ms(quantile(l, .99)), "p99-ms")
			b.ReportMetric(ms(quantile(l, 1)), "max-ms")
			r.mu.Lock()
			b.ReportMetric(ms(quantile(r.stalls, .5)), "stall-ms")
			b.ReportMetric(ms(quantile(r.publish, .5)), "publish-ms")
			b.ReportMetric(float64(len(r.stalls)), "rolls")
			r.mu.Unlock()
		})
	}
}

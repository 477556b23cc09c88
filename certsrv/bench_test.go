package certsrv

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// The benchmarks are on the real disk, where an acknowledgement costs a sync.

// benchServer is an authority for issuing ECDSA P-256 certificates.
func benchServer(b *testing.B) *Server {
	dir := filepath.Join(b.TempDir(), "ca")
	if err := Init(b.Context(), dir, InitOptions{Name: "Bench CA", Host: "ca1"}); err != nil {
		b.Fatal(err)
	}
	s := openServer(b, dir, Options{})
	mustStart(b, s)
	return s
}

// requests are different requests of one key.
func requests(b *testing.B, n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = newCSR(b, fmt.Sprintf("host%05d", i))
	}
	return list
}

// load issues with so many requests in flight until it has done n or is
// cancelled, and returns how long each took.
func load(ctx context.Context, b testing.TB, s *Server, csrs [][]byte, inFlight int, n int64) []time.Duration {
	var next atomic.Int64
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	for range inFlight {
		wg.Go(func() {
			var mine []time.Duration
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= n {
					break
				}
				begin := time.Now()
				if _, err := s.Submit(context.Background(), root, csrs[i%int64(len(csrs))], nil); err != nil {
					b.Errorf("submit: %v", err)
					break
				}
				mine = append(mine, time.Since(begin))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	slices.Sort(all)
	return all
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*p))]
}

func benchmarkIssue(b *testing.B, inFlight int) {
	s := benchServer(b)
	csrs := requests(b, 256)
	load(b.Context(), b, s, csrs, inFlight, 2000) // warm up
	b.ResetTimer()
	begin, cpu := time.Now(), cpuTime()
	open := s.run.db.Status().Open
	all := load(b.Context(), b, s, csrs, inFlight, int64(b.N))
	b.ReportMetric(float64(s.run.db.Status().Open-open), "rolls")
	rate := float64(len(all)) / time.Since(begin).Seconds()
	b.StopTimer()
	cost := float64(cpuTime()-cpu) / float64(len(all))
	b.ReportMetric(rate, "certs/s")
	b.ReportMetric(float64(percentile(all, 0.99))/1e6, "p99-ms")
	bare, bareCost := bareRate(b, time.Second)
	b.ReportMetric(100*rate/bare, "%-of-bare")
	b.ReportMetric(cost/1e3, "cpu-µs/op")
	if cost > 0 {
		b.ReportMetric(100*bareCost/cost, "%-of-bare-by-cpu")
	}
}

// BenchmarkIssue128 and BenchmarkIssue8 report issuing as a share of what
// x509.CreateCertificate does alone on the same cores in the same run.
func BenchmarkIssue128(b *testing.B) { benchmarkIssue(b, 128) }
func BenchmarkIssue8(b *testing.B)   { benchmarkIssue(b, 8) }

// bare makes the certificate that the authority would.
func bare(b testing.TB) func() {
	key := requestKey()
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Bench CA"}, SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte("01234567890123456789"),
	}
	return func() {
		var serial [16]byte
		rand.Read(serial[:])
		serial[0] &= 0x7F
		t := &x509.Certificate{
			SerialNumber: new(big.Int).SetBytes(serial[:]), Subject: pkix.Name{CommonName: "host"}, DNSNames: []string{"host.example.org"},
			NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, SubjectKeyId: ca.SubjectKeyId,
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if _, err := x509.CreateCertificate(rand.Reader, t, ca, &key.PublicKey, key); err != nil {
			b.Error(err)
		}
	}
}

// bareRate measures CreateCertificate on all cores.
func bareRate(b testing.TB, d time.Duration) (rate, cost float64) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var n atomic.Int64
	var wg sync.WaitGroup
	begin, cpu := time.Now(), cpuTime()
	for range 128 {
		wg.Go(func() {
			for sign := bare(b); ctx.Err() == nil; n.Add(1) {
				sign()
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(begin).Seconds(), float64(cpuTime()-cpu) / float64(n.Load())
}

// BenchmarkCreateCertificate is the yardstick.
func BenchmarkCreateCertificate(b *testing.B) {
	begin := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for sign := bare(b); pb.Next(); {
			sign()
		}
	})
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "certs/s")
}

// fullBackup hashes everything there is and writes it to a file.
func fullBackup(ctx context.Context, s *Server, to io.Writer) (bytes int64, err error) {
	svc := s.Service(root)
	defer svc.Close()
	bk, err := svc.BackupPrepare(ctx, certadm.BackupFull)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 512<<10)
	list := func(l certadm.FileList, err error) error {
		for _, e := range l {
			f, err := bk.OpenFile(ctx, e.Path, 0)
			if err != nil {
				return err
			}
			n, err := io.CopyBuffer(io.MultiWriter(to, sha256.New()), struct{ io.Reader }{f}, buf)
			bytes += n
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		return err
	}
	if err := list(bk.DatabaseNames(ctx)); err != nil {
		return bytes, err
	}
	if err := list(bk.Logs(ctx)); err != nil {
		return bytes, err
	}
	if err := bk.TruncateLogs(ctx); err != nil {
		return bytes, err
	}
	return bytes, bk.End(ctx)
}

// BenchmarkIssueDuringBackup fills a database to 256 MiB and compares issuing
// with full backups running one after the other to issuing without.
func BenchmarkIssueDuringBackup(b *testing.B) {
	s := benchServer(b)
	csrs := requests(b, 256)
	fill(b, s, csrs, benchDatabase)
	const span = 5 * time.Second
	measure := func() (rate float64, p99 time.Duration) {
		ctx, cancel := context.WithTimeout(b.Context(), span)
		defer cancel()
		begin := time.Now()
		all := load(ctx, b, s, csrs, 128, 1<<62)
		return float64(len(all)) / time.Since(begin).Seconds(), percentile(all, 0.99)
	}
	for b.Loop() {
		idle, idle99 := measure()
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		backups := 0
		wg.Go(func() {
			for name := filepath.Join(b.TempDir(), "copy"); ctx.Err() == nil; {
				f, err := os.Create(name)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = fullBackup(b.Context(), s, f)
				if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
					b.Errorf("backup: %v", err)
					return
				}
				if ctx.Err() == nil {
					backups++
				}
			}
		})
		busy, busy99 := measure()
		cancel()
		wg.Wait()
		b.ReportMetric(idle, "idle-certs/s")
		b.ReportMetric(busy, "busy-certs/s")
		b.ReportMetric(100*busy/idle, "%-of-idle")
		b.ReportMetric(float64(idle99)/1e6, "idle-p99-ms")
		b.ReportMetric(float64(busy99)/1e6, "busy-p99-ms")
		b.ReportMetric(float64(busy99)/float64(idle99), "p99-ratio")
		b.ReportMetric(float64(backups), "backups")
	}
}

const benchDatabase = 256 << 20

// fill makes the database as large as size with copies of one certificate's
// rows, which differ in their ids and serial numbers.
func fill(b *testing.B, s *Server, csrs [][]byte, size int64) {
	r := s.run
	res, err := s.Submit(b.Context(), root, csrs[0], nil)
	if err != nil {
		b.Fatal(err)
	}
	cert, err := x509.ParseCertificate(res.Certificate)
	if err != nil {
		b.Fatal(err)
	}
	for r.db.Status().DatabaseSize < size {
		batch := make([]*row, maxBatch)
		for i := range batch {
			req, err := authority.ParseRequest(csrs[i%len(csrs)])
			if err != nil {
				b.Fatal(err)
			}
			w, err := requestRow(req, "filler", nil, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			if w.cert, err = newCertRow(cert); err != nil {
				b.Fatal(err)
			}
			serial, err := newSerial(time.Now(), rand.Read)
			if err != nil {
				b.Fatal(err)
			}
			w.cert.serial, w.cert.name = schema.SerialText(serial), w.name
			w.disposition, w.message, w.resolved = schema.Issued, issuedMessage, w.submitted
			w.done = make(chan error, 1)
			batch[i] = w
		}
		r.commit(batch)
		for _, w := range batch {
			if err := <-w.done; err != nil {
				b.Fatal(err)
			}
		}
	}
}

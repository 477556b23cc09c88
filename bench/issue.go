package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
)

// benchIssue compares the authority, which checks a request's signature, signs,
// and answers when the certificate is on disk, with the bare signing of
// crypto/x509.
func benchIssue(ctx context.Context, dir string, s settings) error {
	srv, stop, err := newAuthority(ctx, filepath.Join(dir, "issue"))
	if err != nil {
		return err
	}
	defer stop()
	csrs, err := requests(64)
	if err != nil {
		return err
	}
	bareSign, err := bare()
	if err != nil {
		return err
	}
	submit := submitter(srv, csrs)
	var base, many, few []float64
	for range s.rounds {
		for _, m := range []struct {
			clients int
			call    func(context.Context, int) error
			rates   *[]float64
		}{{runtime.NumCPU(), bareSign, &base}, {128, submit, &many}, {8, submit, &few}} {
			l, err := load(ctx, m.clients, s.window, m.call)
			if err != nil {
				return err
			}
			*m.rates = append(*m.rates, l.rate())
		}
	}
	b := median(base)
	row("CreateCertificate alone, ECDSA P-256", fmt.Sprintf("%.0f/s", b), "")
	row("issuing, 128 requests in flight", fmt.Sprintf("%.0f/s, %.0f %% of it", median(many), 100*median(many)/b), "at least 30 %, aim 40 %")
	row("issuing, 8 clients", fmt.Sprintf("%.0f/s, %.0f %% of it", median(few), 100*median(few)/b), "")
	return nil
}

func newAuthority(ctx context.Context, dir string) (*certsrv.Server, func(), error) {
	if err := certsrv.Init(ctx, dir, certsrv.InitOptions{Name: "Bench CA"}); err != nil {
		return nil, nil, err
	}
	srv, err := certsrv.New(dir, certsrv.Options{})
	if err != nil {
		return nil, nil, err
	}
	if err := srv.Start(ctx); err != nil {
		return nil, nil, err
	}
	return srv, func() { _ = srv.Stop(context.Background()) }, nil
}

// submitter issues one certificate per call, for requests in turn.
func submitter(srv *certsrv.Server, csrs [][]byte) func(context.Context, int) error {
	who := account.LocalUser()
	return func(ctx context.Context, i int) error {
		r, err := srv.Submit(ctx, who, csrs[i%len(csrs)], nil)
		if err == nil && r.Certificate == nil {
			err = fmt.Errorf("request %d: %v %s", r.RequestID, r.Disposition, r.Message)
		}
		return err
	}
}

func requests(n int) ([][]byte, error) {
	var csrs [][]byte
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("host%04d.example.com", i)
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, DNSNames: []string{name}}, key)
		if err != nil {
			return nil, err
		}
		csrs = append(csrs, csr)
	}
	return csrs, nil
}

// bare is crypto/x509.CreateCertificate with a comparable template.
func bare() (func(context.Context, int) error, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Bench CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1, 2, 3, 4},
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(10, 0, 0)}
	leaf := &x509.Certificate{SerialNumber: new(big.Int).Lsh(big.NewInt(1), 100),
		Subject:  pkix.Name{CommonName: "host0000.example.com", Organization: []string{"Example"}},
		DNSNames: []string{"host0000.example.com"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now(), NotAfter: time.Now().AddDate(1, 0, 0)}
	return func(context.Context, int) error {
		_, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
		return err
	}, nil
}

// measured is what a load came to.
type measured struct {
	took      time.Duration
	latencies []time.Duration // sorted
}

func (m measured) rate() float64 { return float64(len(m.latencies)) / m.took.Seconds() }

func (m measured) percentile(p float64) time.Duration {
	return m.latencies[min(len(m.latencies)-1, int(p/100*float64(len(m.latencies))))]
}

// load calls from so many clients at once for a while.
func load(ctx context.Context, clients int, window time.Duration, call func(context.Context, int) error) (measured, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	all := make([][]time.Duration, clients)
	start := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for ctx.Err() == nil && time.Since(start) < window {
				began := time.Now()
				if err := call(ctx, int(next.Add(1))); err != nil {
					cancel(err)
					return
				}
				all[c] = append(all[c], time.Since(began))
			}
		})
	}
	wg.Wait()
	m := measured{took: time.Since(start), latencies: slices.Concat(all...)}
	slices.Sort(m.latencies)
	return m, context.Cause(ctx)
}

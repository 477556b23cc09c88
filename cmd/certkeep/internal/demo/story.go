package demo

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// story is one run of the demo.
type story struct {
	o    Options
	rep  *Report
	root string

	child   *process
	ca      *x509.Certificate
	config  certsrv.Config
	clients []*Client
	records []*Record
	working sync.WaitGroup

	acked   atomic.Int64
	dying   atomic.Bool // the process is about to be killed: failures are expected
	began   time.Time   // of the clients
	killed  time.Time
	arrived chan struct{} // has a token after a certificate was acknowledged

	mu       sync.Mutex
	failure  error       // of a client, before the loss
	last     []time.Time // when each worker sent the request that failed
	first    Entry       // the first certificate: the one to be revoked
	lastTake time.Time   // when the last backup began
	openLog  string      // the salvaged one
}

// generationSize keeps the log open for the whole story, so that what came after
// the last set is in one file.
const generationSize = 1 << 30

func (s *story) makeAuthority(ctx context.Context) (string, error) {
	dir := s.path(authorityDir)
	err := certsrv.Init(ctx, dir, certsrv.InitOptions{Name: "Demo CA", KeyAlgorithm: authority.ECDSAP256, GenerationSize: generationSize})
	if err != nil {
		return "", err
	}
	if s.config, err = certsrv.ReadConfig(dir); err != nil {
		return "", err
	}
	for _, d := range []string{safeDir, backupsDir, recordsDir, salvagedDir} {
		if err := os.Mkdir(s.path(d), 0o700); err != nil {
			return "", err
		}
	}
	if err := s.makeClients(ctx, filepath.Join(dir, "accounts.json")); err != nil {
		return "", err
	}
	// What a database backup never holds is kept elsewhere, as for any authority.
	for from, to := range s.safe() {
		if err := copyFile(filepath.Join(dir, from), s.path(safeDir, to)); err != nil {
			return "", err
		}
	}
	if s.ca, err = readCertificate(s.path(safeDir, "ca.crt")); err != nil {
		return "", err
	}
	if err := s.start(ctx, dir); err != nil {
		return "", err
	}
	return fmt.Sprintf("%q: EST at %s, MS-CSRA at %s", s.config.Name, s.child.EST, s.child.Wire), nil
}

// safe maps files of the authority to their copies in the safe.
func (s *story) safe() map[string]string {
	return map[string]string{
		"private/ca.key": "ca.key", "accounts.json": "accounts.json",
		"published/" + s.config.SanitizedName + ".crt": "ca.crt",
	}
}

func (s *story) makeClients(ctx context.Context, accounts string) error {
	store, err := account.Open(accounts, account.Options{})
	if err != nil {
		return err
	}
	for _, name := range clientNames {
		r, err := NewRecord(s.path(recordsDir, name+".jsonl"))
		if err != nil {
			return err
		}
		s.records = append(s.records, r)
		c := &Client{Name: name, Password: rand.Text(), Record: r}
		if err := store.Add(ctx, name, account.Enroll, []byte(c.Password)); err != nil {
			return err
		}
		s.clients = append(s.clients, c)
	}
	return nil
}

// startClients sets the clients to work; they enrol until the authority is gone.
func (s *story) startClients(ctx context.Context) (string, error) {
	s.began, s.arrived = time.Now(), make(chan struct{}, 1)
	for _, c := range s.clients {
		c.URL, c.CA = s.child.EST, s.ca
		c.connect()
		for w := range workersPerClient {
			s.working.Go(func() { s.work(ctx, c, w) })
		}
	}
	if err := s.reach(ctx, 20); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d clients enrol without a pause from now on; %s certificates so far", len(s.clients), count(int(s.acked.Load()))), nil
}

func (s *story) work(ctx context.Context, c *Client, worker int) {
	sent, err := c.Work(ctx, worker, func(e Entry) {
		if s.acked.Add(1) == 1 {
			s.mu.Lock()
			s.first = e
			s.mu.Unlock()
		}
		s.wake()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dying.Load() || ctx.Err() != nil {
		s.last = append(s.last, sent)
		return
	}
	if s.failure == nil {
		s.failure = fmt.Errorf("client %s: %w", c.Name, err)
	}
	s.wake()
}

// wake lets reach look again.
func (s *story) wake() {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// reach waits until so many percent of the certificates are acknowledged.
func (s *story) reach(ctx context.Context, percent int) error {
	goal := int64(max(1, s.o.Certs*percent/100))
	for s.acked.Load() < goal {
		select {
		case <-s.arrived:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.mu.Lock()
		err := s.failure
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// revoke revokes the first certificate, after the last backup, and has the CRL
// that tells of it fetched, as relying parties do.
func (s *story) revoke(ctx context.Context) (string, error) {
	s.mu.Lock()
	e := s.first
	s.mu.Unlock()
	if err := s.child.ask(Order{Do: "revoke", Serial: e.Serial}, nil); err != nil {
		return "", s.child.explain(err)
	}
	e.Revoked, e.At = true, time.Now().UTC()
	r, err := NewRecord(s.path(recordsDir, "revocations.jsonl"))
	if err != nil {
		return "", err
	}
	s.records = append(s.records, r)
	if err := r.Add(e); err != nil {
		return "", err
	}
	s.rep.Revocation = e
	var crl CRL
	if err := s.child.ask(Order{Do: "crl"}, &crl); err != nil {
		return "", s.child.explain(err)
	}
	if _, err := s.fetchCRL(ctx, s.path(recordsDir, "fetched.crl")); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s…, and published CRL %d; no set holds that", e.Serial[:16], crl.Number), nil
}

// lose kills the process while requests are in flight, and takes its directory
// away.
func (s *story) lose(ctx context.Context) (string, error) {
	if err := s.reach(ctx, 100); err != nil {
		return "", err
	}
	s.dying.Store(true)
	s.killed = time.Now()
	s.child.kill()
	s.child = nil
	s.working.Wait()
	s.rep.IssueRate = float64(s.acked.Load()) / s.killed.Sub(s.began).Seconds()
	for _, sent := range s.last {
		if sent.Before(s.killed) {
			s.rep.InFlight++
		}
	}
	kept := "all of it"
	if !s.o.LoseEverything {
		wal := s.path(authorityDir, filepath.FromSlash(s.config.Database)+"-wal")
		s.openLog = s.path(salvagedDir, filepath.Base(wal))
		if err := copyFile(wal, s.openLog); err != nil {
			return "", err
		}
		fi, err := os.Stat(s.openLog)
		if err != nil {
			return "", err
		}
		s.rep.OpenLogBytes = fi.Size()
		kept = "all but the open log (" + size(fi.Size()) + ")"
	}
	if err := os.RemoveAll(s.path(authorityDir)); err != nil {
		return "", err
	}
	return fmt.Sprintf("SIGKILL, %s in flight; directory gone, %s", plural(s.rep.InFlight, "request", "requests"), kept), nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

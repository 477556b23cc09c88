//go:build unix

package crashtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/internal/need"
)

// childLimit ends a child that never came to the moment it aimed at.
const childLimit = 20 * time.Second

// TestCrash hits every phase a few times, or thirty times with
// CERTKEEP_TEST_HEAVY=1. CERTKEEP_CRASH_HITS sets another number, and
// CERTKEEP_CRASH_REPLAY a seed that an earlier run printed.
func TestCrash(t *testing.T) {
	hits := 2
	if need.Heavy() {
		hits = 30
	} else {
		t.Log("two hits a phase; CERTKEEP_TEST_HEAVY=1 makes thirty")
	}
	if s := os.Getenv("CERTKEEP_CRASH_HITS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		hits = n
	}
	seed := mrand.Uint64()
	if s := os.Getenv("CERTKEEP_CRASH_REPLAY"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed %d", seed)
	h := &harness{t: t, r: mrand.New(mrand.NewPCG(seed, 0)), seed: seed, csr: request(t)}
	h.renew()
	for h.least() < hits {
		if h.round++; h.round > 60*hits {
			t.Fatalf("after %d rounds the hits are %v", h.round, h.counts())
		}
		if len(h.record.issued) > 2500 {
			h.renew()
		}
		h.crash(h.next())
		h.check()
	}
	t.Logf("seed %d: %d kills, inside of: %s; %d certificates acknowledged, %d revocations, %d sets",
		seed, h.round, h.counts(), h.total.issued, h.total.revoked, h.total.sets)
}

// harness is the parent.
type harness struct {
	t     *testing.T
	r     *mrand.Rand
	seed  uint64
	csr   []byte
	round int
	hits  [phaseCount]int

	dir    string // the present authority's, and its sets'
	record record
	total  struct{ issued, revoked, sets int }
}

// record is what the clients know.
type record struct {
	issued  map[string]string // serial to SHA-256 of the certificate
	revoked map[string]bool
	sets    []string
}

func (h *harness) ca() string   { return filepath.Join(h.dir, "ca") }
func (h *harness) sets() string { return filepath.Join(h.dir, "sets") }

// renew begins with a new authority: the checks of a round cost more with every
// certificate.
func (h *harness) renew() {
	h.t.Helper()
	if h.dir != "" {
		if err := os.RemoveAll(h.dir); err != nil {
			h.t.Fatal(err)
		}
	}
	h.dir = h.t.TempDir()
	h.record = record{issued: map[string]string{}, revoked: map[string]bool{}}
	if err := certsrv.Init(h.t.Context(), h.ca(), certsrv.InitOptions{Name: "Crash CA"}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) least() int {
	n := h.hits[0]
	for _, k := range h.hits {
		n = min(n, k)
	}
	return n
}

func (h *harness) counts() string {
	var s []string
	for p, n := range h.hits {
		s = append(s, fmt.Sprintf("%v %d", phase(p), n))
	}
	return strings.Join(s, ", ")
}

// next aims at a phase that was hit least.
func (h *harness) next() phase {
	var low []phase
	for p, n := range h.hits {
		if n == h.least() {
			low = append(low, phase(p))
		}
	}
	return low[h.r.IntN(len(low))]
}

// typical is how long a phase takes, about: the longest delay after its
// beginning that may still hit it.
var typical = [phaseCount]time.Duration{
	issuing: 2 * time.Millisecond, rolling: 15 * time.Millisecond, checkpointing: 5 * time.Millisecond,
	backingUp: 60 * time.Millisecond, truncating: 2 * time.Millisecond, recovering: 60 * time.Millisecond,
}

// crash lets a child serve until it kills itself inside of aim.
func (h *harness) crash(aim phase) {
	h.t.Helper()
	count := 1
	switch aim {
	case issuing:
		count += h.r.IntN(150)
	case rolling, checkpointing:
		count += h.r.IntN(6)
	case backingUp, truncating:
		count += h.r.IntN(3)
	case recovering:
		h.prepareRecovery()
	}
	delay := time.Duration(0)
	if h.r.IntN(4) > 0 {
		delay = time.Duration(h.r.Int64N(int64(typical[aim])))
	}
	spot := filepath.Join(h.dir, "spot")
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), envDir+"="+h.ca(), envSets+"="+h.sets(), envSpot+"="+spot, envAim+"="+aim.String(),
		envCount+"="+strconv.Itoa(count), envDelay+"="+delay.String(), envSeed+"="+strconv.FormatUint(h.r.Uint64(), 10))
	cmd.Stdin = bytes.NewReader(h.csr)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	readErr := h.read(out)
	err = cmd.Wait()
	if readErr != nil {
		h.t.Fatal(readErr)
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() == 3) {
		h.fail("the child failed: %v\n%s", err, stderr.String())
	}
	in, err := spotted(spot)
	if err != nil {
		h.t.Fatal(err)
	}
	if exit == nil { // it lived to the end: no kill
		return
	}
	for p, inside := range in {
		if inside {
			h.hits[p]++
		}
	}
}

// read takes in the clients' record. A last line without its end was not
// acknowledged to anybody.
func (h *harness) read(r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && f[0] == "issued":
			if _, twice := h.record.issued[f[1]]; twice {
				h.fail("serial %s was given twice", f[1])
			}
			h.record.issued[f[1]] = f[2]
			h.total.issued++
		case len(f) == 2 && f[0] == "revoked":
			h.record.revoked[f[1]] = true
			h.total.revoked++
		case len(f) == 3 && f[0] == "set":
			h.record.sets = append(h.record.sets, f[1])
			h.total.sets++
		default:
			return fmt.Errorf("the child says %q", line)
		}
	}
}

// check starts the authority again, holds it against the record, takes a backup
// and drills it.
func (h *harness) check() {
	h.t.Helper()
	ctx := h.t.Context()
	srv, err := certsrv.New(h.ca(), certsrv.Options{GenerationSize: generationSize})
	if err != nil {
		h.fail("opening: %v", err)
	}
	if err := srv.Start(ctx); err != nil {
		h.fail("starting again: %v", err)
	}
	// It issues again.
	if _, err := srv.Submit(ctx, account.LocalUser(), h.csr, nil); err != nil {
		h.fail("issuing again: %v", err)
	}
	store := folder.Root(h.sets(), folder.Options{})
	h.wholeSets(ctx, store)
	svc := srv.Service(account.LocalUser())
	res, err := backup.Take(ctx, backup.TakeOptions{Service: svc, Store: store, Name: fmt.Sprintf("check-%d", h.round)})
	if err = errors.Join(err, svc.Close()); err != nil {
		h.fail("a backup afterwards: %v", err)
	}
	if err := srv.Stop(ctx); err != nil {
		h.fail("stopping: %v", err)
	}
	path := filepath.Join(h.ca(), filepath.FromSlash(srv.Config().Database))
	h.holds(ctx, path, srv.CACertificate())
	h.drill(ctx, store, res.Manifest.ID, srv.CACertificate())
}

// wholeSets: what a killed backup left is no set; what is listed is whole.
func (h *harness) wholeSets(ctx context.Context, store backupset.Store) {
	h.t.Helper()
	entries, err := store.List(ctx)
	if err != nil {
		h.fail("listing sets: %v", err)
	}
	known := map[string]bool{}
	for _, e := range entries {
		if e.Err != nil {
			h.fail("set %s: %v", e.Label(), e.Err)
		}
		known[e.ID] = true
	}
	for _, id := range h.record.sets {
		if !known[id] {
			h.fail("set %s was reported and is not there", id)
		}
	}
}

// holds compares the database with the record.
func (h *harness) holds(ctx context.Context, path string, ca *x509.Certificate) {
	h.t.Helper()
	db, err := cadb.Open(ctx, path)
	if err != nil {
		h.fail("database: %v", err)
	}
	defer db.Close()
	seen := map[string]bool{}
	for r, err := range db.Requests(ctx, cadb.Filter{}) {
		if err != nil {
			h.fail("database: %v", err)
		}
		if len(r.RawCertificate) == 0 || r.Disposition == schema.CACert {
			continue
		}
		if seen[r.Serial] {
			h.fail("serial %s is in the database twice", r.Serial)
		}
		seen[r.Serial] = true
		if sum, known := h.record.issued[r.Serial]; known && sum != fmt.Sprintf("%x", sha256.Sum256(r.RawCertificate)) {
			h.fail("certificate %s is not the one that was acknowledged", r.Serial)
		}
		if h.record.revoked[r.Serial] && r.Disposition != schema.Revoked {
			h.fail("certificate %s was revoked, and is %v", r.Serial, r.Disposition)
		}
	}
	for serial := range h.record.issued {
		if !seen[serial] {
			h.fail("certificate %s was acknowledged, and is lost", serial)
		}
	}
	rep, err := cadb.Check(ctx, db, ca)
	if err != nil {
		h.fail("checking the database: %v", err)
	}
	for _, f := range rep.Findings {
		if f.Severity == cadb.Damage {
			h.fail("database: %v", f)
		}
	}
}

// drill restores the newest chain into scratch and holds it against the record:
// the backup came after everything in it.
func (h *harness) drill(ctx context.Context, store backupset.Store, id string, ca *x509.Certificate) {
	h.t.Helper()
	rep, err := backup.Drill(ctx, backup.DrillOptions{Source: backup.Source{Store: store, ID: id}, Scratch: h.dir, Keep: true})
	if err != nil {
		h.fail("drill: %v", err)
	}
	if !rep.OK {
		h.fail("drill: %v", rep.Findings)
	}
	h.holds(ctx, rep.Kept, ca)
	if err := os.RemoveAll(filepath.Dir(rep.Kept)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) fail(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("seed %d, round %d (CERTKEEP_CRASH_REPLAY=%d), hits %s: %s", h.seed, h.round, h.seed, h.counts(), fmt.Sprintf(format, args...))
}

func request(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "crash.example.com"}, DNSNames: []string{"crash.example.com"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

//go:build unix

package crashtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/folder"
)

// The child's orders.
const (
	envDir   = "CERTKEEP_CRASH_DIR"   // the authority
	envSets  = "CERTKEEP_CRASH_SETS"  // where it keeps sets
	envSpot  = "CERTKEEP_CRASH_SPOT"  // the file that says what it is inside of
	envAim   = "CERTKEEP_CRASH_AIM"   // the phase in which to die
	envCount = "CERTKEEP_CRASH_COUNT" // the how-many-th time
	envDelay = "CERTKEEP_CRASH_DELAY" // how long after its beginning
	envSeed  = "CERTKEEP_CRASH_SEED"
)

// generationSize makes rolls frequent.
const generationSize = 256 << 10

func TestMain(m *testing.M) {
	if os.Getenv(envDir) == "" {
		os.Exit(m.Run())
	}
	if err := child(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(3)
	}
}

// aimer knows what the process is inside of, writes it down, and kills.
type aimer struct {
	spot   *os.File
	inside [phaseCount]atomic.Int32
	aim    phase
	left   atomic.Int32
	delay  time.Duration
}

func newAimer() (*aimer, error) {
	f, err := os.OpenFile(os.Getenv(envSpot), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	a := &aimer{spot: f}
	var errs [3]error
	var n int
	a.aim, errs[0] = parsePhase(os.Getenv(envAim))
	n, errs[1] = strconv.Atoi(os.Getenv(envCount))
	a.delay, errs[2] = time.ParseDuration(os.Getenv(envDelay))
	a.left.Store(int32(n))
	return a, errors.Join(errs[:]...)
}

// observe is certsrv.Options.Observe.
func (a *aimer) observe(event string) {
	for _, e := range edges[event] {
		n := a.inside[e.phase].Add(e.step)
		if n < 0 { // an end whose beginning was not announced
			a.inside[e.phase].Store(0)
			n = 0
		}
		if _, err := a.spot.WriteAt([]byte{byte('0' + min(n, 9))}, int64(e.phase)); err != nil {
			panic(err)
		}
		if e.step > 0 && e.phase == a.aim && a.left.Add(-1) == 0 {
			a.fire()
		}
	}
}

// fire kills the process, at once or after the delay, while its work goes on.
func (a *aimer) fire() {
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if a.delay == 0 {
		die()
	}
	go func() {
		// Spinning hits a moment within a millisecond better than a timer does.
		for began := time.Now(); time.Since(began) < a.delay; {
		}
		die()
	}()
}

// child serves until it dies. It takes a request on standard input, of which it
// makes every certificate, and writes what was acknowledged to standard output, a line each:
//
//	issued SERIAL SHA256
//	revoked SERIAL
//	set ID LAST-GENERATION
func child(ctx context.Context) error {
	a, err := newAimer()
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(os.Getenv(envSeed), 10, 64)
	if err != nil {
		return err
	}
	csr, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<16))
	if err != nil {
		return err
	}
	srv, err := certsrv.New(os.Getenv(envDir), certsrv.Options{Observe: a.observe, GenerationSize: generationSize})
	if err != nil {
		return err
	}
	if err := srv.Start(ctx); err != nil {
		return err
	}
	if a.aim == recovering {
		return srv.Stop(ctx) // there was less to recover than hoped for
	}
	out := &lines{}
	ctx, cancel := context.WithTimeout(ctx, childLimit)
	defer cancel()
	w := worker{srv: srv, csr: csr, out: out, recent: make(chan string, 1024)}
	var wg sync.WaitGroup
	run := func(f func(context.Context, *rand.Rand) error, stream uint64) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, stream))
			for ctx.Err() == nil {
				if err := f(ctx, r); err != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "child:", err)
					os.Exit(3)
				}
			}
		})
	}
	for i := range uint64(4) {
		run(w.issue, i)
	}
	run(w.revoke, 10)
	run(w.backup, 11)
	wg.Wait()
	return srv.Stop(context.WithoutCancel(ctx))
}

// lines writes whole lines at once.
type lines struct{ mu sync.Mutex }

func (l *lines) print(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// One write: a line is in the pipe whole, or not at all.
	if _, err := os.Stdout.WriteString(fmt.Sprintf(format+"\n", args...)); err != nil {
		os.Exit(3)
	}
}

type worker struct {
	srv    *certsrv.Server
	csr    []byte
	out    *lines
	recent chan string
}

func (w *worker) issue(ctx context.Context, _ *rand.Rand) error {
	r, err := w.srv.Submit(ctx, account.LocalUser(), w.csr, nil)
	if err != nil {
		return err
	}
	w.out.print("issued %s %x", r.Serial, sha256.Sum256(r.Certificate))
	select {
	case w.recent <- r.Serial:
	default:
	}
	return nil
}

// revoke revokes one of thirty certificates.
func (w *worker) revoke(ctx context.Context, r *rand.Rand) error {
	for n := 20 + r.IntN(20); n > 0; n-- {
		select {
		case <-w.recent:
		case <-ctx.Done():
			return nil
		}
	}
	select {
	case serial := <-w.recent:
		if err := w.srv.Revoke(ctx, account.LocalUser(), serial, schema.Reason(1+r.IntN(5))); err != nil {
			return err
		}
		w.out.print("revoked %s", serial)
	case <-ctx.Done():
	}
	return nil
}

func (w *worker) backup(ctx context.Context, r *rand.Rand) (err error) {
	store := folder.Root(os.Getenv(envSets), folder.Options{})
	kind := backup.Auto
	if r.IntN(4) == 0 {
		kind = backup.Full
	}
	svc := w.srv.Service(account.LocalUser())
	defer func() { err = errors.Join(err, svc.Close()) }()
	res, err := backup.Take(ctx, backup.TakeOptions{
		Service: svc, Store: store, Type: kind, KeepLog: r.IntN(3) == 0,
		Name: fmt.Sprintf("%d-%08x", time.Now().UnixNano(), r.Uint32()),
	})
	if err != nil {
		return err
	}
	w.out.print("set %s %d", res.Manifest.ID, res.Manifest.LastGeneration)
	return nil
}

// spotted reads what a dead child was inside of.
func spotted(path string) ([phaseCount]bool, error) {
	var in [phaseCount]bool
	b, err := os.ReadFile(path)
	if err != nil {
		return in, err
	}
	for i := range in {
		in[i] = i < len(b) && b[i] > '0'
	}
	return in, nil
}

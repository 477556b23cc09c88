package certsrv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/audit"
	"github.com/certkeep/certkeep/certsrv/authority"
)

func TestInit(t *testing.T) {
	dir := filepath.Join(tempDir(t), "a", "ca")
	o := InitOptions{Name: `Beispiel "CA" ü`, Organization: "Example", Country: "DE", Passphrase: []byte("correct horse"), KeyAlgorithm: authority.ECDSAP384}
	if err := Init(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	wantCode(t, Init(t.Context(), dir, o), certadm.ErrorDirNotEmpty, "init twice")
	key, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(keyName)))
	if err != nil || !bytes.Contains(key, []byte("ENCRYPTED")) {
		t.Errorf("the key's file: %v", err)
	}
	s := openServer(t, dir, Options{})
	if err := s.Start(t.Context()); !errors.Is(err, authority.ErrPassphraseNeeded) {
		t.Errorf("without the passphrase: %v", err)
	}
	s = openServer(t, dir, Options{Passphrase: []byte("wrong")})
	if err := s.Start(t.Context()); !errors.Is(err, authority.ErrWrongPassphrase) {
		t.Errorf("with a wrong passphrase: %v", err)
	}
	s = openServer(t, dir, Options{Passphrase: o.Passphrase})
	mustStart(t, s)
	issue(t, s, 1)
	if runtime.GOOS != "windows" {
		err = filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := e.Info()
			if err == nil && fi.Mode().Perm()&0o077 != 0 && !strings.Contains(name, publishedDir) && !strings.Contains(name, databaseDir) {
				t.Errorf("%s has mode %v", name, fi.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		for _, name := range []string{"", databaseDir, publishedDir} {
			if fi, err := os.Stat(s.at.path(name)); err != nil || fi.Mode().Perm() != 0o700 {
				t.Errorf("%q: %v, %v", name, fi.Mode(), err)
			}
		}
	}
	id, err := s.Service(root).(certadm.Identifier).Identity(t.Context())
	if err != nil || id.Name != o.Name || id.SanitizedName != certadm.SanitizeName(o.Name) || id.Engine != "sqlite" || !bytes.Equal(id.Certificate, s.CACertificate().Raw) {
		t.Errorf("identity %+v, %v", id, err)
	}
	mustStop(t, s)
	b, err := os.ReadFile(s.at.path(s.config().Database))
	if err != nil {
		t.Fatal(err)
	}
	k, err := authority.ReadKey(s.at.path(keyName), o.Passphrase)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := k.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, secret) || bytes.Contains(b, o.Passphrase) {
		t.Error("the database has the key in it")
	}
}

func TestInitRefuses(t *testing.T) {
	for what, o := range map[string]InitOptions{
		"no name":      {},
		"dots":         {Name: ".."},
		"long name":    {Name: strings.Repeat("x", 65)},
		"NUL":          {Name: "a\x00b"},
		"host":         {Name: "a", Host: `\\x`},
		"validity":     {Name: "a", Validity: -time.Hour},
		"overlap":      {Name: "a", CRLValidity: time.Hour, CRLOverlap: time.Hour},
		"url":          {Name: "a", CRLURLs: []string{"no url"}},
		"algorithm":    {Name: "a", KeyAlgorithm: "dsa"},
		"key alone":    {Name: "a", Key: requestKey()},
		"country code": {Name: "a", Country: "Germany"},
	} {
		dir := filepath.Join(tempDir(t), "ca")
		err := Init(t.Context(), dir, o)
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: something is left: %v", what, err)
		}
	}
	// An empty directory stays, emptied.
	dir := tempDir(t)
	if err := Init(t.Context(), dir, InitOptions{Name: "a", KeyAlgorithm: "dsa"}); err == nil {
		t.Error("accepted")
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) != 0 {
		t.Errorf("left %v, %v", l, err)
	}
}

// The machine is lost; key and certificate were kept elsewhere.
func TestInitWithExistingKey(t *testing.T) {
	old := startServer(t, InitOptions{}, Options{})
	want := issue(t, old, 3)
	full := take(t, old, certadm.BackupFull, false)
	key, err := authority.ReadKey(old.at.path(keyName), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, InitOptions{Key: key, Certificate: old.CACertificate()}, Options{})
	setAside(t, s)
	register(t, s, full)
	mustStart(t, s)
	wantIssued(t, s, want)
	dir := filepath.Join(tempDir(t), "ca")
	if err := Init(t.Context(), dir, InitOptions{Key: requestKey(), Certificate: old.CACertificate()}); !errors.Is(err, authority.ErrKeyMismatch) {
		t.Errorf("another's key: %v", err)
	}
	if err := Init(t.Context(), dir, InitOptions{Name: "other", Key: key, Certificate: old.CACertificate()}); err == nil {
		t.Error("another name: accepted")
	}
}

func TestOneServes(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{Address: "127.0.0.1:8135"})
	other := openServer(t, s.Dir(), Options{})
	var served *ServedError
	if err := other.Start(t.Context()); !errors.As(err, &served) || served.Address != "127.0.0.1:8135" || served.PID != os.Getpid() {
		t.Errorf("a second server: %v", err)
	}
	_, err := other.Service(root).RestorePrepare(t.Context(), certadm.RestoreFull)
	wantCode(t, err, certadm.ErrorSharingViolation, "restore beside a server")
	if !errors.As(err, &served) {
		t.Errorf("who serves it is not told: %v", err)
	}
	_, err = other.SetAside()
	wantCode(t, err, certadm.ErrorSharingViolation, "setting aside beside a server")
	if err := other.Configure(func(c *Config) { c.AutoIssue = false }); !errors.As(err, &served) {
		t.Errorf("configuring beside a server: %v", err)
	}
	if err := s.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
	if err := other.Stop(t.Context()); err != nil { // not its to stop
		t.Error(err)
	}
	issue(t, s, 1)
	mustStop(t, s)
	mustStart(t, other)
	mustStop(t, other)
}

// Stop lets the requests under way finish: what was acknowledged is there, and
// what was not is told so.
func TestStopWhileIssuing(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	csr := newCSR(t, "host")
	for range 3 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var acknowledged []string
		first := make(chan struct{}, 8)
		for range 8 {
			wg.Go(func() {
				for {
					res, err := s.Submit(context.Background(), root, csr, nil)
					if errors.Is(err, ErrStopped) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					acknowledged = append(acknowledged, res.Serial)
					mu.Unlock()
					select {
					case first <- struct{}{}:
					default:
					}
				}
			})
		}
		<-first
		mustStop(t, s)
		wg.Wait()
		mustStart(t, s)
		got := serials(t, s, schema.Issued)
		for _, serial := range acknowledged {
			if !slices.Contains(got, serial) {
				t.Errorf("%s was acknowledged and is not there", serial)
			}
		}
	}
}

func TestShutdown(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	for range 2 {
		done := s.Done()
		select {
		case <-done:
			t.Fatal("done while running")
		default:
		}
		if _, err := s.Service(root).ServerControl(t.Context(), certadm.ControlShutdown); err != nil {
			t.Fatal(err)
		}
		<-done
		if s.Running() {
			t.Error("still running")
		}
		_, err := s.Service(root).ServerControl(t.Context(), certadm.ControlShutdown)
		wantCode(t, err, certadm.ErrorServiceNotActive, "shutdown of a stopped service")
		mustStart(t, s)
	}
	var events []audit.Event
	for r, err := range audit.Read(t.Context(), s.at.path(auditName)) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, r.Event)
	}
	want := []audit.Event{4880, 4875, 4881, 4880, 4875, 4881, 4880}
	if !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
}

func TestSuspend(t *testing.T) {
	s := newServer(t, InitOptions{}, Options{})
	if err := s.Suspend(); !errors.Is(err, ErrStopped) {
		t.Errorf("suspending a stopped service: %v", err)
	}
	mustStart(t, s)
	if err := s.Suspend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Submit(t.Context(), root, newCSR(t, "a"), nil); !errors.Is(err, ErrSuspended) {
		t.Errorf("submit: %v", err)
	}
	_, err := s.Service(root).BackupPrepare(t.Context(), certadm.BackupFull)
	wantCode(t, err, certadm.HrBackupNotAllowedYet, "backup of a suspended service")
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	issue(t, s, 1)
	if err := s.Suspend(); err != nil {
		t.Fatal(err)
	}
	mustStop(t, s)
}

// A log that vanished is told, and accepted only when asked to.
func TestLostLog(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 2)
	take(t, s, certadm.BackupFull, true)
	lost := issue(t, s, 2)
	before, err := s.Certificate(t.Context(), lost[1])
	if err != nil {
		t.Fatal(err)
	}
	dir := copyDir(t, s.Dir()) // as after kill -9
	for _, name := range []string{"database/Test CA.db-wal", "database/Test CA.db-shm"} {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	r := openServer(t, dir, Options{})
	err = r.Start(t.Context())
	var e *certadm.Error
	if !errors.As(err, &e) || e.Hint == "" {
		t.Fatalf("without its log: %v", err)
	}
	r = openServer(t, dir, Options{AcceptLoss: true})
	mustStart(t, r)
	_, err = r.Service(root).BackupPrepare(t.Context(), certadm.BackupLogsOnly)
	wantCode(t, err, certadm.HrMissingFullBackup, "incremental after a loss")
	rec, err := r.Certificate(t.Context(), issue(t, r, 1)[0])
	if err != nil || rec.RequestID <= before.RequestID {
		t.Errorf("request id %d; %d was given before the loss, %v", rec.RequestID, before.RequestID, err)
	}
}

// kill -9 without the process: the files as they are, opened by another Server.
// No generation is closed meanwhile, because files copied one by one are no
// moment's.
func TestCopyOfARunningAuthority(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	want := issue(t, s, 40)
	r := openServer(t, copyDir(t, s.Dir()), Options{})
	mustStart(t, r)
	wantIssued(t, r, want)
}

func TestLogHasNoSecrets(t *testing.T) {
	var text bytes.Buffer
	var mu sync.Mutex
	logger := slog.New(slog.NewTextHandler(lockedWriter{&mu, &text}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := startServer(t, InitOptions{Passphrase: []byte("correct horse battery")}, Options{Passphrase: []byte("correct horse battery"), Logger: logger})
	issue(t, s, 1)
	take(t, s, certadm.BackupFull, true)
	mustStop(t, s)
	mu.Lock()
	defer mu.Unlock()
	if text.Len() == 0 || strings.Contains(text.String(), "battery") || strings.Contains(text.String(), "PRIVATE") {
		t.Errorf("logged: %s", text.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func TestPhases(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]bool)
	s := startServer(t, InitOptions{}, Options{Observe: func(p string) {
		mu.Lock()
		defer mu.Unlock()
		seen[p] = true
	}})
	issue(t, s, 1)
	full := take(t, s, certadm.BackupFull, true)
	mustStop(t, s)
	setAside(t, s)
	register(t, s, full)
	mustStart(t, s)
	mu.Lock()
	defer mu.Unlock()
	for _, p := range []string{
		PhaseIssuing, PhaseIssued, PhaseStopping, PhaseBackup, PhaseCopying, PhaseBackupEnd, PhaseTruncating, PhaseTruncated,
		PhaseRecovering, PhaseReplaying, PhaseAdopting, PhaseRecovered, "roll begin", "checkpoint begin", "truncate moved",
	} {
		if !seen[p] {
			t.Errorf("phase %q was not told", p)
		}
	}
}

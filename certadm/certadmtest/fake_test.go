package certadmtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// fake is an authority with little more to it than what the suite looks at. It
// keeps its files as AD CS does, database, logs and checkpoint in one directory,
// and passes the whole suite; with a bug it is the proof that the suite notices.
type fake struct {
	dir  string // C$ of the server
	bugs map[string]bool

	mu       sync.Mutex
	state    state
	sig      string   // the log signature
	gen      uint32   // the open generation
	open     []string // serial numbers in it
	issued   []string // serial numbers in the database, those in open included
	next     int
	database string // UNC
	grown    bool

	session      *session
	full, inc    time.Time
	recovered    time.Time
	circular     bool
	flags, audit uint32
	events       []AuditEvent
	wireCalls    []WireCall
	pending      []*pendingSet
	whileHeld    func()
	restarted    bool
}

type state int

const (
	stopped state = iota
	recovering
	running
	suspended
	stopping
)

const (
	fakeHost = "FAKESRV"
	fakeName = "Fäke & Co CA"
	share    = `\\` + fakeHost + `\C$\`
	logDir   = share + "certlog"
)

func newFake(t *testing.T, bugs ...string) *fake {
	f := &fake{dir: t.TempDir(), bugs: make(map[string]bool), gen: 1, sig: randomHex(), audit: 3}
	for _, b := range bugs {
		f.bugs[b] = true
	}
	f.database = join(logDir, certadm.SanitizeName(fakeName)+".edb")
	for _, d := range []string{"certlog", "certenroll"} {
		if err := os.Mkdir(filepath.Join(f.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range f.dynamicFiles() {
		if path, err := f.LocalPath(u); err == nil {
			if err := os.WriteFile(path, []byte("dynamic"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.writeDatabase()
	if err := os.WriteFile(f.path(join(logDir, "edb.chk")), []byte("checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.state = running
	return f
}

func (f *fake) is(bug string) bool { return f.bugs[bug] }

func randomHex() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// LocalPath makes fake a Locator.
func (f *fake) LocalPath(unc string) (string, error) {
	rest, ok := strings.CutPrefix(unc, share)
	if !ok || strings.Contains(rest, "..") {
		return "", fmt.Errorf("%s is not on %s", unc, share)
	}
	return filepath.Join(f.dir, filepath.FromSlash(strings.ReplaceAll(rest, `\`, "/"))), nil
}

func (f *fake) path(unc string) string {
	p, err := f.LocalPath(unc)
	if err != nil {
		panic(err)
	}
	return p
}

func logName(gen uint32) string { return fmt.Sprintf("edb%05x.log", gen) }

// encode makes a file of a header and serial numbers: some bulk, so that it is
// read in pieces, and a checksum.
func encode(header string, serials []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%s\n%s\n", header, strings.Repeat("#", 70_001), strings.Join(serials, "\n"))
	fmt.Fprintf(&b, "%x\n", sha256.Sum256(b.Bytes()))
	return b.Bytes()
}

var errDamaged = errors.New("damaged")

func decode(data []byte) (header []string, serials []string, err error) {
	lines := strings.Split(string(data), "\n")
	if len(lines) < 5 {
		return nil, nil, errDamaged
	}
	body := strings.Join(lines[:len(lines)-2], "\n") + "\n"
	if fmt.Sprintf("%x", sha256.Sum256([]byte(body))) != lines[len(lines)-2] {
		return nil, nil, errDamaged
	}
	for _, s := range lines[2 : len(lines)-2] {
		if s != "" {
			serials = append(serials, s)
		}
	}
	return strings.Fields(lines[0]), serials, nil
}

func (f *fake) writeDatabase() {
	if f.grown {
		return
	}
	if err := os.WriteFile(f.path(f.database), encode("database "+f.sig, f.issued), 0o600); err != nil {
		panic(err)
	}
}

// roll closes the open generation. An empty one is closed as well.
func (f *fake) roll() {
	if f.is("logs not closed") {
		return
	}
	data := encode(fmt.Sprintf("log %s %x", f.sig, f.gen), f.open)
	if err := os.WriteFile(f.path(join(logDir, logName(f.gen))), data, 0o600); err != nil {
		panic(err)
	}
	f.open = nil
	f.gen++
	f.writeDatabase()
}

// closed lists the closed generations on disk.
func (f *fake) closed() []uint32 {
	entries, err := os.ReadDir(f.path(logDir))
	if err != nil {
		panic(err)
	}
	var gens []uint32
	for _, e := range entries {
		if gen, ok := certadm.ParseLogGeneration(e.Name()); ok && gen < f.gen {
			gens = append(gens, gen)
		}
	}
	return gens
}

// Start makes fake an Env, with the next few.
func (f *fake) Start(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fail := func(code certadm.HRESULT, err error) error {
		f.state = stopped
		if f.is("failure without a code") {
			return errors.New("it did not start")
		}
		return &certadm.Error{Op: "Start", Code: code, Err: err}
	}
	if n := len(f.pending); n > 0 {
		if !f.pending[n-1].complete && !f.is("starts between") {
			return fail(certadm.HrRestoreInProgress, nil)
		}
		f.state = recovering
		f.hold()
		if code, err := f.recover(); code != certadm.SOK {
			return fail(code, err)
		}
	} else {
		data, err := os.ReadFile(f.path(f.database))
		if err != nil {
			return fail(certadm.HrDatabaseNotFound, err)
		}
		header, serials, err := decode(data)
		if err != nil {
			return fail(certadm.HrDatabaseCorrupted, err)
		}
		f.sig, f.issued = header[1], serials
	}
	f.state = running
	f.restarted = true
	return nil
}

// hold lets a test act in the middle of a start or stop.
func (f *fake) hold() {
	if fn := f.whileHeld; fn != nil {
		f.whileHeld = nil
		f.mu.Unlock()
		fn()
		f.mu.Lock()
	}
}

func (f *fake) Stop(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop()
	return nil
}

func (f *fake) stop() {
	if f.state == stopped {
		return
	}
	f.state = stopping
	f.hold()
	if len(f.open) > 0 {
		f.roll()
	}
	f.endSession(f.session)
	f.state = stopped
}

func (f *fake) AwaitStop(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != stopped {
		return errors.New("the service is not stopping")
	}
	return nil
}

func (f *fake) Issue(_ context.Context, n int) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != running && !f.is("serves during recovery") {
		return nil, certadm.ErrorServiceNotActive
	}
	var serials []string
	for range n {
		f.next++
		serials = append(serials, fmt.Sprintf("%s%06x", filepath.Base(f.dir), f.next))
	}
	f.open = append(f.open, serials...)
	f.issued = append(f.issued, serials...)
	if f.is("loses a certificate") {
		f.open = f.open[:len(f.open)-1]
	}
	return serials, nil
}

func (f *fake) Serials(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != running {
		return nil, certadm.ErrorServiceNotActive
	}
	return slices.Clone(f.issued), nil
}

func (f *fake) dynamicFiles() []string {
	switch {
	case f.is("local names"):
		return []string{`C:\certenroll\Fake.crl`}
	case f.is("another host"):
		return []string{`\\OTHER\C$\certenroll\Fake.crl`}
	}
	return []string{share + `certenroll\Fake.crl`, share + `certenroll\Fake.crt`}
}

func (f *fake) locations() certadm.FileList {
	l := certadm.FileList{{Type: certadm.FileDatabase, Path: f.database}, {Type: certadm.FileLogDir, Path: logDir}, {Type: certadm.FileCheckpointDir, Path: logDir}}
	switch {
	case f.is("extra location"):
		l = append(l, certadm.FileEntry{Type: certadm.FileUnknown, Path: logDir})
	case f.is("two log directories"):
		l = append(l, certadm.FileEntry{Type: certadm.FileLogDir, Path: logDir})
	}
	return l
}

package backup

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/folder"
)

// taking is an authority, a store, and what happened between them.
type taking struct {
	t      *testing.T
	srv    *certsrv.Server
	dir    string
	store  *folder.Store
	events []string // calls of the procedure, and of the store's commits
	n      int

	// before can make a call, or a step of the store, fail.
	before func(op string) error
}

func newTaking(t *testing.T) *taking {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	if err := certsrv.Init(t.Context(), ca, certsrv.InitOptions{Name: "Take CA"}); err != nil {
		t.Fatal(err)
	}
	srv, err := certsrv.New(ca, certsrv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	k := &taking{t: t, srv: srv, dir: dir, store: folder.Root(filepath.Join(dir, "sets"), folder.Options{})}
	k.issue()
	return k
}

func (k *taking) issue() {
	k.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "take.example.com"}}, key)
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := k.srv.Submit(k.t.Context(), account.LocalUser(), csr, nil); err != nil {
		k.t.Fatal(err)
	}
}

// take takes a set over a connection of its own, and checks what must hold
// whatever happens: a session that was prepared was ended, once, and nothing
// was truncated that was not committed before.
func (k *taking) take(ctx context.Context, change func(*TakeOptions)) (*TakeResult, error) {
	k.t.Helper()
	k.events, k.n = nil, k.n+1
	svc := k.srv.Service(account.LocalUser())
	o := TakeOptions{Service: &hooked{svc, k}, Store: &hookedStore{k.store, k}, Name: fmt.Sprintf("set%02d", k.n)}
	if change != nil {
		change(&o)
	}
	res, err := Take(ctx, o)
	if e := svc.Close(); e != nil {
		k.t.Error(e)
	}
	open, committed := 0, false
	for _, e := range k.events {
		switch e {
		case "CertSrvBackupPrepare ok":
			open++
		case "CertSrvBackupEnd":
			open--
		case "commit ok":
			committed = true
		case "CertSrvBackupTruncateLogs":
			if !committed {
				k.t.Error("truncated before the set was committed")
			}
		}
	}
	if open != 0 {
		k.t.Errorf("%d sessions were left open: %v", open, k.events)
	}
	return res, err
}

func (k *taking) list() []backupset.Entry {
	k.t.Helper()
	entries, err := k.store.List(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return entries
}

func (k *taking) logs() int {
	k.t.Helper()
	names, err := filepath.Glob(filepath.Join(k.srv.Dir(), "log", "log*.log"))
	if err != nil {
		k.t.Fatal(err)
	}
	return len(names)
}

// event notes what begins, and lets before make it fail.
func (k *taking) event(op string) error {
	k.events = append(k.events, op)
	if k.before != nil {
		return k.before(op)
	}
	return nil
}

// hooked is the authority's Service, whose calls can be made to fail.
type hooked struct {
	certadm.Service
	k *taking
}

func (h *hooked) Identity(ctx context.Context) (certadm.Identity, error) {
	return h.Service.(certadm.Identifier).Identity(ctx)
}

func (h *hooked) BackupPrepare(ctx context.Context, bt certadm.BackupType) (certadm.Backup, error) {
	t := tracer{before: h.k.event, after: func(c Call) {
		if c.Op == "CertSrvBackupPrepare" && c.Code == certadm.SOK {
			h.k.events = append(h.k.events, c.Op+" ok")
		}
	}}
	return (&tracedService{h.Service, t}).BackupPrepare(ctx, bt)
}

func (h *hooked) IsServerOnline(ctx context.Context) (bool, error) {
	return (&tracedService{h.Service, tracer{before: h.k.event}}).IsServerOnline(ctx)
}

// hookedStore is the Store, whose steps are events like the calls.
type hookedStore struct {
	backupset.Store
	k *taking
}

func (s *hookedStore) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	if err := s.k.event("create set"); err != nil {
		return nil, err
	}
	w, err := s.Store.Create(ctx, o)
	return &hookedWriter{w, s.k}, err
}

func (s *hookedStore) PutReceipt(ctx context.Context, id string, r backupset.Receipt) error {
	if err := s.k.event("receipt"); err != nil {
		return err
	}
	return s.Store.PutReceipt(ctx, id, r)
}

type hookedWriter struct {
	backupset.Writer
	k *taking
}

func (w *hookedWriter) CreateFile(ctx context.Context, role backupset.Role, name string, size int64) (io.WriteCloser, error) {
	if err := w.k.event("create file"); err != nil {
		return nil, err
	}
	return w.Writer.CreateFile(ctx, role, name, size)
}

func (w *hookedWriter) Commit(ctx context.Context, m *backupset.Manifest) error {
	if err := w.k.event("commit"); err != nil {
		return err
	}
	err := w.Writer.Commit(ctx, m)
	if err == nil {
		w.k.events = append(w.k.events, "commit ok")
	}
	return err
}

func TestTakeOrder(t *testing.T) {
	k := newTaking(t)
	res, err := k.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(res.Reason, "no earlier set") || res.Manifest.Type != backupset.Full {
		t.Errorf("the first set is %s, because %q", res.Manifest.Type, res.Reason)
	}
	var got []string // reads and files left out, and of several files all but one
	for _, e := range k.events {
		switch e {
		case "create file", "CertSrvBackupRead":
			continue
		case "CertSrvBackupOpenFile", "CertSrvBackupClose":
			e = "open or close"
		}
		if n := len(got); n == 0 || got[n-1] != e {
			got = append(got, e)
		}
	}
	want := []string{
		"CertSrvIsServerOnline", "create set", "CertSrvBackupPrepare", "CertSrvBackupPrepare ok",
		"CertSrvRestoreGetDatabaseLocations", "CertSrvBackupGetDatabaseNames",
		"open or close", "CertSrvBackupGetBackupLogs", "open or close",
		"CertSrvBackupGetDynamicFileList", "commit", "commit ok",
		"CertSrvBackupTruncateLogs", "CertSrvBackupGetBackupLogs", "CertSrvBackupEnd", "receipt",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the order is\n%v, not\n%v", got, want)
	}
}

func TestTakeWhatIsKept(t *testing.T) {
	k := newTaking(t)
	open := func(_ context.Context, name string) (io.ReadCloser, error) {
		path, err := k.srv.LocalPath(name)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(name, ".crl") {
			return nil, errors.New("held open by the web server")
		}
		return os.Open(path)
	}
	res, err := k.take(t.Context(), func(o *TakeOptions) { o.OpenDynamic = open })
	if err != nil {
		t.Fatal(err)
	}
	set, err := k.store.Open(t.Context(), res.Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	m := set.Manifest()
	locs, err := certadm.Locations(t.Context(), k.srv.Service(account.LocalUser()))
	if err != nil {
		t.Fatal(err)
	}
	want, err := certadm.EncodeLocations(locs)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := m.Find(backupset.RoleLocations)
	if !ok {
		t.Fatal("no restore map")
	}
	r, err := set.Open(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("certbkxp.dat is %x (%v), the server said %x", got, err, want)
	}
	var failed, copied int
	for _, d := range m.DynamicFiles {
		if strings.Contains(d.Error, "held open") {
			failed++
		} else if d.File != "" {
			copied++
		}
	}
	if failed == 0 || copied == 0 || m.Completeness.DynamicFiles == backupset.Present {
		t.Errorf("dynamic files %+v, said to be %s", m.DynamicFiles, m.Completeness.DynamicFiles)
	}
	if c := m.Completeness; c.PrivateKey != backupset.NotAttempted || c.Database != backupset.Present || c.CACertificate != backupset.Present {
		t.Errorf("completeness %+v", c)
	}
	if m.Signature == "" || m.EarliestTarget == 0 || m.CA.Name != "Take CA" || m.CA.CertificateSHA256 == "" {
		t.Errorf("manifest %+v", m)
	}
	tr := res.Receipt.Truncation
	if !tr.Requested || len(tr.Removed) == 0 || len(tr.Before) != len(tr.After)+len(tr.Removed) || k.logs() != len(tr.After) {
		t.Errorf("truncation %+v, and %d logs are left", tr, k.logs())
	}
}

func TestTakeAuto(t *testing.T) {
	k := newTaking(t)
	ctx := t.Context()
	kind := func(change func(*TakeOptions)) (backupset.Type, string) {
		t.Helper()
		k.issue()
		res, err := k.take(ctx, change)
		if err != nil {
			t.Fatal(err)
		}
		return res.Manifest.Type, res.Reason
	}
	expect := func(want backupset.Type, because string, change func(*TakeOptions)) {
		t.Helper()
		if got, reason := kind(change); got != want || !strings.Contains(reason, because) {
			t.Errorf("%s, because %q; want %s, because of %q", got, reason, want, because)
		}
	}
	full := func(o *TakeOptions) { o.Type = Full }
	elsewhere := func(o *TakeOptions) {
		o.Store = &hookedStore{folder.Root(filepath.Join(k.dir, "elsewhere"), folder.Options{}), k}
	}
	keep := func(o *TakeOptions) { o.KeepLog = true }

	expect(backupset.Full, "no earlier set", nil)
	expect(backupset.Incremental, "continues", nil)
	expect(backupset.Incremental, "continues", keep)
	expect(backupset.Incremental, "continues", nil) // overlaps the one before

	// Another tool takes a backup, and truncates.
	expect(backupset.Full, "no earlier set", elsewhere)
	expect(backupset.Full, "something else has truncated them", nil)
	expect(backupset.Incremental, "continues", nil)

	// A set without a receipt is no parent.
	k.before = func(op string) error {
		if op == "receipt" {
			return errors.New("the disk went away")
		}
		return nil
	}
	k.issue()
	if res, err := k.take(ctx, nil); err == nil || res == nil || res.Receipt != nil {
		t.Errorf("without a receipt: %v, %v", res, err)
	}
	k.before = nil
	expect(backupset.Full, "unconfirmed", nil)
	expect(backupset.Full, "", full)
}

func TestTakeIncrementalOnDemand(t *testing.T) {
	k := newTaking(t)
	incremental := func(o *TakeOptions) { o.Type = Incremental }
	if _, err := k.take(t.Context(), incremental); !errors.Is(err, ErrUnusableParent) {
		t.Errorf("without a full set: %v", err)
	}
	if _, err := k.take(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	k.issue()
	res, err := k.take(t.Context(), incremental)
	if err != nil {
		t.Fatal(err)
	}
	m := res.Manifest
	if _, ok := m.Find(backupset.RoleDatabase); ok || len(m.ByRole(backupset.RoleLocations)) != 0 || len(m.ByRole(backupset.RoleLog)) == 0 {
		t.Errorf("an incremental set holds %+v", m.Files)
	}
}

// A server that takes an incremental session for a full one must be found out
// before anything is trusted.
func TestTakeProvesTheType(t *testing.T) {
	k := newTaking(t)
	if _, err := k.take(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	before := k.logs()
	_, err := k.take(t.Context(), func(o *TakeOptions) {
		o.Type = Incremental
		o.Service = &confused{o.Service.(*hooked)}
	})
	if !errors.Is(err, ErrUnusableParent) || slices.Contains(k.events, "CertSrvBackupTruncateLogs") || k.logs() < before {
		t.Errorf("%v, after %v", err, k.events)
	}
}

type confused struct{ *hooked }

func (c *confused) BackupPrepare(ctx context.Context, _ certadm.BackupType) (certadm.Backup, error) {
	return c.hooked.BackupPrepare(ctx, certadm.BackupFull)
}

// Every call and every step of the store fails once, and is interrupted once.
// take checks that sessions end; here: no set appears before its commit, and
// the next backup is well.
func TestTakeFailsAnywhere(t *testing.T) {
	k := newTaking(t)
	if _, err := k.take(t.Context(), func(o *TakeOptions) { o.Type = Full }); err != nil {
		t.Fatal(err)
	}
	steps := 0
	for _, e := range k.events {
		if !strings.HasSuffix(e, " ok") {
			steps++
		}
	}
	boom := errors.New("boom")
	for _, how := range []string{"fails", "is interrupted", "panics"} {
		for i := range steps {
			sets, at := len(k.list()), -1
			var op string
			ctx, cancel := context.WithCancel(t.Context())
			k.before = func(o string) error {
				if at++; at != i {
					return nil
				}
				op = o
				switch how {
				case "is interrupted":
					cancel()
					return nil
				case "panics":
					panic(boom)
				}
				return boom
			}
			var res *TakeResult
			var err error
			func() {
				defer func() {
					if p := recover(); p != nil && p != any(boom) {
						panic(p)
					}
				}()
				res, err = k.take(ctx, func(o *TakeOptions) { o.Type = Full })
			}()
			cancel()
			k.before = nil
			committed := slices.Contains(k.events, "commit ok")
			switch {
			case how == "fails" && err == nil && op != "CertSrvBackupGetBackupLogs":
				// Reading the list back is the only thing that may fail unsaid.
				t.Errorf("%s %s, and no error", op, how)
			case err != nil && !committed && len(k.list()) != sets:
				t.Errorf("%s %s, and a set is there", op, how)
			case err == nil && how != "panics" && (res == nil || res.Receipt == nil || !res.Receipt.Confirmed):
				t.Errorf("%s %s: no error, and no confirmed set", op, how)
			}
			if matches, _ := filepath.Glob(filepath.Join(k.store.Dir(), "*partial*")); len(matches) > 0 {
				t.Errorf("%s %s, and left %v", op, how, matches)
			}
			if matches, _ := filepath.Glob(filepath.Join(k.store.Dir(), ".*")); len(matches) > 0 {
				t.Errorf("%s %s, and left %v", op, how, matches)
			}
		}
	}
	if res, err := k.take(t.Context(), func(o *TakeOptions) { o.Type = Full }); err != nil || !res.Receipt.Confirmed {
		t.Errorf("afterwards: %v", err)
	}
}

// watch is a log directory that says what the test wants.
type watch struct {
	before, after []uint32
	events        []string
	err           error
	asked         int
}

func (w *watch) Generations(context.Context) ([]uint32, error) {
	if w.asked++; w.asked == 1 {
		return w.before, w.err
	}
	return w.after, w.err
}

func (w *watch) Events(context.Context, time.Time) ([]string, error) { return w.events, nil }

// What counts is what is gone from the directory, whatever the server lists.
func TestTruncationIsReadBack(t *testing.T) {
	k := newTaking(t)
	k.issue()
	w := &watch{before: []uint32{3, 1, 2}, after: []uint32{1, 3}, events: []string{"ESENT 225"}}
	res, err := k.take(t.Context(), func(o *TakeOptions) { o.Logs = w })
	if err != nil {
		t.Fatal(err)
	}
	tr := res.Receipt.Truncation
	if len(tr.Before) == 0 || tr.Before[0] != 1 || slices.Contains(tr.After, 1) {
		t.Fatalf("the test is wrong: %+v", tr)
	}
	if !slices.Equal(tr.Removed, backupset.Generations{2}) || !slices.Equal(tr.InDirectory.Before, backupset.Generations{1, 2, 3}) || !slices.Equal(tr.InDirectory.After, backupset.Generations{1, 3}) {
		t.Errorf("truncation %+v", tr)
	}
	if !tr.NotTruncated || len(res.Remarks) != 2 || !strings.Contains(res.Remarks[0], "logs 00001 are still") || res.Remarks[1] != "ESENT 225" {
		t.Errorf("remarks %q", res.Remarks)
	}
	entry := k.list()[0]
	if entry.Receipt == nil || len(entry.Receipt.Truncation.Remarks) != 2 {
		t.Errorf("the receipt has %+v", entry.Receipt)
	}
	// A directory that cannot be listed is no failure.
	res, err = k.take(t.Context(), func(o *TakeOptions) { o.Logs = &watch{err: errors.New("no right")}; o.Type = Full })
	if err != nil || len(res.Remarks) != 1 || res.Receipt.Truncation.InDirectory != nil || res.Receipt.Truncation.NotTruncated {
		t.Errorf("%v, remarks %q", err, res.Remarks)
	}
	// The machine is asked also, and above all, when the truncation fails.
	k.before = func(op string) error {
		if op == "CertSrvBackupTruncateLogs" {
			return certadm.HrError
		}
		return nil
	}
	res, err = k.take(t.Context(), func(o *TakeOptions) {
		o.Logs, o.Type = &watch{before: []uint32{1}, after: []uint32{1}, events: []string{"ESENT 225"}}, Full
	})
	if err == nil || res == nil || !res.Receipt.Truncation.NotTruncated || res.Receipt.Truncation.InDirectory == nil || len(res.Remarks) != 1 {
		t.Errorf("%v, %+v", err, res)
	}
}

package certsrv

import (
	"crypto/x509"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
)

// onCRL publishes, reads the file back and returns the reasons by serial.
func onCRL(t *testing.T, s *Server) map[string]int {
	t.Helper()
	c, err := s.PublishCRL(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	der, err := os.ReadFile(s.crlPath())
	if err != nil {
		t.Fatal(err)
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CheckSignatureFrom(s.CACertificate()); err != nil {
		t.Error(err)
	}
	if l.Number.Int64() != c.Number || len(l.RevokedCertificateEntries) != c.Entries || !l.NextUpdate.Equal(c.NextUpdate) {
		t.Errorf("the file is CRL %v of %v, returned was %+v", l.Number, l.NextUpdate, c)
	}
	reasons := make(map[string]int)
	for _, e := range l.RevokedCertificateEntries {
		reasons[schema.SerialText(e.SerialNumber)] = e.ReasonCode
	}
	return reasons
}

func TestRevoke(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	ctx := t.Context()
	sn := issue(t, s, 4)
	revoke := func(serial string, r schema.Reason) error { return s.Revoke(ctx, root, serial, r) }
	if err := revoke(strings.ToUpper(sn[0]), schema.KeyCompromise); err != nil { // any form of a serial
		t.Fatal(err)
	}
	if err := revoke(sn[0], schema.Superseded); !errors.Is(err, ErrAlreadyRevoked) || !strings.Contains(err.Error(), "keyCompromise") {
		t.Errorf("revoked twice: %v", err)
	}
	if err := revoke(sn[1], schema.CertificateHold); err != nil {
		t.Fatal(err)
	}
	if err := revoke(sn[1], schema.CertificateHold); !errors.Is(err, ErrAlreadyRevoked) {
		t.Errorf("on hold twice: %v", err)
	}
	if err := revoke(sn[2], schema.CertificateHold); err != nil {
		t.Fatal(err)
	}
	got := onCRL(t, s)
	want := map[string]int{sn[0]: 1, sn[1]: 6, sn[2]: 6}
	if len(got) != len(want) {
		t.Errorf("on the CRL: %v, want %v", got, want)
	}
	for serial, reason := range want {
		if r, ok := got[serial]; !ok || r != reason {
			t.Errorf("%s: reason %d, %v; want %d", serial, r, ok, reason)
		}
	}
	if err := s.Unrevoke(ctx, root, sn[1]); err != nil {
		t.Fatal(err)
	}
	if err := revoke(sn[2], schema.CACompromise); err != nil { // a hold becomes final
		t.Fatal(err)
	}
	for serial, what := range map[string]string{sn[0]: "revoked", sn[1]: "released", sn[2]: "held and revoked", sn[3]: "good"} {
		if err := s.Unrevoke(ctx, root, serial); !errors.Is(err, ErrState) {
			t.Errorf("release of a certificate that is %s: %v", what, err)
		}
	}
	if got := onCRL(t, s); len(got) != 2 || got[sn[0]] != 1 || got[sn[2]] != 2 {
		t.Errorf("after the release: %v", got)
	}
	rec, err := s.Certificate(ctx, sn[1])
	if err != nil || rec.Disposition != schema.Issued || rec.Reason != schema.RemoveFromCRL || !rec.Revoked.IsZero() {
		t.Errorf("released: %+v, %v", rec, err)
	}
	if err := revoke(sn[1], schema.Superseded); err != nil {
		t.Errorf("revoking a released one: %v", err)
	}
	for _, r := range []schema.Reason{schema.RemoveFromCRL, schema.Released, 7, 11, 99} {
		if err := revoke(sn[3], r); err == nil {
			t.Errorf("revoked for reason %v", r)
		}
	}
	if err := revoke("0badc0de", schema.Unspecified); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown serial: %v", err)
	}
	if err := revoke("no serial", schema.Unspecified); err == nil {
		t.Error("nonsense accepted")
	}
	// The CA's own certificate is not for the officer to revoke.
	if err := revoke(schema.SerialText(s.CACertificate().SerialNumber), schema.CACompromise); !errors.Is(err, ErrState) {
		t.Errorf("the CA's own certificate: %v", err)
	}
}

// RFC 5280, 3.3: an entry stays until it was on one CRL after the certificate's
// end.
func TestExpiredLeaveTheCRL(t *testing.T) {
	clock := newManual()
	s := startServer(t, InitOptions{CertificateValidity: time.Hour}, Options{Clock: clock})
	sn := issue(t, s, 1)
	if err := s.Revoke(t.Context(), root, sn[0], schema.Unspecified); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 1, 0} { // valid, the first after its end, the next
		if got := onCRL(t, s); len(got) != want {
			t.Errorf("CRL %d has %v", i, got)
		}
		clock.advance(2 * time.Hour)
	}
}

// A crash between the database and the file is made good at the next start.
func TestCRLFileFollowsTheDatabase(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	sn := issue(t, s, 1)
	if err := s.Revoke(t.Context(), root, sn[0], schema.Unspecified); err != nil {
		t.Fatal(err)
	}
	var step string
	s.fail = crashAt(1, &step)
	if _, err := s.PublishCRL(t.Context(), root); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(s.crlPath())
	mustStop(t, s)
	s.fail = nil
	mustStart(t, s)
	after, _ := os.ReadFile(s.crlPath())
	l, err := x509.ParseRevocationList(after)
	if err != nil || string(before) == string(after) || len(l.RevokedCertificateEntries) != 1 {
		t.Errorf("the file was not renewed: %v", err)
	}
	if c, err := s.CRL(); err != nil || string(c.Raw) != string(after) {
		t.Errorf("the CRL served is another: %v", err)
	}
}

// The authority publishes before its CRL runs out.
func TestCRLIsRenewed(t *testing.T) {
	clock := newManual()
	s := startServer(t, InitOptions{CRLValidity: 10 * time.Hour, CRLOverlap: time.Hour}, Options{Clock: clock})
	first, err := s.CRL()
	if err != nil || first.Raw == nil {
		t.Fatalf("%+v, %v", first, err)
	}
	<-clock.asked                            // the maintenance waits
	clock.advance(9*time.Hour - time.Second) // nobody is woken yet
	if due, _ := s.run.crlDue(clock.Now()); due {
		t.Error("due too early")
	}
	clock.advance(2 * time.Second)
	<-clock.asked
	if c, _ := s.CRL(); c.Number != first.Number+1 {
		t.Errorf("CRL %d, want the next after %d", c.Number, first.Number)
	}
}

// A restored database does not know of a revocation, and the world does.
func TestGap(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	ctx := t.Context()
	sn := issue(t, s, 2)
	full := take(t, s, certadm.BackupFull, true)
	lost := issue(t, s, 1)[0]
	for _, serial := range []string{sn[0], lost} {
		if err := s.Revoke(ctx, root, serial, schema.KeyCompromise); err != nil {
			t.Fatal(err)
		}
	}
	crl, err := s.PublishCRL(ctx, root)
	if err != nil {
		t.Fatal(err)
	}
	when := time.Now().UTC()
	gap := Gap{Source: "the published CRL", CRLNumber: 5000, Revoked: []GapEntry{
		{Serial: strings.ToUpper(sn[0]), Time: when, Reason: schema.KeyCompromise}, {Serial: lost, Time: when, Reason: schema.KeyCompromise},
	}}
	var served *ServedError
	if err := SetGap(s.Dir(), gap); !errors.As(err, &served) {
		t.Errorf("a gap for a running service: %v", err)
	}
	mustStop(t, s)
	setAside(t, s)
	register(t, s, full)
	if err := SetGap(s.Dir(), gap); err != nil {
		t.Fatal(err)
	}
	mustStart(t, s)
	blocked := func(what string) {
		t.Helper()
		if _, err := s.PublishCRL(ctx, root); !errors.Is(err, ErrGap) {
			t.Errorf("%s: %v", what, err)
		}
		if err := s.ClearGap(ctx, root, false); !errors.Is(err, ErrGap) {
			t.Errorf("clear %s: %v", what, err)
		}
	}
	blocked("with two to revoke")
	if c, _ := s.CRL(); c.Number != crl.Number {
		t.Errorf("the CRL in force is %d, want the one from before the loss, %d", c.Number, crl.Number)
	}
	if err := s.Revoke(ctx, root, sn[0], schema.KeyCompromise); err != nil {
		t.Fatal(err)
	}
	blocked("with one to revoke")
	mustStop(t, s)
	mustStart(t, s)
	blocked("after a restart")
	if err := s.Revoke(ctx, root, "0badc0de", schema.KeyCompromise); !errors.Is(err, ErrNotFound) {
		t.Errorf("a serial that is not in the gap: %v", err)
	}
	if err := s.Revoke(ctx, root, lost, schema.KeyCompromise); err != nil {
		t.Fatalf("a serial of the gap that the database does not know: %v", err)
	}
	if err := s.Revoke(ctx, root, lost, schema.KeyCompromise); !errors.Is(err, ErrAlreadyRevoked) {
		t.Errorf("twice: %v", err)
	}
	if err := s.Unrevoke(ctx, root, lost); err == nil {
		t.Error("a lost certificate was released")
	}
	if got := onCRL(t, s); got[sn[0]] != 1 || got[lost] != 1 || len(got) != 2 {
		t.Errorf("on the CRL: %v", got)
	}
	if c, _ := s.CRL(); c.Number <= 5000 {
		t.Errorf("CRL number %d, and 5000 was known", c.Number)
	}
	if g, err := s.Gap(); g != nil || err != nil {
		t.Errorf("the gap is still there: %+v, %v", g, err)
	}
	number := func() int64 { c, _ := s.CRL(); return c.Number }
	n := number()
	mustStop(t, s)
	mustStart(t, s)
	if onCRL(t, s); number() != n+1 {
		t.Errorf("CRL %d after %d", number(), n)
	}
}

func TestAcceptGap(t *testing.T) {
	for _, running := range []bool{true, false} {
		s := newServer(t, InitOptions{}, Options{})
		g := Gap{CRLNumber: 70, Revoked: []GapEntry{{Serial: "0a"}}, Issued: []string{"0B"}}
		if err := SetGap(s.Dir(), g); err != nil {
			t.Fatal(err)
		}
		if err := SetGap(s.Dir(), Gap{Revoked: []GapEntry{{Serial: "0c"}, {Serial: "00a"}}}); err != nil { // added to
			t.Fatal(err)
		}
		got, err := s.Gap()
		if err != nil || len(got.Revoked) != 2 || len(got.Issued) != 1 || got.CRLNumber != 70 {
			t.Errorf("%+v, %v", got, err)
		}
		if running {
			mustStart(t, s)
			if err := s.ClearGap(t.Context(), with(account.Officer), true); !errors.Is(err, account.ErrDenied) {
				t.Errorf("accepted by an officer: %v", err)
			}
		}
		if err := s.ClearGap(t.Context(), root, true); err != nil {
			t.Fatal(err)
		}
		if !running {
			mustStart(t, s)
		}
		onCRL(t, s)
		if c, _ := s.CRL(); c.Number <= 70 {
			t.Errorf("CRL number %d, and 70 was known", c.Number)
		}
		got, err = s.Gap()
		if err != nil || got.Accepted == nil || got.Accepted.By != "root" {
			t.Errorf("who accepted it: %+v, %v", got, err)
		}
	}
	dir := newServer(t, InitOptions{}, Options{}).Dir()
	for what, g := range map[string]Gap{
		"no serial": {Revoked: []GapEntry{{Serial: "x"}}}, "issued": {Issued: []string{""}}, "number": {CRLNumber: -1}, "large": {CRLNumber: 1 << 40},
	} {
		if err := SetGap(dir, g); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	// A gap that cannot be read must not be taken for none.
	if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(gapName)), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openServer(t, dir, Options{}).Start(t.Context()); err == nil {
		t.Error("started with a broken gap file")
	}
}

// A published file that is no CRL of this authority is replaced.
func TestForeignCRLFile(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	c, _ := s.CRL()
	mustStop(t, s)
	if err := os.WriteFile(s.crlPath(), []byte("no CRL"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustStart(t, s)
	if der, _ := os.ReadFile(s.crlPath()); string(der) != string(c.Raw) {
		t.Error("the file was not replaced")
	}
	if l, err := x509.ParseRevocationList(c.Raw); err != nil || l.Number.Cmp(big.NewInt(c.Number)) != 0 {
		t.Errorf("%v", err)
	}
}

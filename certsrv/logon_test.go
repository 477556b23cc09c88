package certsrv

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/audit"
)

// events returns the audit log's records of some kinds.
func events(t *testing.T, s *Server, kinds ...audit.Event) []audit.Record {
	t.Helper()
	var l []audit.Record
	for r, err := range audit.Read(t.Context(), s.at.path(auditName)) {
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kinds {
			if r.Event == k {
				l = append(l, r)
			}
		}
	}
	return l
}

func TestLogonRefused(t *testing.T) {
	clock := newManual()
	s := startServer(t, InitOptions{}, Options{Clock: clock})
	// No filter keeps it out of the log.
	if err := s.Configure(func(c *Config) { c.AuditFilter = 0 }); err != nil {
		t.Fatal(err)
	}
	l := RefusedLogon{Account: "mallory\n", Origin: "192.0.2.7:49152", Mechanism: "ntlm", Reason: account.ErrBadCredentials.Error()}
	if err := s.LogonRefused(l); err != nil {
		t.Fatal(err)
	}
	got := events(t, s, audit.LogonRefused)
	if len(got) != 1 || got[0].Who != "mallory\n" || got[0].From != l.Origin || got[0].Type != "ntlm" || got[0].Result != l.Reason ||
		got[0].What != "Test CA" || got[0].Missed != 0 {
		t.Errorf("%+v", got)
	}
	if err := s.Suspend(); err != nil {
		t.Fatal(err)
	}
	if err := s.LogonRefused(RefusedLogon{Account: strings.Repeat("x", 1<<20)}); err != nil || len(events(t, s, audit.LogonRefused)) != 2 {
		t.Errorf("while suspended: %v", err)
	}
	mustStop(t, s)
	if err := s.LogonRefused(l); err == nil {
		t.Error("recorded by a stopped service")
	}
}

// A flood leaves a bounded trace, which tells how large it was.
func TestLogonFloodIsBounded(t *testing.T) {
	clock := newManual()
	s := startServer(t, InitOptions{}, Options{Clock: clock})
	flood := func(n int) {
		for i := range n {
			if err := s.LogonRefused(RefusedLogon{Account: fmt.Sprint("user", i), Mechanism: "ntlm"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood(10_000)
	if n := len(events(t, s, audit.LogonRefused)); n != refusedBurst {
		t.Errorf("%d records of the first 10,000", n)
	}
	size := fileSize(t, s)
	clock.advance(3*refusedEvery + time.Second)
	flood(1000)
	clock.advance(refusedEvery - 2*time.Second)
	flood(1)
	got := events(t, s, audit.LogonRefused)
	if len(got) != refusedBurst+3 || got[refusedBurst].Missed != 10_000-refusedBurst || got[refusedBurst+1].Missed != 0 {
		t.Fatalf("%d records, %+v", len(got), got[refusedBurst:])
	}
	if grown := fileSize(t, s) - size; grown > 3*400 {
		t.Errorf("three records have %d bytes", grown)
	}
	// What is still missing when the service stops is told then.
	mustStop(t, s)
	got = events(t, s, audit.LogonRefused)
	if last := got[len(got)-1]; len(got) != refusedBurst+4 || last.Missed != 998 || last.Who != whoami {
		t.Errorf("%d records, the last %+v", len(got), last)
	}
	sum := 0
	for _, r := range got {
		sum += r.Missed
		if r.Who != whoami {
			sum++
		}
	}
	if sum != 11_001 {
		t.Errorf("the records tell of %d logons", sum)
	}
	// A quiet hour, and there is room for as many again, but not for more.
	mustStart(t, s)
	clock.advance(1000 * time.Hour)
	flood(refusedBurst + 5)
	if n := len(events(t, s, audit.LogonRefused)) - len(got); n != refusedBurst {
		t.Errorf("%d records after a pause", n)
	}
}

func fileSize(t *testing.T, s *Server) int64 {
	t.Helper()
	fi, err := os.Stat(s.at.path(auditName))
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

// A session that came over the network is recorded with its address.
func TestOriginIsAudited(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	const origin = "192.0.2.7:49152"
	svc := s.ServiceFrom(with(account.Operator|account.Administrator), origin)
	b, err := svc.BackupPrepare(t.Context(), certadm.BackupFull)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := svc.BackupPrepare(t.Context(), certadm.BackupFull); err != nil {
		t.Fatal(err)
	}
	if err := svc.Close(); err != nil { // as when the connection breaks
		t.Fatal(err)
	}
	if _, err := s.ServiceFrom(root, origin).ServerControl(t.Context(), certadm.ControlShutdown); err != nil {
		t.Fatal(err)
	}
	got := events(t, s, audit.BackupStarted, audit.BackupCompleted, audit.ShutdownRequested)
	if len(got) != 5 {
		t.Fatalf("%+v", got)
	}
	for _, r := range got {
		if r.From != origin {
			t.Errorf("%+v", r)
		}
	}
	for _, r := range events(t, s, audit.ServiceStarted, audit.ServiceStopped) {
		if r.From != "" {
			t.Errorf("%+v", r)
		}
	}
}

package certadm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// sessionService is a Service that lists in a session only.
type sessionService struct {
	Service
	prepare map[BackupType]error
	list    error
	end     error
	calls   []string
}

func (s *sessionService) BackupPrepare(_ context.Context, t BackupType) (Backup, error) {
	s.calls = append(s.calls, map[BackupType]string{BackupFull: "full", BackupLogsOnly: "logs"}[t])
	if err := s.prepare[t]; err != nil {
		return nil, err
	}
	return sessionBackup{s: s}, nil
}

type sessionBackup struct {
	Backup
	s *sessionService
}

func (b sessionBackup) DatabaseLocations(context.Context) (FileList, error) {
	b.s.calls = append(b.s.calls, "locations")
	return golden.list, b.s.list
}

func (b sessionBackup) DynamicFiles(context.Context) ([]string, error) {
	b.s.calls = append(b.s.calls, "dynamic")
	return []string{`\\SRV\x.crl`}, b.s.list
}

func (b sessionBackup) End(ctx context.Context) error {
	b.s.calls = append(b.s.calls, "end")
	return errors.Join(ctx.Err(), b.s.end)
}

// listerService lists without a session.
type listerService struct {
	Service
	Lister
}

type lister struct{}

func (lister) DatabaseLocations(context.Context) (FileList, error) { return golden.list, nil }
func (lister) DynamicFiles(context.Context) ([]string, error)      { return []string{"x"}, nil }

func TestListsWithoutSession(t *testing.T) {
	svc := listerService{Lister: lister{}} // a session would be a nil call
	if l, err := Locations(t.Context(), svc); err != nil || !slices.Equal(l, golden.list) {
		t.Errorf("Locations = %v, %v", l, err)
	}
	if l, err := Dynamic(t.Context(), svc); err != nil || !slices.Equal(l, []string{"x"}) {
		t.Errorf("Dynamic = %v, %v", l, err)
	}
}

func TestListsInSession(t *testing.T) {
	boom := errors.New("boom")
	denied := &Error{Op: "CertSrvBackupPrepare", Code: EAccessDenied}
	noFull := &Error{Op: "CertSrvBackupPrepare", Code: HrMissingFullBackup}
	for _, tt := range []struct {
		name  string
		svc   sessionService
		calls string
		err   error
	}{
		{"incremental", sessionService{}, "logs locations end", nil},
		{"no full backup yet", sessionService{prepare: map[BackupType]error{BackupLogsOnly: noFull}}, "logs full locations end", nil},
		{"denied", sessionService{prepare: map[BackupType]error{BackupLogsOnly: denied}}, "logs", denied},
		{"both refused", sessionService{prepare: map[BackupType]error{BackupLogsOnly: noFull, BackupFull: boom}}, "logs full", boom},
		{"list fails", sessionService{list: boom}, "logs locations end", boom},
		{"end fails", sessionService{end: boom}, "logs locations end", boom},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Locations(t.Context(), &tt.svc)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) || (l == nil) != (tt.err != nil) {
				t.Errorf("Locations = %v, %v, want %v", l, err, tt.err)
			}
			if got := strings.Join(tt.svc.calls, " "); got != tt.calls {
				t.Errorf("calls %q, want %q", got, tt.calls)
			}
		})
	}
	// The session ends although the caller gave up.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var svc sessionService
	if l, err := Dynamic(ctx, &svc); err != nil || len(l) != 1 || svc.calls[len(svc.calls)-1] != "end" {
		t.Errorf("Dynamic = %v, %v after %v", l, err, svc.calls)
	}
}

// Freeing nil, or anything twice, is harmless.
func TestFree(t *testing.T) {
	l := slices.Clone(golden.list)
	Free(nil)
	Free(l)
	Free(l)
	if !slices.Equal(l, golden.list) {
		t.Error("Free changed its argument")
	}
}

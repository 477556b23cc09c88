package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
)

// fake is a session whose server answers what the fields say. Whatever would
// change something there fails the test.
type fake struct {
	t *testing.T

	identity    certadm.Identity
	identityErr error
	roles       certadm.Roles
	rolesErr    error
	separation  int32
	separateErr error
	name        string
	nameErr     error
	locations   certadm.FileList
	locateErr   error
	crl         []byte
	crlErr      error
	closed      int
}

func healthy(t *testing.T) *fake {
	return &fake{t: t, identity: certadm.Identity{Name: "Example CA", Engine: "ese"}, roles: certadm.RoleOperator | certadm.RoleRead, name: "Example CA",
		locations: certadm.FileList{{Type: certadm.FileDatabase, Path: `\\ca01\c$\CertLog\Example CA.edb`}}, crl: newCRL(t, time.Now())}
}

func (f *fake) Identity(context.Context) (certadm.Identity, error) { return f.identity, f.identityErr }
func (f *fake) MyRoles(context.Context) (certadm.Roles, error)     { return f.roles, f.rolesErr }
func (f *fake) CRL(context.Context) ([]byte, error)                { return f.crl, f.crlErr }
func (f *fake) DynamicFiles(context.Context) ([]string, error)     { return nil, nil }
func (f *fake) IsServerOnline(context.Context) (bool, error)       { return true, nil }
func (f *fake) Close() error                                       { f.closed++; return nil }
func (f *fake) Ping(context.Context) error                         { return certadm.EAccessDenied }
func (f *fake) DatabaseLocations(context.Context) (certadm.FileList, error) {
	return f.locations, f.locateErr
}

func (f *fake) CAProperty(_ context.Context, id certadm.CAPropertyID, _ int, _ certadm.PropertyType) (certadm.CAProperty, error) {
	switch id {
	case certadm.PropCAName:
		return certadm.CAProperty{Text: f.name}, f.nameErr
	case certadm.PropRoleSeparation:
		return certadm.CAProperty{Long: f.separation}, f.separateErr
	}
	f.t.Errorf("asked for property %v", id)
	return certadm.CAProperty{}, certadm.EInvalidArg
}

func (f *fake) BackupPrepare(context.Context, certadm.BackupType) (certadm.Backup, error) {
	f.t.Error("a backup session was opened")
	return nil, certadm.EAccessDenied
}

func (f *fake) RestorePrepare(context.Context, certadm.RestoreType) (certadm.Restore, error) {
	f.t.Error("a restore session was opened")
	return nil, certadm.EAccessDenied
}

func (f *fake) ServerControl(context.Context, certadm.Control) ([]byte, error) {
	f.t.Error("the server was told to do something")
	return nil, certadm.EAccessDenied
}

// timed is a session whose server told the time.
type timed struct {
	*fake
	ahead time.Duration
	told  bool
}

func (s timed) ServerTime() (server, local time.Time, ok bool) {
	now := time.Now()
	return now.Add(s.ahead), now, s.told
}

func newCRL(t *testing.T, made time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "Example CA"}, KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}, PublicKey: key.Public()}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: made, NextUpdate: made.Add(time.Hour)}, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// network is the options of an examination that reaches a session over nothing.
func network(s Session) RemoteOptions {
	return RemoteOptions{
		Server: "adcs://backup@ca01.example.test", Host: "ca01.example.test", Port: 135, User: "backup", Fix: "adcs://backup@ca01.example.test",
		Lookup: func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, nil },
		Connect: func(context.Context, string, string) (net.Conn, error) {
			one, two := net.Pipe()
			two.Close()
			return one, nil
		},
		Dial: stops("", nil, s),
	}
}

// stops is a Dial that fails with err at a stage, or with stage "" at none.
func stops(at connect.Stage, err error, s Session) func(context.Context, func(connect.Stage, error)) (Session, error) {
	return func(_ context.Context, stage func(connect.Stage, error)) (Session, error) {
		for _, now := range stagesInOrder {
			if now == at {
				stage(now, err)
				return nil, err
			}
			stage(now, nil)
		}
		if s == nil {
			return nil, errors.New("no session")
		}
		return s, nil
	}
}

// examine examines, and checks what holds for every report.
func examine(t *testing.T, o RemoteOptions) *Report {
	t.Helper()
	var heard []Check
	o.Observe = func(c Check) { heard = append(heard, c) }
	rep, err := Remote(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, rep, heard)
	if len(rep.Checks) != 12 {
		t.Errorf("%d checks: %+v", len(rep.Checks), rep.Checks)
	}
	return rep
}

func sound(t *testing.T, rep *Report, heard []Check) {
	t.Helper()
	if len(heard) != len(rep.Checks) {
		t.Errorf("%d checks, and %d were heard of", len(rep.Checks), len(heard))
	}
	failed := ""
	seen := map[string]bool{}
	for _, c := range rep.Checks {
		if seen[c.Name] {
			t.Errorf("%s comes twice", c.Name)
		}
		seen[c.Name] = true
		if c.State == Failed && failed == "" {
			failed = c.Name
		}
		if c.Detail == "" || c.Seconds < 0 {
			t.Errorf("%+v says nothing", c)
		}
		for _, p := range c.Candidates {
			if p.Cause == "" || p.Where == "" || p.Settle == "" || p.Mend == "" {
				t.Errorf("%s: %+v lacks something", c.Name, p)
			}
		}
	}
	if rep.OK != (failed == "") || rep.Failed() != failed || (rep.Err == nil) != rep.OK {
		t.Errorf("ok %v, first failed %q (%q), error %v", rep.OK, rep.Failed(), failed, rep.Err)
	}
}

// check is the one of that name.
func check(t *testing.T, rep *Report, name string) Check {
	t.Helper()
	for _, c := range rep.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %q in %+v", name, rep.Checks)
	return Check{}
}

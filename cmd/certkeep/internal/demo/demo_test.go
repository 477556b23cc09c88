package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/certkeep/certkeep/certsrv/authority"
)

func TestRecord(t *testing.T) {
	name := filepath.Join(t.TempDir(), "record")
	r, err := NewRecord(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, serial := range []string{"01", "02"} {
		if err := r.Add(Entry{Client: "alice", Serial: serial}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(name)
	if err != nil || len(got) != 2 || got[1].Serial != "02" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := NewRecord(name); err == nil {
		t.Error("a record was written over")
	}
	if err := os.WriteFile(name, []byte("{\"serial\":\"01\"}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(name); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("nonsense: %v", err)
	}
}

func TestPipe(t *testing.T) {
	var orders, answers bytes.Buffer
	p := newPipe(&orders, &answers)
	if err := obey(strings.NewReader(`{"do":"one"}`+"\n"+`{"do":"two"}`+"\n"), &answers, func(o Order) (any, error) {
		if o.Do == "two" {
			return nil, errors.New("no")
		}
		return CRL{Number: 7}, nil
	}); err != nil {
		t.Fatal(err)
	}
	var crl CRL
	if err := p.ask(Order{Do: "one"}, &crl); err != nil || crl.Number != 7 {
		t.Errorf("%+v, %v", crl, err)
	}
	if err := p.ask(Order{Do: "two"}, nil); err == nil || err.Error() != "no" {
		t.Errorf("%v", err)
	}
	if err := p.ask(Order{Do: "three"}, nil); !errors.Is(err, errChildGone) {
		t.Errorf("after the end: %v", err)
	}
	if got, want := orders.String(), "{\"do\":\"one\"}\n{\"do\":\"two\"}\n{\"do\":\"three\"}\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := obey(strings.NewReader("nonsense\n"), &answers, nil); err == nil {
		t.Error("nonsense was obeyed")
	}
}

// A client takes only a certificate for its own key from its own authority;
// nothing else is recorded.
func TestClientChecks(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	var answer func(w http.ResponseWriter, csr []byte)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		csr, err := base64.StdEncoding.DecodeString(body.String())
		if err != nil || r.Method != http.MethodPost {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		answer(w, csr)
	}))
	defer server.Close()
	name := filepath.Join(t.TempDir(), "record")
	record, err := NewRecord(name)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Name: "alice", Password: "x", URL: server.URL, CA: ca.Certificate(), Record: record, http: server.Client()}
	degenerate := func(w http.ResponseWriter, der []byte) {
		p7, err := pkcs7.DegenerateCertificate(der)
		if err != nil {
			t.Error(err)
		}
		w.Write([]byte(base64.StdEncoding.EncodeToString(p7)))
	}
	for what, a := range map[string]func(w http.ResponseWriter, csr []byte){
		"an error":             func(w http.ResponseWriter, _ []byte) { http.Error(w, "sorry", http.StatusForbidden) },
		"no base64":            func(w http.ResponseWriter, _ []byte) { w.Write([]byte("%%%")) },
		"no PKCS#7":            func(w http.ResponseWriter, _ []byte) { w.Write([]byte("AAAA")) },
		"another key":          func(w http.ResponseWriter, _ []byte) { degenerate(w, issue(t, ca, request(t))) },
		"of another authority": func(w http.ResponseWriter, csr []byte) { degenerate(w, issue(t, foreign, csr)) },
	} {
		answer = a
		if e, err := c.Enrol(context.Background(), "host.example"); err == nil {
			t.Errorf("%s was taken: %+v", what, e)
		}
	}
	answer = func(w http.ResponseWriter, csr []byte) { degenerate(w, issue(t, ca, csr)) }
	e, err := c.Enrol(context.Background(), "host.example")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(name)
	if err != nil || len(got) != 1 || got[0].Serial != e.Serial || len(e.SHA256) != 64 {
		t.Errorf("%+v, %v", got, err)
	}
}

func newCA(t *testing.T) *authority.Authority {
	t.Helper()
	key, err := authority.GenerateKey(authority.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.NewCACertificate(key, authority.CAOptions{Name: "CA", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.New(cert, key, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := authority.NewRequest(key, nil, []string{"host.example"})
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func issue(t *testing.T, a *authority.Authority, csr []byte) []byte {
	t.Helper()
	req, err := authority.ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := authority.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	der, _, err := a.Issue(authority.Template{Now: time.Now()}, req, serial)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// judge compares a made-up set of missing certificates with what must be.
func TestJudgeMissing(t *testing.T) {
	taken := time.Now()
	early, late := Entry{Serial: "01", At: taken.Add(-time.Second)}, Entry{Serial: "02", At: taken.Add(time.Second)}
	for _, tt := range []struct {
		name       string
		everything bool
		missing    []Entry
		revocation bool
		problems   int
		listed     int
	}{
		{"nothing", false, nil, true, 0, 0},
		{"one", false, []Entry{late}, true, 1, 1},
		{"the revocation", false, nil, false, 1, 0},
		{"everything, late", true, []Entry{late}, false, 0, 2},
		{"everything, too early", true, []Entry{early, late}, false, 1, 3},
	} {
		s := &story{o: Options{LoseEverything: tt.everything}, rep: &Report{RevocationRestored: tt.revocation}, lastTake: taken}
		missing := map[string]Entry{}
		for _, e := range tt.missing {
			missing[e.Serial] = e
		}
		s.judgeMissing(missing)
		if len(s.rep.Problems) != tt.problems || len(s.rep.MissingList) != tt.listed || s.rep.Missing != len(tt.missing) {
			t.Errorf("%s: %+v", tt.name, s.rep)
		}
	}
}

// A child that does not come up is told of with what it said.
func TestLaunchFails(t *testing.T) {
	o := Options{Certs: MinCerts, Dir: filepath.Join(t.TempDir(), "story"), Command: func(ctx context.Context, dir string) (*exec.Cmd, error) {
		return exec.CommandContext(ctx, "go", "no-such-verb"), nil
	}}
	rep, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "no-such-verb") {
		t.Errorf("%v", err)
	}
	if !rep.Kept {
		t.Error("the evidence was not kept")
	}
	if rep, err := Run(t.Context(), Options{Certs: 1}); err == nil || rep.Kept {
		t.Errorf("one certificate: %v", err)
	}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a second time: %v", err)
	}
}

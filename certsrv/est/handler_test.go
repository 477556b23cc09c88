package est

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// unpack reads a certs-only answer.
func unpack(t testing.TB, w *httptest.ResponseRecorder) *pkcs7.PKCS7 {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(w.Body.String(), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return p7
}

func TestCACerts(t *testing.T) {
	c := newCA(t, time.Now)
	h := NewHandler(c, accounts(t), Options{})
	w := do(h, httptest.NewRequest(http.MethodGet, "https://ca.example"+PathCACerts, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/pkcs7-mime" || w.Header().Get("Content-Transfer-Encoding") != "base64" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if p7 := unpack(t, w); len(p7.Certificates) != 1 || !p7.Certificates[0].Equal(c.Certificate()) {
		t.Errorf("%d certificates", len(p7.Certificates))
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n"), "\n") {
		if len(line) > 64 {
			t.Errorf("a line of %d characters", len(line))
		}
	}
}

func TestSimpleEnroll(t *testing.T) {
	c := newCA(t, time.Now)
	h := NewHandler(c, accounts(t), Options{})
	w := do(h, enroll(csr64(t, "host.example")))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/pkcs7-mime; smime-type=certs-only" {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	p7 := unpack(t, w)
	if len(p7.Certificates) != 1 || p7.Certificates[0].DNSNames[0] != "host.example" {
		t.Fatalf("%d certificates", len(p7.Certificates))
	}
	if err := p7.Certificates[0].CheckSignatureFrom(c.Certificate()); err != nil {
		t.Error(err)
	}
	if len(c.seen) != 1 || c.seen[0].Name != "alice" || !c.seen[0].Roles.Has(account.Enroll) {
		t.Errorf("principals %+v", c.seen)
	}
}

func TestRefusals(t *testing.T) {
	c := newCA(t, time.Now)
	var logged bytes.Buffer
	var refused []string
	h := NewHandler(c, accounts(t), Options{
		Realm: "Test", Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		OnRefused: func(name, remote string) { refused = append(refused, name+" from "+remote) },
	})
	good := csr64(t, "host.example")
	change := func(f func(r *http.Request)) *http.Request {
		r := enroll(good)
		f(r)
		return r
	}
	for name, x := range map[string]struct {
		r    *http.Request
		code int
		part string
	}{
		"another path":    {change(func(r *http.Request) { r.URL.Path = "/" }), 404, "nothing here"},
		"a label":         {change(func(r *http.Request) { r.URL.Path = "/.well-known/est/x/simpleenroll" }), 404, ""},
		"GET":             {change(func(r *http.Request) { r.Method = "GET" }), 405, "POST"},
		"POST of cacerts": {change(func(r *http.Request) { r.URL.Path = PathCACerts }), 405, "GET"},
		"no TLS":          {change(func(r *http.Request) { r.TLS = nil }), 403, "https"},
		"no password":     {change(func(r *http.Request) { r.Header.Del("Authorization") }), 401, "needed"},
		"other scheme":    {change(func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }), 401, "needed"},
		"wrong password":  {change(func(r *http.Request) { r.SetBasicAuth("alice", "password of bob") }), 401, "wrong"},
		"unknown user":    {change(func(r *http.Request) { r.SetBasicAuth("eve", "password of eve") }), 401, "wrong"},
		"no Enroll right": {change(func(r *http.Request) { r.SetBasicAuth("bob", "password of bob") }), 403, "enroll"},
		"form":            {change(func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }), 415, "application/pkcs10"},
		"no type":         {change(func(r *http.Request) { r.Header.Del("Content-Type") }), 415, "application/pkcs10"},
		"too large":       {enroll(strings.Repeat("A", authority.MaxRequestText+1)), 413, "98304"},
		"empty":           {enroll(""), 400, "empty"},
		"rubbish":         {enroll("rubbish!"), 400, "malformed"},
		"cut short":       {enroll(good[:len(good)/8*4]), 400, "malformed"},
		"asks too much":   {enroll(csr64(t)), 400, "neither a subject"},
	} {
		t.Run(name, func(t *testing.T) {
			w := do(h, x.r)
			if w.Code != x.code || !strings.Contains(w.Body.String(), x.part) {
				t.Errorf("%d %q", w.Code, w.Body)
			}
			if a := w.Header().Get("WWW-Authenticate"); (a != "") != (x.code == 401) || a != "" && a != `Basic realm="Test", charset="UTF-8"` {
				t.Errorf("WWW-Authenticate %q", a)
			}
			if a := w.Header().Get("Allow"); (a != "") != (x.code == 405) {
				t.Errorf("Allow %q", a)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Error("an error text might be taken for a page")
			}
		})
	}
	// "empty" and the like reach the backend; nobody without the right does.
	for _, p := range c.seen {
		if p.Name != "alice" {
			t.Errorf("%s reached the backend", p.Name)
		}
	}
	if c.last != nil {
		t.Error("something was issued")
	}
	slices.Sort(refused)
	if want := []string{"alice from 192.0.2.1:1234", "eve from 192.0.2.1:1234"}; !slices.Equal(refused, want) {
		t.Errorf("OnRefused heard of %q", refused)
	}
	if s := logged.String(); strings.Contains(s, "password of") || !strings.Contains(s, "eve") {
		t.Errorf("log: %s", s)
	}
}

func TestBackendErrors(t *testing.T) {
	c := newCA(t, time.Now)
	var logged bytes.Buffer
	h := NewHandler(c, accounts(t), Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	for name, x := range map[string]struct {
		err     error
		pending time.Duration
		code    int
		retry   string
		text    string
	}{
		"pending":     {nil, 90*time.Second + 1, 202, "91", "waits"},
		"stopping":    {fmt.Errorf("stopped: %w", ErrUnavailable), 0, 503, "10", "not available"},
		"refused":     {&RefusedError{"denied by an officer"}, 0, 400, "", "denied by an officer"},
		"bad":         {&authority.RequestError{Reason: authority.ReasonKey, Detail: "weak"}, 0, 400, "", "weak"},
		"denied":      {&account.DeniedError{Method: account.Submit, Who: "alice"}, 0, 403, "", "access denied"},
		"internal":    {errors.New("secret path /x"), 0, 500, "", "internal error"},
		"says naught": {nil, 0, 500, "", "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			c.fail, c.pending = x.err, x.pending
			h := h
			if name == "says naught" {
				h = NewHandler(silent{c}, accounts(t), Options{})
			}
			w := do(h, enroll(csr64(t, "x.example")))
			if w.Code != x.code || w.Header().Get("Retry-After") != x.retry || !strings.Contains(w.Body.String(), x.text) {
				t.Errorf("%d, Retry-After %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
			}
			if strings.Contains(w.Body.String(), "/x") {
				t.Error("the cause is shown to the client")
			}
			if name == "internal" && !strings.Contains(logged.String(), "/x") {
				t.Error("the cause is not in the log")
			}
		})
	}
}

// silent returns nothing at all.
type silent struct{ *ca }

func (silent) Enroll(context.Context, account.Principal, []byte) ([]byte, time.Duration, error) {
	return nil, 0, nil
}

// login is an Authenticator that answers with an error.
type login struct{ err error }

func (l login) Authenticate(context.Context, string, []byte) (account.Principal, error) {
	return account.Principal{Name: "alice", Roles: account.Enroll}, l.err
}

func TestAuthenticatorErrors(t *testing.T) {
	c := newCA(t, time.Now)
	for _, x := range []struct {
		err   error
		code  int
		retry string
	}{{account.ErrBusy, 503, "1"}, {errors.New("disk"), 500, ""}, {nil, 200, ""}} {
		w := do(NewHandler(c, login{x.err}, Options{}), enroll(csr64(t, "x.example")))
		if w.Code != x.code || w.Header().Get("Retry-After") != x.retry {
			t.Errorf("%v: %d %v", x.err, w.Code, w.Header())
		}
	}
}

func TestFailedLoginsAreSlowed(t *testing.T) {
	now := time.Unix(1e9, 0)
	h := NewHandler(newCA(t, time.Now), accounts(t), Options{Now: func() time.Time { return now }})
	try := func(remote, password string) *httptest.ResponseRecorder {
		r := enroll(csr64(t, "x.example"))
		r.RemoteAddr = remote
		r.SetBasicAuth("alice", password)
		return do(h, r)
	}
	const bad, good = "a wrong one", "password of alice"
	for i := range maxFailures {
		if w := try("192.0.2.1:1000", bad); w.Code != 401 {
			t.Fatalf("failure %d: %d", i, w.Code)
		}
	}
	w := try("192.0.2.1:2000", good)
	if w.Code != 429 || w.Header().Get("Retry-After") != "6" {
		t.Errorf("the eleventh: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w := try("192.0.2.2:1000", good); w.Code != 200 {
		t.Errorf("another address: %d", w.Code)
	}
	now = now.Add(failureDecay)
	if w := try("192.0.2.1:1000", bad); w.Code != 401 {
		t.Errorf("after a while: %d", w.Code)
	}
	if w := try("192.0.2.1:1000", good); w.Code != 429 {
		t.Errorf("and once more: %d", w.Code)
	}
	now = now.Add(failureDecay)
	if w := try("192.0.2.1:1000", good); w.Code != 200 {
		t.Errorf("a right one: %d", w.Code)
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimiter(func() time.Time { return now })
	for range 1000 { // at once, before anybody looks
		l.failed(addressOf("[2001:db8::1]:5"))
	}
	if w := l.blocked(addressOf("[2001:db8::ffff]:6")); w != failureDecay {
		t.Errorf("a neighbour in the /64: %v", w)
	}
	if w := l.blocked(addressOf("[2001:db8:0:1::1]:5")); w != 0 {
		t.Errorf("another /64: %v", w)
	}
	if addressOf("[::ffff:192.0.2.1]:1") != addressOf("192.0.2.1:2") || addressOf("nonsense") != addressOf("") {
		t.Error("addresses")
	}
	for i := range 3 * maxAddresses {
		l.failed(addressOf(fmt.Sprintf("10.%d.%d.1:1", i>>8, i&255)))
	}
	if len(l.clear) > maxAddresses {
		t.Errorf("%d addresses remembered", len(l.clear))
	}
}

func TestPublished(t *testing.T) {
	c := newCA(t, func() time.Time { return time.Now().Truncate(time.Second) })
	h := NewPublishedHandler("EST Test CA", c)
	get := func(method, path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://ca.example/", nil)
		r.URL.Path = path
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return do(h, r)
	}
	if w := get("GET", "/EST Test CA.crl"); w.Code != 404 {
		t.Errorf("no CRL yet: %d", w.Code)
	}
	c.publish(t, 1)
	w := get("GET", "/EST Test CA.crl")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/pkix-crl" || !bytes.Equal(w.Body.Bytes(), c.crl) {
		t.Errorf("CRL: %d %v", w.Code, w.Header())
	}
	etag := w.Header().Get("ETag")
	if w := get("GET", "/EST Test CA.crl", "If-None-Match", etag); w.Code != 304 {
		t.Errorf("unchanged: %d", w.Code)
	}
	c.publish(t, 2)
	if w := get("GET", "/EST Test CA.crl", "If-None-Match", etag); w.Code != 200 {
		t.Errorf("changed: %d", w.Code)
	}
	if w := get("GET", "/EST Test CA.crt"); w.Code != 200 || w.Header().Get("Content-Type") != "application/pkix-cert" || !bytes.Equal(w.Body.Bytes(), c.Certificate().Raw) {
		t.Errorf("certificate: %d %v", w.Code, w.Header())
	}
	if w := get("HEAD", "/EST Test CA.crt"); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
	if w := get("POST", "/EST Test CA.crt"); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
	for _, path := range []string{"/", "/x.crl", "/EST Test CA.crt/", "/../EST Test CA.crt", "/private/ca.key"} {
		if w := get("GET", path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// FuzzSimpleEnroll sends any body, and any Authorization: no panic, and a
// certificate only for a request that authority accepts by a user who may.
func FuzzSimpleEnroll(f *testing.F) {
	good := csr64(f, "host.example")
	ok := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:password of alice"))
	f.Add([]byte(good), ok)
	f.Add([]byte(good[:64]+"\r\n"+good[64:]), ok)
	f.Add([]byte(good), "Basic eDp5")
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----"), ok)
	c := newCA(f, time.Now)
	store := accounts(f)
	f.Fuzz(func(t *testing.T, body []byte, auth string) {
		h := NewHandler(c, store, Options{})
		r := enroll(string(body))
		r.Header.Set("Authorization", auth)
		w := do(h, r)
		_, err := authority.ParseRequest(body)
		name, password, _ := r.BasicAuth()
		may := strings.EqualFold(name, "alice") && password == "password of alice"
		if (w.Code == 200) != (err == nil && may) {
			t.Errorf("%d for %v, allowed %v: %s", w.Code, err, may, w.Body)
		}
		if w.Code == 200 {
			unpack(t, w)
		}
	})
}

package s3_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/s3"
)

// fake opens a Store whose server answers as it likes, without TLS or with it. The
// opening is answered well.
func fake(t *testing.T, answer http.HandlerFunc) *s3.Store {
	t.Helper()
	var opened atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if opened.Load() {
			answer(w, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKTEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
	s, err := s3.Open(t.Context(), s3.Address{Bucket: "bucket", Prefix: "p", Endpoint: server.URL}, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	opened.Store(true)
	return s
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>No&#x9b;31m, thanks\n.</Message></Error>", code)
}

// TestErrors: what servers say, and what a Store says of it.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		code   string
		status int
		want   error
		again  bool
		hint   string
	}{
		{"NoSuchKey", 404, blob.ErrNotFound, false, ""},
		{"NoSuchBucket", 404, blob.ErrNotFound, false, "endpoint"},
		{"AccessDenied", 403, blob.ErrDenied, false, "s3:GetObject"},
		{"SomethingNew", 403, blob.ErrDenied, false, "s3:GetObject"},
		{"InvalidAccessKeyId", 403, blob.ErrDenied, false, "AWS_ACCESS_KEY_ID"},
		{"SignatureDoesNotMatch", 403, blob.ErrDenied, false, "secret key"},
		{"ExpiredToken", 400, blob.ErrDenied, false, "session"},
		{"RequestTimeTooSkewed", 403, blob.ErrDenied, false, "clock"},
		{"SlowDown", 503, nil, true, ""},
		{"InternalError", 500, nil, true, ""},
		{"RequestTimeout", 400, nil, true, ""},
		{"Whatever", 429, nil, true, ""},
		{"InvalidArgument", 400, nil, false, ""},
		{"NotImplemented", 501, blob.ErrUnsupported, false, ""},
		{"PermanentRedirect", 301, nil, false, "region"},
	} {
		requests := 0
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
			requests++
			refuse(w, c.status, c.code)
		})
		begin := time.Now()
		_, err := s.Get(t.Context(), "a/b", 0, -1)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.code, err, c.want)
			continue
		}
		for _, other := range []error{blob.ErrNotFound, blob.ErrExists, blob.ErrDenied, blob.ErrUnsupported, blob.ErrShort} {
			if errors.Is(err, other) != (other == c.want) {
				t.Errorf("%s: %v is %v", c.code, err, other)
			}
		}
		var r interface{ Retryable() bool }
		if again := errors.As(err, &r) && r.Retryable(); again != c.again {
			t.Errorf("%s: %v: worth another try: %v, want %v", c.code, err, again, c.again)
		}
		if h := hint.Of(err); c.hint == "" && h != "" || !strings.Contains(h, c.hint) {
			t.Errorf("%s: hint %q, want one with %q", c.code, h, c.hint)
		}
		if strings.ContainsAny(err.Error(), "\u009b\n") || strings.Contains(err.Error(), "secret-of") {
			t.Errorf("%s: %q", c.code, err)
		}
		if requests != 1 {
			t.Errorf("%s: %d requests in %v: trying again is for package retry", c.code, requests, time.Since(begin))
		}
	}
}

// TestNoServer: a server that is not there, or drops the connection, is worth another
// try; one without TLS is not.
func TestNoServer(t *testing.T) {
	s := fake(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := s.Get(t.Context(), "a", 0, -1)
	var r interface{ Retryable() bool }
	if !errors.As(err, &r) || !r.Retryable() {
		t.Errorf("dropped: %v", err)
	}
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, err = s3.Open(t.Context(), s3.Address{Bucket: "bucket", Endpoint: strings.Replace(server.URL, "http:", "https:", 1)}, s3.Options{})
	if !errors.As(err, &r) || r.Retryable() || !strings.Contains(hint.Of(err), "http://") {
		t.Errorf("no TLS: %v, hint %q", err, hint.Of(err))
	}
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	_, err = s3.Open(t.Context(), s3.Address{Bucket: "bucket", Endpoint: tls.URL}, s3.Options{})
	if !errors.As(err, &r) || r.Retryable() || !strings.Contains(hint.Of(err), "SSL_CERT_FILE") {
		t.Errorf("unknown authority: %v, hint %q", err, hint.Of(err))
	}
}

func TestNoCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, err := s3.Open(t.Context(), s3.Address{Bucket: "bucket", Endpoint: "http://127.0.0.1:1"}, s3.Options{})
	if !errors.Is(err, blob.ErrDenied) || !strings.Contains(hint.Of(err), "AWS_ACCESS_KEY_ID") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

// hostile are answers that a Store must not believe.
func TestHostileGet(t *testing.T) {
	for name, c := range map[string]struct {
		off, n int64
		answer http.HandlerFunc
		want   error
	}{
		"the whole for a part": {10, 5, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100)) }, nil},
		"another part": {10, 5, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-4/100")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 5))
		}, nil},
		"more than asked for": {10, 5, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 10-15/100")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 6))
		}, nil},
		"less": {10, 5, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 10-13/14")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 4))
		}, blob.ErrShort},
		"a size beyond all bounds": {0, -1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<50))
			_, _ = w.Write(make([]byte, 100))
		}, blob.ErrTooLarge},
		"an end before the end": {0, -1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(make([]byte, 100))
		}, nil},
	} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.Header().Set("ETag", `"x"`)
			c.answer(w, r)
		})
		if b, err := s.Get(t.Context(), "a", c.off, c.n); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

// TestHostileList: a listing that leaves out, repeats, or never ends as told is an error and
// not a short listing.
func TestHostileList(t *testing.T) {
	page := func(truncated bool, keys ...string) string {
		s := "<ListBucketResult><IsTruncated>" + fmt.Sprint(truncated) + "</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
		for _, k := range keys {
			s += "<Contents><Key>" + k + "</Key><Size>1</Size><LastModified>2026-11-25T00:00:00.500Z</LastModified></Contents>"
		}
		return s + "</ListBucketResult>"
	}
	for name, c := range map[string]struct {
		page string
		want int // objects before the error
	}{
		"out of order":  {page(false, "p/a/2", "p/a/1"), 1},
		"the same page": {page(true, "p/a/1"), 1},
		"others":        {page(false, "q/a/1"), 0},
		"other prefix":  {page(false, "p/b/1"), 0},
		"no XML":        {"<html>welcome", 0},
		"cut":           {page(false, "p/a/1")[:60], 0},
		"no token":      {strings.ReplaceAll(page(true, "p/a/1"), "<NextContinuationToken>t</NextContinuationToken>", ""), 0},
	} {
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.page) })
		n, failed := 0, 0
		for _, err := range s.List(t.Context(), "a/") {
			if err != nil {
				failed++
			} else {
				n++
			}
		}
		if n != c.want || failed != 1 {
			t.Errorf("%s: %d objects and %d errors, want %d and one", name, n, failed, c.want)
		}
	}
	// Called off between two pages.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pages := 0
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		pages++
		fmt.Fprint(w, page(true, fmt.Sprintf("p/a/%d", pages)))
	})
	var last error
	for _, err := range s.List(ctx, "a/") {
		last = err
		cancel()
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("called off: %v", last)
	}
}

// server keeps what is put, and knows conditional writes or not.
type server struct {
	objects map[string]string
	puts    map[string]int
	ignores bool // the condition, silently
	refuses bool // it, loudly
	denies  string
	busy    string // a key for which there is another writer
}

func (f *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/bucket/p/")
	conditional := r.Header.Get("If-None-Match") == "*"
	_, there := f.objects[key]
	switch {
	case key == f.denies:
		refuse(w, 403, "AccessDenied")
	case r.Method == http.MethodPut && conditional && f.refuses:
		refuse(w, 501, "NotImplemented")
	case r.Method == http.MethodPut && conditional && there && !f.ignores:
		refuse(w, 412, "PreconditionFailed")
	case r.Method == http.MethodPut && key == f.busy:
		refuse(w, 409, "ConditionalRequestConflict")
	case r.Method == http.MethodPut:
		b := new(strings.Builder)
		_ = r.Write(b)
		f.objects[key] = b.String()[strings.Index(b.String(), "\r\n\r\n")+4:]
		f.puts[key]++
	case r.Method == http.MethodHead && there:
		w.Header().Set("Last-Modified", "Wed, 25 Nov 2026 12:00:00 GMT")
		w.Header().Set("Content-Length", fmt.Sprint(len(f.objects[key])))
		w.Header().Set("ETag", `"x"`)
	default:
		refuse(w, 404, "NoSuchKey")
	}
}

// TestConditions: on any kind of server the second Put finds the first, and Check says
// what can be relied on.
func TestConditions(t *testing.T) {
	for name, c := range map[string]struct {
		server server
		known  bool
		trials int // how often the object of the trial was stored
	}{
		"knows":              {server{}, true, 1},
		"ignores":            {server{ignores: true}, false, 2},
		"refuses":            {server{refuses: true}, false, 0},
		"trial not allowed":  {server{denies: ".conditional-write"}, false, 0},
		"ignores, no trials": {server{ignores: true, denies: ".conditional-write"}, false, 0},
	} {
		f := &c.server
		f.objects, f.puts = map[string]string{}, map[string]int{}
		s := fake(t, f.ServeHTTP)
		if i, err := s.Put(t.Context(), "a", []byte("first"), blob.PutOptions{}); err != nil || i.Size != 5 || i.Time.Hour() != 12 {
			t.Errorf("%s: put: %v, %v", name, i, err)
		}
		if _, err := s.Put(t.Context(), "a", []byte("second"), blob.PutOptions{}); !errors.Is(err, blob.ErrExists) {
			t.Errorf("%s: put again: %v", name, err)
		}
		if f.objects["a"] != "first" || f.puts["a"] != 1 || f.puts[".conditional-write"] != c.trials {
			t.Errorf("%s: holds %q, put %v", name, f.objects["a"], f.puts)
		}
		found, err := s.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range found {
			if x.Code == "conditional-write" && (x.OK != c.known || x.OK != (x.Hint == "")) {
				t.Errorf("%s: %+v", name, x)
			}
		}
	}
	// Two writers at the same moment: whose it is, is not known yet.
	f := &server{objects: map[string]string{}, puts: map[string]int{}, busy: "a"}
	s := fake(t, f.ServeHTTP)
	_, err := s.Put(t.Context(), "a", []byte("x"), blob.PutOptions{})
	var r interface{ Retryable() bool }
	if !errors.As(err, &r) || !r.Retryable() || errors.Is(err, blob.ErrExists) {
		t.Errorf("conflict: %v", err)
	}
}

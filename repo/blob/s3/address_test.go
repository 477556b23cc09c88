package s3_test

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob/s3"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]s3.Address{
		"s3://bucket":          {Bucket: "bucket"},
		"s3://bucket/":         {Bucket: "bucket"},
		"s3://bucket/a/B_c/d/": {Bucket: "bucket", Prefix: "a/B_c/d"},
		"s3://my.bucket/p?endpoint=https://s3.example.org:9000&region=eu-1&path-style=false&lock=governance": {
			Bucket: "my.bucket", Prefix: "p", Endpoint: "https://s3.example.org:9000", Region: "eu-1", PathStyle: "false", Lock: "governance"},
		"s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A7070&path-style=true&lock=compliance": {
			Bucket: "bucket", Endpoint: "http://127.0.0.1:7070", PathStyle: "true", Lock: "compliance"},
	} {
		a, err := s3.ParseAddress(text)
		if err != nil || !reflect.DeepEqual(a, want) {
			t.Errorf("%s: %+v, %v; want %+v", text, a, err, want)
		}
		if b, err := s3.ParseAddress(a.String()); err != nil || a != b {
			t.Errorf("%s: again from %s: %+v, %v", text, a, b, err)
		}
	}
}

func TestBadAddress(t *testing.T) {
	for _, text := range []string{
		"", "bucket", "s3:bucket", "S4://bucket", "https://bucket", "s3://", "s3:///prefix", "s3://B", "s3://bucket_x", "s3://bucket:90/x", "s3://bucket#x", "s3://bucket/a//b",
		"s3://bucket/a/../b", "s3://bucket/a%00b", "s3://bucket/a%20b", "s3://bucket?endpoint=s3.example.org", "s3://bucket?endpoint=ftp://x", "s3://bucket?endpoint=https://x/y",
		"s3://bucket?endpoint=https://", "s3://bucket?endpoint=https://x?y=z", "s3://bucket?path-style=yes", "s3://bucket?lock=on", "s3://bucket?region=a&region=b",
		"s3://bucket?regoin=x", "s3://bucket?region=%zz", "s3://bucket/" + strings.Repeat("a", 401), "s3://127.0.0.1/x",
	} {
		if a, err := s3.ParseAddress(text); err == nil {
			t.Errorf("%s: %+v", text, a)
		}
	}
}

// TestAddressWithSecret: it is refused, with a hint, and not repeated.
func TestAddressWithSecret(t *testing.T) {
	for _, text := range []string{
		"s3://AKIAX:hunter2@bucket/p", "s3://hunter2@bucket", "s3://bucket?access-key=a&endpoint=https://x", "s3://bucket?secret-key=hunter2", "s3://bucket?AWS_SECRET_ACCESS_KEY=hunter2",
		"s3://bucket?X-Amz-Signature=hunter2", "s3://bucket?session-token=hunter2", "s3://bucket?password=hunter2", "s3://bucket?endpoint=https://me:hunter2@x",
	} {
		_, err := s3.ParseAddress(text)
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(hint.Of(err), "AWS_ACCESS_KEY_ID") {
			t.Errorf("%s: %v, hint %q", text, err, hint.Of(err))
		}
	}
	for _, text := range []string{"s3://me:hunter2@buc ket", "s3://me:hunter2@bucket:x/", "s3://bucket/%hunter2@", "s3://bucket\x7f?secret=hunter2"} {
		if _, err := s3.ParseAddress(text); err == nil || strings.Contains(err.Error(), "hunter2@") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAddressProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := "s3://" + rapid.StringMatching(`[a-z]{3,9}(/[A-Za-z0-9._~%?&=:-]{0,6}){0,3}`).Draw(t, "text")
		a, err := s3.ParseAddress(text)
		if err != nil {
			return
		}
		if b, err := s3.ParseAddress(a.String()); err != nil || a != b {
			t.Fatalf("%q is %+v, and that is written %q: %+v, %v", text, a, a, b, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"s3://bucket/p?endpoint=https://x:1&region=r&path-style=true&lock=governance", "s3://a:b@c", "s3://[::1]/", "s3://bucket?%", "s3://bucket/%2e%2e/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := s3.ParseAddress(text)
		if err != nil {
			return
		}
		if b, err := s3.ParseAddress(a.String()); err != nil || a != b {
			t.Errorf("%q is %+v, and that is written %q: %+v, %v", text, a, a, b, err)
		}
	})
}

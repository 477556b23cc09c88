package s3_test

import (
	"errors"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/blobtest"
	"github.com/certkeep/certkeep/repo/blob/s3"
	"github.com/certkeep/certkeep/repo/blob/s3/s3test"
)

func open(t *testing.T, server *s3test.Server, a s3.Address) *s3.Store {
	t.Helper()
	a.Endpoint = server.Endpoint
	s, err := s3.Open(t.Context(), a, s3.Options{Transport: server.Transport, PageSize: 7})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func suite(t *testing.T, server *s3test.Server, a s3.Address, lock bool) {
	blobtest.Run(t, blobtest.Options{
		Retains: lock, Tombstones: lock, Objects: 150, Large: 2<<20 + 5, Secrets: []string{server.AccessKey, server.SecretKey},
		New: func(t *testing.T) func() blob.Store {
			a := a
			a.Bucket = server.Bucket(lock)
			return func() blob.Store { return open(t, server, a) }
		},
	})
}

func TestSuite(t *testing.T) {
	t.Run("path", func(t *testing.T) { suite(t, s3test.Start(t, s3test.Options{}), s3.Address{PathStyle: "true"}, false) })
	t.Run("tls virtual prefix", func(t *testing.T) {
		suite(t, s3test.Start(t, s3test.Options{TLS: true, Virtual: true}), s3.Address{PathStyle: "false", Prefix: "pre/Fix"}, false)
	})
	t.Run("locked", func(t *testing.T) {
		suite(t, s3test.Start(t, s3test.Options{Versions: true}), s3.Address{Prefix: "certkeep"}, true)
	})
}

func TestMissingBucket(t *testing.T) {
	server := s3test.Start(t, s3test.Options{})
	_, err := s3.Open(t.Context(), s3.Address{Bucket: "no-such-bucket", Endpoint: server.Endpoint}, s3.Options{})
	if !errors.Is(err, blob.ErrNotFound) || hint.Of(err) == "" {
		t.Errorf("open: %v, hint %q", err, hint.Of(err))
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	_, err = s3.Open(t.Context(), s3.Address{Bucket: server.Bucket(false), Endpoint: server.Endpoint}, s3.Options{})
	if err == nil { // the answer to HEAD has no code, and so a wrong key looks like a missing right
		s, _ := s3.Open(t.Context(), s3.Address{Bucket: server.Bucket(false), Endpoint: server.Endpoint}, s3.Options{})
		_, err = s.Put(t.Context(), "a", nil, blob.PutOptions{})
	}
	if !errors.Is(err, blob.ErrDenied) || hint.Of(err) == "" {
		t.Errorf("wrong key: %v, hint %q", err, hint.Of(err))
	}
}

func TestCheck(t *testing.T) {
	server := s3test.Start(t, s3test.Options{Versions: true})
	for _, c := range []struct {
		name                   string
		versions, lock, policy bool
	}{{name: "plain"}, {name: "versions", versions: true}, {name: "lock", versions: true, lock: true}, {name: "lock by default", versions: true, lock: true, policy: true}} {
		bucket := server.Bucket(c.lock)
		if c.versions {
			server.Versions(bucket)
		}
		if c.policy {
			mode, validity, unit := minio.Governance, uint(3), minio.Days
			if err := server.Client().SetBucketObjectLockConfig(t.Context(), bucket, &mode, &validity, &unit); err != nil {
				t.Fatal(err)
			}
		}
		found, err := open(t, server, s3.Address{Bucket: bucket}).Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{"versioning": c.versions, "object-lock": c.lock, "conditional-write": true}
		for _, f := range found {
			if ok, asked := want[f.Code]; !asked || f.OK != ok || f.Text == "" || f.OK != (f.Hint == "") {
				t.Errorf("%s: %+v", c.name, f)
			}
			delete(want, f.Code)
			t.Logf("%s: %s: %v %s", c.name, f.Code, f.OK, f.Text)
		}
		if len(want) > 0 {
			t.Errorf("%s: not said: %v", c.name, want)
		}
	}
}

// TestRetained: the server keeps the version of an object that is deleted before its
// time, and does not let it go.
func TestRetained(t *testing.T) {
	ctx := t.Context()
	server := s3test.Start(t, s3test.Options{Versions: true})
	for lock, mode := range map[string]minio.RetentionMode{"": minio.Compliance, "governance": minio.Governance} {
		bucket := server.Bucket(true)
		s := open(t, server, s3.Address{Bucket: bucket, Prefix: "p", Lock: lock})
		until := time.Now().Add(time.Hour).Truncate(time.Second)
		if _, err := s.Put(ctx, "a/b", []byte("kept"), blob.PutOptions{RetainUntil: until}); err != nil {
			t.Fatal(err)
		}
		o, err := server.Client().StatObject(ctx, bucket, "p/a/b", minio.StatObjectOptions{})
		if err != nil || o.VersionID == "" {
			t.Fatalf("version %q, %v", o.VersionID, err)
		}
		if m, at := o.Metadata.Get("X-Amz-Object-Lock-Mode"), o.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"); m != mode.String() || at != until.UTC().Format(time.RFC3339) {
			t.Errorf("retention: %q until %q; want %v until %v", m, at, mode, until)
		}
		if err := s.Delete(ctx, "a/b"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stat(ctx, "a/b"); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
		if err := server.Client().RemoveObject(ctx, bucket, "p/a/b", minio.RemoveObjectOptions{VersionID: o.VersionID}); err == nil {
			t.Error("the locked version could be deleted")
		}
	}
	s := open(t, server, s3.Address{Bucket: server.Bucket(false)})
	_, err := s.Put(ctx, "a", []byte("x"), blob.PutOptions{RetainUntil: time.Now().Add(time.Hour)})
	if !errors.Is(err, blob.ErrUnsupported) || hint.Of(err) == "" {
		t.Errorf("without object lock: %v, hint %q", err, hint.Of(err))
	}
}

// TestChecksum: the server has what it needs to find bytes that changed on the way.
func TestChecksum(t *testing.T) {
	server := s3test.Start(t, s3test.Options{})
	bucket := server.Bucket(false)
	if _, err := open(t, server, s3.Address{Bucket: bucket}).Put(t.Context(), "a", []byte("123456789"), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	o, err := server.Client().StatObject(t.Context(), bucket, "a", minio.StatObjectOptions{Checksum: true})
	if err != nil || o.ChecksumCRC32C != "4waSgw==" { // CRC-32C of "123456789" is e3069283 (RFC 3720, as check value of the polynomial)
		t.Errorf("checksum %q, %v", o.ChecksumCRC32C, err)
	}
}

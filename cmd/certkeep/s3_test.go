package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/certkeep/certkeep/repo/blob/s3/s3test"
)

// certkeep runs a command line in this process.
func certkeep(t *testing.T, exit int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if got := Run(t.Context(), args, nil, &out, &errs); got != exit {
		t.Fatalf("certkeep %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, exit, &out, &errs)
	}
	return out.String() + errs.String()
}

// The whole way of a repository in a bucket of a real S3 server.
func TestRepositoryInBucket(t *testing.T) {
	server := s3test.Start(t, s3test.Options{Versions: true})
	bucket := server.Bucket(true)
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	t.Setenv("HOME", dir)
	r := "s3://" + bucket + "/ca01?endpoint=" + server.Endpoint
	pki, key := filepath.Join(dir, "pki"), filepath.Join(dir, "restore.key")
	certkeep(t, exitNoRepo, "list", "-r", r)
	certkeep(t, exitOK, "ca", "init", pki, "--name", "Example CA")
	certkeep(t, exitOK, "init", "-r", r, "--identity-out", key)
	certkeep(t, exitFailed, "init", "-r", r, "--identity-out", key+"2")
	certkeep(t, exitOK, "backup", "ca:"+pki, "-r", r, "--retain-until", "1d")
	certkeep(t, exitOK, "ca", "issue", pki, "--subject", "CN=one")
	if out := certkeep(t, exitOK, "backup", "ca:"+pki, "-r", r); !strings.Contains(out, "incremental (continues ") {
		t.Errorf("the second set:\n%s", out)
	}
	certkeep(t, exitOK, "verify", "-r", r, "--level", "sealed")
	certkeep(t, exitSecret, "drill", "-r", r)
	certkeep(t, exitOK, "drill", "-r", r, "--identity", key)
	certkeep(t, exitOK, "verify", "-r", r, "--identity", key)
	certkeep(t, exitOK, "list", "-r", r, "--max-age", "1h", "--level", "database")
	if out := certkeep(t, exitOK, "doctor", "-r", r); !strings.Contains(out, "object-lock") || !strings.Contains(out, "versioning") {
		t.Errorf("doctor says nothing of the bucket:\n%s", out)
	}
	certkeep(t, exitUnreachable, "list", "-r", "s3://"+bucket+"/ca01?endpoint=http://127.0.0.1:1")

	// What --retain-until locked, nobody deletes; the second set was not locked.
	locked, open := 0, 0
	for o := range server.Client().ListObjects(context.Background(), bucket, minio.ListObjectsOptions{Prefix: "ca01/packs/", Recursive: true, WithVersions: true}) {
		err := server.Client().RemoveObject(context.Background(), bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true})
		if err != nil {
			locked++
		} else {
			open++
		}
	}
	if locked == 0 || open == 0 {
		t.Errorf("%d packs are locked, %d are not", locked, open)
	}
	certkeep(t, exitDamage, "verify", "-r", r, "--level", "inventory")
}

// Package s3 is a blob.Store in a bucket of Amazon S3 or of a server that speaks the
// same protocol. See [Address] for its name, and [Open] for credentials.
//
// An object is one PUT, with a checksum that the server verifies, and with
// "If-None-Match: *", by which servers refuse to replace. Whether a server knows that
// is tried once, on the object ".conditional-write" of the prefix, which stays. Where it
// does not, the Store asks first whether the object is there, and two that write the same at
// the same moment may replace each other's; Check says so.
//
// Info.Time is the server's, in whole seconds. Deleting in a bucket with versions leaves
// the data and a marker. Nothing is tried twice: that is for package retry.
//
// The permissions that it takes: s3:ListBucket of the bucket (the prefix), s3:GetObject and
// s3:PutObject of its objects, s3:PutObjectRetention for RetainUntil, s3:DeleteObject
// only to prune, and for Check s3:GetBucketVersioning and s3:GetBucketObjectLockConfiguration.
package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5, which object lock asks for, guards against accidents
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
)

// Connections is how many requests at once a Store keeps connections for.
const Connections = 64

// Options are for tests and for programs that know better.
type Options struct {
	// Transport replaces the one with timeouts and many connections.
	Transport http.RoundTripper
	// PageSize is how many keys the server is asked for at a time, when listing; its own
	// choice (1,000) if zero.
	PageSize int
}

// Store is a blob.Store in a bucket.
type Store struct {
	a      Address
	core   minio.Core
	secure bool
	page   int
	prefix string // empty, or ending in "/"

	// Whoever asks the server what it knows holds the turn.
	turn      chan struct{}
	condition knowledge // whether it knows conditional writes
	locks     knowledge // whether the bucket has object lock
}

// Open opens a bucket that is there; otherwise it fails with blob.ErrNotFound.
//
// Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and
// AWS_SESSION_TOKEN), else from the file ~/.aws/credentials
// (AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE), else from the role of the machine, container or
// pod, unless AWS_EC2_METADATA_DISABLED is true.
func Open(ctx context.Context, a Address, o Options) (*Store, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	host, secure, err := a.host()
	if err != nil {
		return nil, err
	}
	creds, err := findCredentials(ctx)
	if err != nil {
		return nil, err
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	client, err := minio.New(host, &minio.Options{
		Creds: creds, Secure: secure, Region: a.region(), BucketLookup: a.lookup(), MaxRetries: 1, Transport: bounded{o.Transport},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	client.SetAppInfo("certkeep", "1")
	s := &Store{a: a, core: minio.Core{Client: client}, secure: secure, page: o.PageSize, turn: make(chan struct{}, 1)}
	if a.Prefix != "" {
		s.prefix = a.Prefix + "/"
	}
	there, err := client.BucketExists(ctx, a.Bucket)
	if err = s.mapped(ctx, "bucket", "", err); errors.Is(err, blob.ErrDenied) && credentialsTaken(err) {
		// Who may see only a prefix may not ask this. The first request shows.
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, s.noBucket()
	}
	return s, nil
}

func findCredentials(ctx context.Context) (*credentials.Credentials, error) {
	providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}
	if !strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		// A machine without a role does not answer, and nobody wants to wait for it.
		providers = append(providers, &credentials.IAM{Client: &http.Client{Timeout: 3 * time.Second}})
	}
	c := credentials.NewChainCredentials(providers)
	v, err := c.GetWithContext(&credentials.CredContext{Client: http.DefaultClient, Context: ctx})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err != nil || v.SignerType.IsAnonymous() || v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return nil, hint.With(fmt.Errorf("%w: no credentials for the bucket", blob.ErrDenied), whereCredentials)
	}
	return c, nil
}

// Location is the address.
func (s *Store) Location() string { return s.a.String() }

// Put is that of blob.Store. RetainUntil locks the object in the address' mode; where the
// bucket has no object lock it is blob.ErrUnsupported.
func (s *Store) Put(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Info, error) {
	if err := errors.Join(blob.ValidatePut(key, data), ctx.Err()); err != nil {
		return blob.Info{}, err
	}
	if !o.RetainUntil.IsZero() {
		// Some servers store the object first, and then find that they cannot lock it.
		if locks, err := s.lockable(ctx); err != nil {
			return blob.Info{}, err
		} else if locks == no {
			return blob.Info{}, noLock(fmt.Errorf("put %s: the bucket cannot lock objects", key))
		}
	}
	known, err := s.conditional(ctx)
	if err != nil {
		return blob.Info{}, err
	}
	if known != yes {
		if _, err := s.Stat(ctx, key); err == nil {
			return blob.Info{}, fmt.Errorf("%s: %w", key, blob.ErrExists)
		} else if !errors.Is(err, blob.ErrNotFound) {
			return blob.Info{}, err
		}
	}
	err = s.send(ctx, s.prefix+key, data, o, known != no)
	if isConflict(err) {
		// Someone writes the same just now; who wins is not known yet.
		if _, e := s.Stat(ctx, key); e == nil {
			return blob.Info{}, fmt.Errorf("%s: %w", key, blob.ErrExists)
		}
	}
	if err != nil {
		return blob.Info{}, s.mappedPut(ctx, key, err, o)
	}
	if o.Untimed { // the checksum covers every byte
		return blob.Info{Key: key, Size: int64(len(data))}, nil
	}
	i, err := s.Stat(ctx, key)
	if err == nil && i.Size != int64(len(data)) {
		err = fmt.Errorf("%s: the server stored %d bytes of %d", key, i.Size, len(data))
	}
	return i, err
}

// send is one PUT. TLS keeps the bytes from being changed; without it the signature has to
// cover them.
func (s *Store) send(ctx context.Context, name string, data []byte, o blob.PutOptions, condition bool) error {
	crc := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	p := minio.PutObjectOptions{
		DisableContentSha256: true, DisableMultipart: true, ContentType: "application/octet-stream",
		UserMetadata: map[string]string{"x-amz-checksum-crc32c": base64.StdEncoding.EncodeToString(crc)},
	}
	if condition {
		p.SetMatchETagExcept("*")
	}
	var md5Base64, sha256Hex string
	if !o.RetainUntil.IsZero() {
		p.Mode, p.RetainUntilDate = s.a.mode(), o.RetainUntil
		sum := md5.Sum(data) //nolint:gosec // see above
		md5Base64 = base64.StdEncoding.EncodeToString(sum[:])
	}
	if !s.secure {
		sum := sha256.Sum256(data)
		sha256Hex = hex.EncodeToString(sum[:])
	}
	_, err := s.core.PutObject(ctx, s.a.Bucket, name, bytes.NewReader(data), int64(len(data)), md5Base64, sha256Hex, p)
	return err
}

// Stat is that of blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := errors.Join(blob.ValidateKey(key), ctx.Err()); err != nil {
		return blob.Info{}, err
	}
	o, err := s.core.Client.StatObject(ctx, s.a.Bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return blob.Info{}, s.mapped(ctx, "stat", key, err)
	}
	return info(key, o), nil
}

func info(key string, o minio.ObjectInfo) blob.Info {
	return blob.Info{Key: key, Size: o.Size, Time: o.LastModified.Truncate(time.Second).UTC()}
}

// Delete is that of blob.Store. In a bucket with versions it leaves the data.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := errors.Join(blob.ValidateKey(key), ctx.Err()); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.a.Bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if err = s.mapped(ctx, "delete", key, err); errors.Is(err, blob.ErrNotFound) && !isNoBucket(err) {
		return nil
	}
	return err
}

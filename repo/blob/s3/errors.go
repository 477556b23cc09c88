package s3

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
)

// failure is what a server, or the way to it, answered.
type failure struct {
	text  string
	kind  error // one of blob's, or nil
	cause error // of the way to the server; nil if the server answered
	code  string
	hint  string
	again bool
}

func (f *failure) Error() string {
	if f.kind != nil {
		return fmt.Sprintf("%s: %v", f.text, f.kind)
	}
	return f.text
}

func (f *failure) Hint() string { return f.hint }

// Retryable reports whether the same request may succeed later.
func (f *failure) Retryable() bool { return f.again }

func (f *failure) Unwrap() []error {
	var out []error
	for _, err := range []error{f.kind, f.cause} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

// code is the server's word for an error.
func code(err error) string {
	var r minio.ErrorResponse
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// isConflict: a conditional write met another one.
func isConflict(err error) bool {
	var r minio.ErrorResponse
	return errors.As(err, &r) && r.StatusCode == http.StatusConflict
}

func isNoBucket(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.code == minio.NoSuchBucket
}

// credentialsTaken: the server knows who asks, and will not let them do this.
func credentialsTaken(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.code == minio.AccessDenied
}

func again(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.again
}

func (s *Store) noBucket() error {
	return &failure{text: "bucket " + s.a.Bucket, kind: blob.ErrNotFound, code: minio.NoSuchBucket,
		hint: "look at the bucket's name, the endpoint and the region; certkeep makes no buckets"}
}

const renew = "look at AWS_ACCESS_KEY_ID and the others, or at the profile in ~/.aws/credentials"

// meanings are the codes that say more than their status.
var meanings = map[string]failure{
	minio.NoSuchKey:                {kind: blob.ErrNotFound},
	"NotFound":                     {kind: blob.ErrNotFound},
	minio.PreconditionFailed:       {kind: blob.ErrExists},
	minio.AccessDenied:             {kind: blob.ErrDenied, hint: "allow s3:ListBucket on the bucket, s3:GetObject and s3:PutObject on its objects (s3:DeleteObject only to prune); without s3:ListBucket a missing object is denied too"},
	"AllAccessDisabled":            {kind: blob.ErrDenied, hint: "the bucket's owner has closed it"},
	"AccountProblem":               {kind: blob.ErrDenied, hint: "the account is barred: ask who runs the server"},
	"InvalidAccessKeyId":           {kind: blob.ErrDenied, hint: "the server does not know the access key: " + renew},
	"SignatureDoesNotMatch":        {kind: blob.ErrDenied, hint: "the secret key does not belong to the access key: " + renew},
	"ExpiredToken":                 {kind: blob.ErrDenied, hint: "the session has ended: " + renew},
	"InvalidToken":                 {kind: blob.ErrDenied, hint: "AWS_SESSION_TOKEN does not belong to the key: " + renew},
	"RequestTimeTooSkewed":         {kind: blob.ErrDenied, hint: "this machine's clock and the server's differ by more than 15 minutes: set the clock"},
	"RequestExpired":               {kind: blob.ErrDenied, hint: "this machine's clock and the server's differ by more than 15 minutes: set the clock"},
	"AuthorizationHeaderMalformed": {kind: blob.ErrDenied, hint: "add the bucket's region to the address: region=…"},
	"IncorrectEndpoint":            {hint: "the bucket is elsewhere: look at endpoint and region"},
	"PermanentRedirect":            {hint: "the bucket is in another region: add region=… to the address"},
	"SlowDown":                     {again: true},
	"RequestTimeout":               {again: true},
	"OperationAborted":             {again: true},
	"ConditionalRequestConflict":   {again: true},
	minio.Conflict:                 {again: true},
	"BadDigest":                    {again: true}, // bytes were changed on the way
	"XAmzContentSHA256Mismatch":    {again: true},
	"XAmzContentChecksumMismatch":  {again: true},
	"QuotaExceeded":                {hint: "there is no more room: prune, or have the quota raised"},
	"XMinioStorageFull":            {hint: "the server's disks are full"},
	"InvalidObjectState":           {hint: "the object is in an archive: restore it there first"},
	"MethodNotAllowed":             {kind: blob.ErrDenied, hint: "the object is locked, or the server does not have this"},
	"ObjectLocked":                 {kind: blob.ErrDenied, hint: "the object is locked until its time"},
	minio.NotImplemented:           {kind: blob.ErrUnsupported},
}

// mapped says what an error of minio-go means.
func (s *Store) mapped(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	if e := ctx.Err(); e != nil {
		return fmt.Errorf("%s %s: %w", op, key, e)
	}
	what := strings.TrimSpace(op + " " + key)
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		f := &failure{text: fmt.Sprintf("%s: %v", what, err), cause: err, again: true}
		var authority x509.UnknownAuthorityError
		var name x509.HostnameError
		var invalid x509.CertificateInvalidError
		switch {
		case errors.As(err, &authority):
			f.again, f.hint = false, "have this machine trust the server's authority, or name its certificates in SSL_CERT_FILE"
		case errors.As(err, &name):
			f.again, f.hint = false, "the server's certificate is for another name: look at endpoint, and at path-style"
		case errors.As(err, &invalid):
			f.again, f.hint = false, "the server's certificate is not valid: look at its dates and this machine's clock"
		case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
			f.again, f.hint = false, "the server has no TLS there: look at the port, or write endpoint=http://…"
		}
		return f
	}
	if r.Code == minio.NoSuchBucket {
		return s.noBucket()
	}
	f, known := meanings[r.Code]
	f.code = r.Code
	f.text = what + ": " + said(r)
	if f.kind == blob.ErrNotFound || f.kind == blob.ErrExists {
		f.text = key
	}
	switch {
	case r.StatusCode >= 500 && r.StatusCode != http.StatusNotImplemented, r.StatusCode == http.StatusTooManyRequests,
		r.StatusCode == http.StatusRequestTimeout:
		f.again = true
	case known:
	case r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusUnauthorized:
		f.kind, f.hint = blob.ErrDenied, meanings[minio.AccessDenied].hint
	case r.StatusCode == http.StatusNotImplemented:
		f.kind = blob.ErrUnsupported
	}
	return &f
}

// said is the server's text, made fit for a terminal.
func said(r minio.ErrorResponse) string {
	clean := func(s string, most int) string {
		s = strings.Map(func(c rune) rune {
			if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
				return ' '
			}
			return c
		}, strings.ToValidUTF8(s, "?"))
		if len(s) > most {
			s = strings.ToValidUTF8(s[:most], "") + "…"
		}
		return s
	}
	return strings.TrimSpace(fmt.Sprintf("%s (%s, status %d)", clean(strings.TrimSuffix(r.Message, "."), 200), clean(r.Code, 60), r.StatusCode))
}

// mappedPut knows what servers say to a lock that they do not have.
func (s *Store) mappedPut(ctx context.Context, key string, err error, o blob.PutOptions) error {
	mapped := s.mapped(ctx, "put", key, err)
	if o.RetainUntil.IsZero() || ctx.Err() != nil {
		return mapped
	}
	switch c := code(err); {
	case c == "InvalidBucketState", c == minio.NotImplemented, strings.HasPrefix(c, "ObjectLockConfigurationNotFound"),
		c == "InvalidRequest" && strings.Contains(strings.ReplaceAll(err.Error(), " ", ""), "ObjectLock"):
		return noLock(mapped)
	}
	return mapped
}

func noLock(err error) error {
	return hint.With(fmt.Errorf("%w: %w", err, blob.ErrUnsupported), "a bucket gets object lock when it is made, or from who runs the server")
}

package s3

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/certkeep/certkeep/internal/hint"
)

// Scheme begins an address.
const Scheme = "s3://"

// Address says where a bucket is:
//
//	s3://BUCKET[/PREFIX][?endpoint=URL&region=R&path-style=true|false&lock=compliance|governance]
//
// No part of it is secret.
type Address struct {
	Bucket string
	Prefix string // without "/" at its ends; may be empty
	// Endpoint is the server, "https://host[:port]"; Amazon's where it is not given. TLS
	// is left out only where it says "http://".
	Endpoint string
	// Region, where it is not given, is that of AWS_REGION or AWS_DEFAULT_REGION, or else
	// Amazon is asked, and others get us-east-1, which most of them take.
	Region string
	// PathStyle says whether the bucket is named in the path ("true") or in the host's name
	// ("false"). Empty is what suits the endpoint: the host's name at Amazon's, Google's and
	// Alibaba's, the path elsewhere.
	PathStyle string
	// Lock is the mode of what is put with RetainUntil. "compliance", which is the default:
	// nobody can delete it before its time, not even the owner of the account. With
	// "governance" whoever has s3:BypassGovernanceRetention can.
	Lock string
}

// secretive are parts of names of parameters that would carry credentials.
var secretive = []string{"key", "secret", "token", "password", "credential", "signature", "amz", "auth"}

const whereCredentials = "credentials are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), from the file " +
	"~/.aws/credentials (AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE), or from the machine's role; if they were in an address, renew them: it may be in a history or log"

// ParseAddress reads an address. An error does not repeat what may be secret in it.
func ParseAddress(s string) (Address, error) {
	bad := func(format string, args ...any) (Address, error) {
		return Address{}, fmt.Errorf("address of a bucket: "+format, args...)
	}
	u, err := url.Parse(s)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the address
		}
		return bad("%w", err)
	}
	switch {
	case u.Scheme+"://" != Scheme:
		return bad("does not begin with %s", Scheme)
	case u.User != nil:
		return Address{}, hint.With(errors.New("address of a bucket: has a user in it"), whereCredentials)
	case u.Port() != "" || u.Fragment != "" || u.Opaque != "":
		return bad("is not of the form s3://BUCKET/PREFIX?endpoint=…")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("after the question mark: badly escaped")
	}
	a := Address{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for name, values := range q {
		if len(values) != 1 {
			return bad("%q is there %d times", name, len(values))
		}
		v := values[0]
		switch {
		case name == "endpoint":
			a.Endpoint = v
		case name == "region":
			a.Region = v
		case name == "path-style" && (v == "true" || v == "false"):
			a.PathStyle = v
		case name == "lock" && (v == "compliance" || v == "governance"):
			a.Lock = v
		case name == "path-style":
			return bad("path-style is true or false")
		case name == "lock":
			return bad("lock is compliance or governance")
		case slices.ContainsFunc(secretive, func(part string) bool { return strings.Contains(strings.ToLower(name), part) }):
			return Address{}, hint.With(fmt.Errorf("address of a bucket: %q does not belong there", name), whereCredentials)
		default:
			return bad("%q is not known; it may have endpoint, region, path-style and lock", name)
		}
	}
	return a, a.validate()
}

func (a Address) validate() error {
	if err := s3utils.CheckValidBucketNameStrict(a.Bucket); err != nil {
		return fmt.Errorf("address of a bucket: %q: %w", a.Bucket, err)
	}
	if a.Prefix != "" {
		if len(a.Prefix) > 400 {
			return errors.New("address of a bucket: its prefix is too long")
		}
		for e := range strings.SplitSeq(a.Prefix, "/") {
			if e == "" || e == "." || e == ".." || strings.ContainsFunc(e, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
				return fmt.Errorf("address of a bucket: %q is no prefix", a.Prefix)
			}
		}
	}
	_, _, err := a.host()
	return err
}

// host is the server, and whether it is reached by TLS.
func (a Address) host() (string, bool, error) {
	if a.Endpoint == "" {
		return "s3.amazonaws.com", true, nil
	}
	u, err := url.Parse(a.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return "", false, errors.New("address of a bucket: endpoint is not of the form https://host:port")
	case u.User != nil:
		return "", false, hint.With(errors.New("address of a bucket: endpoint has a user in it"), whereCredentials)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", false, errors.New("address of a bucket: endpoint has more than a host and a port")
	case u.Scheme != "https" && u.Scheme != "http":
		return "", false, errors.New("address of a bucket: endpoint does not begin with https:// (or http://, without TLS)")
	}
	return u.Host, u.Scheme == "https", nil
}

// String is the address again.
func (a Address) String() string {
	q := url.Values{}
	for name, v := range map[string]string{"endpoint": a.Endpoint, "region": a.Region, "path-style": a.PathStyle, "lock": a.Lock} {
		if v != "" {
			q.Set(name, v)
		}
	}
	s := Scheme + a.Bucket
	if a.Prefix != "" {
		s += "/" + (&url.URL{Path: a.Prefix}).EscapedPath()
	}
	if len(q) > 0 {
		// The characters of an endpoint need no escape here, and read better without.
		s += "?" + strings.NewReplacer("%3A", ":", "%2F", "/").Replace(q.Encode())
	}
	return s
}

func (a Address) region() string {
	host, _, _ := a.host()
	for _, r := range []string{a.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")} {
		if r != "" {
			return r
		}
	}
	if host == "s3.amazonaws.com" {
		return "" // minio-go asks
	}
	if s3utils.IsAmazonEndpoint(url.URL{Host: host}) {
		return s3utils.GetRegionFromURL(url.URL{Host: host})
	}
	return "us-east-1"
}

func (a Address) lookup() minio.BucketLookupType {
	switch a.PathStyle {
	case "true":
		return minio.BucketLookupPath
	case "false":
		return minio.BucketLookupDNS
	}
	return minio.BucketLookupAuto
}

func (a Address) mode() minio.RetentionMode {
	if a.Lock == "governance" {
		return minio.Governance
	}
	return minio.Compliance
}

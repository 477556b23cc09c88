package certsrv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// Result is what became of a request.
type Result struct {
	RequestID   int64
	Disposition schema.Disposition // Issued, Pending, Denied or Failed
	Message     string

	// Of an issued certificate only.
	Certificate []byte // DER
	Serial      string // as [schema.SerialText]
}

// Bounds of request attributes; the lengths are those of AD CS's columns.
const (
	maxAttributes     = 32
	maxAttributeName  = 254
	maxAttributeValue = 8192
)

// ProfileAttribute is the request attribute that chooses the certificate's
// profile by name, see [authority.ParseProfile]. AD CS names a template so.
const ProfileAttribute = "CertificateTemplate"

// Submit judges a request (PKCS#10 in DER, PEM or base64) and issues a
// certificate or, if the authority does not issue by itself, leaves the request
// pending for an officer. When it returns a certificate, that is in the
// database and on disk. It needs the Enroll right.
//
// A request that breaks a rule is recorded as a failed one: the Result has its
// id, and the error is a *[authority.RequestError].
//
// When ctx ends while the request is being stored, the outcome is unknown.
func (s *Server) Submit(ctx context.Context, p account.Principal, csr []byte, attrs map[string]string) (Result, error) {
	var none Result
	if err := account.Check(account.Submit, p); err != nil {
		return none, err
	}
	r, leave, err := s.enter()
	if err != nil {
		return none, err
	}
	defer leave()
	r.issuing.Add(1)
	defer r.issuing.Add(-1)
	list, err := attributes(attrs)
	if err != nil {
		return none, err
	}
	profile, err := authority.ParseProfile(attrs[ProfileAttribute])
	if err != nil {
		return none, err
	}
	return r.submit(ctx, p, csr, profile, list)
}

func (r *run) submit(ctx context.Context, p account.Principal, csr []byte, profile authority.Profile, attrs []attribute) (Result, error) {
	now := r.s.clock.Now()
	req, err := policyFor(profile).ParseRequest(csr)
	if err != nil {
		return r.refuse(ctx, p, csr, attrs, now, err)
	}
	w, err := requestRow(req, p.Name, attrs, now)
	if err != nil {
		return r.refuse(ctx, p, csr, attrs, now, &authority.RequestError{Reason: authority.ReasonSubject, Detail: err.Error()})
	}
	if !r.s.config().AutoIssue {
		w.disposition, w.message = schema.Pending, "Taken Under Submission"
		if err := r.store(ctx, w); err != nil {
			return Result{}, err
		}
		r.waiting.add(w.raw, p.Name, w.id)
		return Result{RequestID: w.id, Disposition: w.disposition, Message: w.message}, nil
	}
	if w.cert, err = r.sign(req, profile, now); err != nil {
		if errors.Is(err, authority.ErrRequest) {
			return r.refuse(ctx, p, csr, attrs, now, err)
		}
		return Result{}, err
	}
	w.cert.name = w.name // the subject is copied as it stands
	w.disposition, w.message, w.resolved = schema.Issued, issuedMessage, w.submitted
	if err := r.store(ctx, w); err != nil {
		return Result{}, err
	}
	return Result{RequestID: w.id, Disposition: schema.Issued, Message: w.message, Certificate: w.cert.raw, Serial: w.cert.serial}, nil
}

// policyFor lets a request ask for a CA certificate only if the profile is that
// of one.
func policyFor(p authority.Profile) authority.Policy {
	return authority.Policy{AllowCA: p == authority.ProfileSubordinateCA}
}

// sign makes the certificate.
func (r *run) sign(req *authority.Request, profile authority.Profile, now time.Time) (*certRow, error) {
	serial, err := newSerial(now, rand.Read)
	if err != nil {
		return nil, err
	}
	t := authority.Template{Profile: profile, Now: now, Validity: time.Duration(r.s.config().CertificateValidity)}
	_, cert, err := r.ca.Issue(t, req, serial)
	if err != nil {
		return nil, err
	}
	return newCertRow(cert)
}

// refuse records a request that broke a rule. What cannot be a request at all
// because of its size is not kept.
func (r *run) refuse(ctx context.Context, p account.Principal, csr []byte, attrs []attribute, now time.Time, why error) (Result, error) {
	w := &row{
		disposition: schema.Failed, status: uint32(certadm.ErrorInvalidData), message: limit(why.Error(), 1024),
		submitted: schema.Filetime(now), resolved: schema.Filetime(now), requester: p.Name, attrs: attrs,
	}
	if len(csr) <= authority.MaxRequest {
		w.raw = csr
	}
	if err := r.store(ctx, w); err != nil {
		return Result{}, errors.Join(why, err)
	}
	return Result{RequestID: w.id, Disposition: schema.Failed, Message: w.message}, why
}

// attributes checks request attributes and puts them in order.
func attributes(m map[string]string) ([]attribute, error) {
	if len(m) > maxAttributes {
		return nil, fmt.Errorf("%d request attributes: at most %d are possible", len(m), maxAttributes)
	}
	var list []attribute
	for _, name := range slices.Sorted(maps.Keys(m)) {
		value := m[name]
		switch {
		case name == "" || len(name) > maxAttributeName || !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
			return nil, fmt.Errorf("request attribute %.40q: 1 to %d characters without control characters are needed", name, maxAttributeName)
		case len(value) > maxAttributeValue || !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			return nil, fmt.Errorf("request attribute %.40q: its value must be text of at most %d bytes", name, maxAttributeValue)
		}
		list = append(list, attribute{name, value})
	}
	return list, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7F }

// limit cuts text to n bytes at a character's border.
func limit(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

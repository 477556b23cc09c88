package certsrv

import (
	"context"
	"crypto"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/sqlitelog"
)

// InitOptions describe a new authority. Only Name is required.
type InitOptions struct {
	Name         string // common name of the CA
	Organization string
	Country      string
	KeyAlgorithm authority.KeyAlgorithm // zero: ECDSA P-256
	Validity     time.Duration          // of the CA certificate; zero: ten years
	PathLen      int                    // CAs allowed below; 0 none, negative no limit

	// Key and Certificate, if set, are used instead of new ones: for a machine
	// that is to take over a lost authority. Name, if set, must be the
	// certificate's.
	Key         crypto.Signer
	Certificate *x509.Certificate

	// Passphrase encrypts the key's file; empty leaves it in the clear.
	Passphrase []byte

	Host            string // machine name in UNC names; zero: this machine's
	RequireApproval bool   // requests wait for an officer

	// Zero values stand for 365 days, 7 days, 1 day and 7 days.
	CertificateValidity, CRLValidity, CRLOverlap, KeepTruncated time.Duration

	CRLURLs, IssuerURLs []string
	InterfaceFlags      certadm.InterfaceFlags // 0 lets operators take backups from everywhere
	CircularLogging     bool
	GenerationSize      int64

	Now func() time.Time // nil is time.Now
}

// Init makes an authority in dir, which must be missing or empty
// ([certadm.ErrorDirNotEmpty] otherwise): key, self-signed certificate,
// configuration and database. If it fails, what it made is removed again.
func Init(ctx context.Context, dir string, o InitOptions) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	empty, err := isEmptyDir(dir)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if !empty {
		return pathError("init", dir, certadm.ErrorDirNotEmpty, errors.New("the directory is not empty"), "choose a new directory for the authority")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if (o.Key == nil) != (o.Certificate == nil) {
		return errors.New("init: key and certificate must be given together")
	}
	if o.Certificate != nil && o.Name == "" {
		o.Name = o.Certificate.Subject.CommonName
	}
	c, err := o.config()
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	_, statErr := os.Stat(dir)
	defer func() {
		if err != nil {
			err = errors.Join(err, cleanInit(dir, isNotExist(statErr)))
		}
	}()
	return o.make(ctx, layout{dir}, c)
}

// cleanInit removes what a failed Init made; the directory was empty before.
func cleanInit(dir string, dirToo bool) error {
	if dirToo {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

func (o *InitOptions) config() (Config, error) {
	host := o.Host
	if host == "" {
		h, err := os.Hostname()
		if err != nil || !validHost(h) {
			h = "localhost"
		}
		host = h
	}
	or := func(d, zero time.Duration) Duration {
		if d == 0 {
			d = zero
		}
		return Duration(d)
	}
	sanitized := certadm.SanitizeName(o.Name)
	c := Config{
		Schema: 1, Name: o.Name, SanitizedName: sanitized, Host: host,
		Database:            databaseDir + "/" + sanitized + databaseExt,
		AutoIssue:           !o.RequireApproval,
		CertificateValidity: or(o.CertificateValidity, defaultCertificateValidity),
		CRLValidity:         or(o.CRLValidity, defaultCRLValidity),
		CRLOverlap:          or(o.CRLOverlap, defaultCRLOverlap),
		KeepTruncated:       or(o.KeepTruncated, defaultKeepTruncated),
		InterfaceFlags:      o.InterfaceFlags,
		AuditFilter:         defaultAuditFilter,
		CircularLogging:     o.CircularLogging,
		GenerationSize:      o.GenerationSize,
		CRLURLs:             o.CRLURLs, IssuerURLs: o.IssuerURLs,
	}
	if o.CRLOverlap == 0 && c.CRLOverlap >= c.CRLValidity {
		c.CRLOverlap = c.CRLValidity / 7
	}
	if err := c.check(); err != nil {
		return c, err
	}
	return c, nil
}

func (o *InitOptions) make(ctx context.Context, at layout, c Config) error {
	for _, d := range []string{"", privateDir, databaseDir, logDir, systemDir, publishedDir, asideDir} {
		if err := durable.OS.MkdirAll(at.path(d), dirMode); err != nil {
			return fmt.Errorf("init: %w", err)
		}
	}
	if err := o.makeKey(); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if o.Certificate.Subject.CommonName != o.Name {
		return fmt.Errorf("init: the certificate is that of %q, not of %q", o.Certificate.Subject.CommonName, o.Name)
	}
	if _, err := authority.New(o.Certificate, o.Key, authority.Options{IssuingCertificateURLs: c.IssuerURLs, CRLDistributionPoints: c.CRLURLs}); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if err := authority.WriteKey(at.path(keyName), o.Key, authority.KeyFileOptions{Passphrase: o.Passphrase}); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	crt := at.path(publishedDir + "/" + c.SanitizedName + crtExt)
	if err := durable.WriteFile(durable.OS, crt, o.Certificate.Raw, publishedMode); err != nil {
		return fmt.Errorf("init: CA certificate: %w", err)
	}
	if err := o.makeDatabase(ctx, at, c); err != nil {
		return fmt.Errorf("init: database: %w", err)
	}
	// Last, because it is what makes the directory an authority.
	return writeConfig(durable.OS, at.dir, c)
}

func (o *InitOptions) makeKey() (err error) {
	if o.Key != nil {
		return nil
	}
	if o.Key, err = authority.GenerateKey(o.KeyAlgorithm); err != nil {
		return err
	}
	o.Certificate, err = authority.NewCACertificate(o.Key, authority.CAOptions{
		Name: o.Name, Organization: o.Organization, Country: o.Country, Now: o.Now(), Validity: o.Validity, PathLen: o.PathLen,
	})
	return err
}

// makeDatabase creates the database with one row, the CA's own certificate.
func (o *InitOptions) makeDatabase(ctx context.Context, at layout, c Config) (err error) {
	lc := sqlitelog.Config{
		Database: at.path(c.Database), LogDir: at.path(logDir), StateDir: at.path(systemDir), GenerationSize: c.GenerationSize,
	}
	if err := sqlitelog.Create(ctx, lc, schema.SQLite); err != nil {
		return err
	}
	db, err := sqlitelog.Open(ctx, lc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w, err := caRow(o.Certificate, o.Now())
	if err != nil {
		return err
	}
	w.id = 1
	if err := db.Write(ctx, func(tx *sql.Tx) error { return insertRows(ctx, tx, []*row{w}) }); err != nil {
		return err
	}
	return writeRecord(durable.OS, at, backupRecord{Schema: 1, Signature: db.Status().Signature.String()})
}

// caRow is the row of the CA's own certificate.
func caRow(cert *x509.Certificate, now time.Time) (*row, error) {
	name, err := schema.SplitSubject(cert.RawSubject)
	if err != nil {
		return nil, err
	}
	crt, err := newCertRow(cert)
	if err != nil {
		return nil, err
	}
	crt.name = name
	for i := range crt.exts {
		crt.exts[i].flags = crt.exts[i].flags&schema.ExtensionCritical | schema.OriginCACert
	}
	when := schema.Filetime(now)
	return &row{
		disposition: schema.CACert, message: "CA certificate", submitted: when, resolved: when,
		requester: whoami, rawName: cert.RawSubject, name: name, cert: crt,
	}, nil
}

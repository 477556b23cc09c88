package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/internal/durable"
)

type caInitOptions struct {
	secret       secretOptions
	name         string
	organization string
	country      string
	algorithm    string
	valid        validity
	pathLength   int
	encrypt      bool
	key          string
	certificate  string
	host         string
	approval     bool
	issueFor     validity
	crlFor       validity
	crlURLs      []string
	issuerURLs   []string
	dryRun       bool
}

func (o *caInitOptions) addFlags(f *pflag.FlagSet) {
	o.valid, o.issueFor, o.crlFor = validity(10*365*oneDay), validity(365*oneDay), validity(7*oneDay)
	f.StringVar(&o.name, "name", "", "common `NAME` of the authority")
	f.StringVar(&o.organization, "organization", "", "organization `O` in its name")
	f.StringVar(&o.country, "country", "", "country `CC` in its name, two letters")
	kinds := texts(authority.KeyAlgorithms())
	f.StringVar(&o.algorithm, "algorithm", kinds[0], "`KIND` of key: "+strings.Join(kinds, ", "))
	f.Var(&o.valid, "valid", "how long the authority's certificate is valid: 10y, 90d, 12h")
	f.IntVar(&o.pathLength, "path-length", 0, "how many authorities may stand below this one in a chain; -1: no limit")
	f.BoolVar(&o.encrypt, "encrypt", false, "encrypt the key with a passphrase; --password-file implies it")
	o.secret.addFlags(f, "the key's passphrase")
	f.StringVar(&o.key, "key", "", "take over the private key in `FILE` (PKCS#8 in PEM) of an authority whose machine is lost")
	f.StringVar(&o.certificate, "certificate", "", "and its certificate in `FILE` (DER or PEM)")
	f.StringVar(&o.host, "host", "", "machine `NAME` in the names of files (default this machine's)")
	f.BoolVar(&o.approval, "require-approval", false, "requests wait until an officer lets them through")
	f.Var(&o.issueFor, "issue-for", "how long the certificates that it issues are valid")
	f.Var(&o.crlFor, "crl-for", "how long its CRLs are valid")
	f.StringSliceVar(&o.crlURLs, "crl-url", nil, "`URL` of the CRL, in issued certificates; may be repeated")
	f.StringSliceVar(&o.issuerURLs, "issuer-url", nil, "`URL` of the authority's certificate, in issued certificates; may be repeated")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and create nothing")
}

func newCAInitCommand(c *console) *cobra.Command {
	var o caInitOptions
	cmd := &cobra.Command{
		Use:   "init DIR --name NAME",
		Short: "make an authority",
		Long: `init makes a certification authority in DIR, which must be missing or empty: a
key, a self-signed certificate, a configuration and an empty database.

With --key and --certificate the authority takes over where a lost one left off;
restore --ca then brings its database back.`,
		Args: c.exactly("DIR"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runCAInit(ctx, c, args[0], o) }),
	}
	o.addFlags(cmd.Flags())
	choices(cmd, "algorithm", texts(authority.KeyAlgorithms())...)
	return describe(cmd, "certkeep ca init pki --name 'Example CA' --valid 15y", exitOK, exitFailed, exitUsage, exitSecret, exitInterrupted)
}

type caInitResult struct {
	Directory         string    `json:"directory"`
	Name              string    `json:"name"`
	Key               string    `json:"key"`
	KeyEncrypted      bool      `json:"key_encrypted"`
	CertificateSHA256 string    `json:"certificate_sha256,omitempty"`
	NotAfter          time.Time `json:"not_after,omitzero"`
	DryRun            bool      `json:"dry_run,omitempty"`
}

func runCAInit(ctx context.Context, c *console, dir string, o caInitOptions) error {
	init, err := o.initOptions(ctx, c)
	if err != nil {
		return err
	}
	r := caInitResult{Directory: dir, Name: init.Name, Key: string(init.KeyAlgorithm), KeyEncrypted: len(init.Passphrase) > 0, DryRun: o.dryRun}
	if init.Key != nil {
		r.Key = "taken over"
		r.Name = init.Certificate.Subject.CommonName
	}
	if o.dryRun {
		if err := checkEmpty(dir); err != nil {
			return err
		}
		return c.result(r, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "would make the authority %q in %s\n", r.Name, dir)
			return err
		})
	}
	if err := certsrv.Init(ctx, dir, init); err != nil {
		return err
	}
	server, err := certsrv.New(dir, certsrv.Options{})
	if err != nil {
		return err
	}
	cert := server.CACertificate()
	sum := sha256.Sum256(cert.Raw)
	r.CertificateSHA256, r.NotAfter = hex.EncodeToString(sum[:]), cert.NotAfter.UTC()
	return c.result(r, func(w io.Writer) error {
		encrypted := r.Key
		if r.KeyEncrypted {
			encrypted += ", encrypted"
		}
		if err := fields(w, "authority", r.Name, "directory", r.Directory, "key", encrypted,
			"certificate", "SHA-256 "+r.CertificateSHA256, "valid until", stamp(r.NotAfter)); err != nil {
			return err
		}
		c.say("keep a copy of %s in a safe place: no backup of the database holds the key", filepath.Join(dir, "private", "ca.key"))
		return nil
	})
}

func (o *caInitOptions) initOptions(ctx context.Context, c *console) (certsrv.InitOptions, error) {
	init := certsrv.InitOptions{
		Name: o.name, Organization: o.organization, Country: o.country, Validity: time.Duration(o.valid), PathLen: o.pathLength,
		Host: o.host, RequireApproval: o.approval, CertificateValidity: time.Duration(o.issueFor), CRLValidity: time.Duration(o.crlFor),
		CRLURLs: o.crlURLs, IssuerURLs: o.issuerURLs,
	}
	var err error
	if init.KeyAlgorithm, err = authority.ParseKeyAlgorithm(o.algorithm); err != nil {
		return init, usagef("--algorithm: %w", err)
	}
	if (o.key == "") != (o.certificate == "") {
		return init, usagef("--key and --certificate belong together")
	}
	if o.name == "" && o.key == "" {
		return init, usagef("--name NAME is missing")
	}
	if o.encrypt || o.secret.file != "" {
		if init.Passphrase, err = o.secret.read(ctx, c, "Passphrase for the key", o.key == ""); err != nil {
			return init, err
		}
	}
	if o.key == "" {
		return init, nil
	}
	init.Key, err = authority.ReadKey(o.key, init.Passphrase)
	if errors.Is(err, authority.ErrPassphraseNeeded) {
		if init.Passphrase, err = o.secret.read(ctx, c, "Passphrase of "+o.key, false); err != nil {
			return init, err
		}
		init.Key, err = authority.ReadKey(o.key, init.Passphrase)
	}
	if err != nil {
		return init, err
	}
	init.Certificate, err = readCertificateFile(o.certificate)
	return init, err
}

// readCertificateFile reads one certificate, DER or PEM.
func readCertificateFile(name string) (*x509.Certificate, error) {
	b, err := durable.ReadFile(durable.OS, name, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	cert, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	return cert, nil
}

// checkEmpty is Init's own condition, for --dry-run.
func checkEmpty(dir string) error {
	entries, err := durable.OS.ReadDir(dir)
	switch {
	case isNotExist(err):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s: the directory is not empty", dir)
	}
	return nil
}

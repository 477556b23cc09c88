package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/connect"
)

// maxRequest bounds a request file; the authority itself takes 64 KiB.
const maxRequest = 1 << 20

type caIssueOptions struct {
	secret  secretOptions
	csr     string
	subject string
	names   []string
	key     string
	profile string
	pending int64
	deny    bool
	dryRun  bool
}

func (o *caIssueOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.csr, "csr", "", "certificate request in `FILE` (PKCS#10, PEM or DER; \"-\": standard input)")
	f.StringVar(&o.subject, "subject", "", "make a new key and a request for the name `DN`, as in CN=host.example,O=Example")
	f.StringSliceVar(&o.names, "san", nil, "with --subject: an alternative `NAME` (DNS, IP address, mail address or URI); may be repeated")
	f.StringVar(&o.key, "key-out", "", "with --subject: write the new private key to `FILE`, not to stdout")
	f.StringVar(&o.profile, "profile", "", "what the certificate is for: `USE` is default, server, client or subca")
	f.Int64Var(&o.pending, "pending", 0, "decide the pending request with number `ID`: issue it")
	f.BoolVar(&o.deny, "deny", false, "with --pending: deny it")
	o.secret.addFlags(f, "the key's passphrase")
	f.BoolVar(&o.dryRun, "dry-run", false, "check the request and issue nothing")
}

func newCAIssueCommand(c *console) *cobra.Command {
	var o caIssueOptions
	cmd := &cobra.Command{
		Use:   "issue DIR (--csr FILE | --subject DN | --pending ID)",
		Short: "issue a certificate",
		Long: `issue has the authority in DIR issue a certificate, and prints it in PEM; after
--subject without --key-out the new private key (PKCS#8) follows it.

When the authority wants an officer's approval the request stays pending, and
--pending ID lets it through later.`,
		Args: c.exactly("DIR"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runCAIssue(ctx, c, args[0], o) }),
	}
	o.addFlags(cmd.Flags())
	choices(cmd, "profile", "default", "server", "client", "subca")
	return describe(cmd, "certkeep ca issue pki --csr host.csr > host.pem",
		exitOK, exitFailed, exitUsage, exitPartly, exitLocked, exitSecret, exitInterrupted)
}

type caIssueResult struct {
	Request     int64              `json:"request,omitempty"`
	Disposition schema.Disposition `json:"disposition,omitempty"`
	Serial      string             `json:"serial,omitempty"`
	Certificate string             `json:"certificate,omitempty"` // PEM
	PrivateKey  string             `json:"private_key,omitempty"` // PEM
	Message     string             `json:"message,omitempty"`
	Subject     string             `json:"subject,omitempty"`
	DryRun      bool               `json:"dry_run,omitempty"`
}

func (o *caIssueOptions) check() error {
	ways := 0
	for _, given := range []bool{o.csr != "", o.subject != "", o.pending != 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return usagef("one of --csr FILE, --subject DN and --pending ID is needed")
	case o.subject == "" && (len(o.names) > 0 || o.key != ""):
		return usagef("--san and --key-out belong to --subject")
	case o.deny && o.pending == 0:
		return usagef("--deny belongs to --pending ID")
	}
	return nil
}

func runCAIssue(ctx context.Context, c *console, dir string, o caIssueOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	profile, err := authority.ParseProfile(o.profile)
	if err != nil {
		return usagef("--profile: %w", err)
	}
	csr, key, err := o.request(c)
	if err != nil {
		return err
	}
	if o.dryRun {
		return o.rehearse(ctx, c, dir, csr)
	}
	if o.key != "" { // before the certificate: a certificate without its key is of no use
		if err := authority.WriteKey(o.key, key, authority.KeyFileOptions{}); err != nil {
			return err
		}
	}
	var r caIssueResult
	err = withAuthority(ctx, c, dir, o.secret, func(conn *connect.Connection) error {
		r, err = o.submit(ctx, conn.Server(), csr, profile)
		return err
	})
	if err != nil {
		if o.key != "" && r.Certificate == "" {
			err = errors.Join(err, os.Remove(o.key))
		}
		return err
	}
	if key != nil && o.key == "" && r.Certificate != "" {
		if r.PrivateKey, err = pemKey(key); err != nil {
			return err
		}
	}
	if err := c.result(r, func(w io.Writer) error {
		_, err := io.WriteString(w, r.Certificate+r.PrivateKey)
		return err
	}); err != nil {
		return err
	}
	switch r.Disposition {
	case schema.Issued:
		c.say("request %d: serial number %s", r.Request, r.Serial)
	case schema.Denied:
		c.say("request %d is denied", r.Request)
	default:
		return withHint(withExit(exitPartly, fmt.Errorf("request %d is %s: %s", r.Request, r.Disposition, r.Message)),
			"certkeep ca issue %s --pending %d issues it", dir, r.Request)
	}
	return nil
}

// request reads or makes the request.
func (o *caIssueOptions) request(c *console) (csr []byte, key crypto.Signer, err error) {
	switch {
	case o.subject != "":
		subject, err := authority.ParseDN(o.subject)
		if err != nil {
			return nil, nil, usagef("--subject: %w", err)
		}
		if key, err = authority.GenerateKey(authority.ECDSAP256); err != nil {
			return nil, nil, err
		}
		csr, err = authority.NewRequest(key, subject, o.names)
		return csr, key, err
	case o.csr != "":
		csr, err = readInput(c, o.csr, maxRequest)
		if err != nil {
			err = fmt.Errorf("request: %w", err)
		}
	}
	return csr, nil, err
}

// rehearse judges the request without an authority that issues.
func (o *caIssueOptions) rehearse(ctx context.Context, c *console, dir string, csr []byte) error {
	return withStoppedAuthority(ctx, dir, func(s *certsrv.Server) error {
		r := caIssueResult{DryRun: true, Request: o.pending}
		if csr != nil {
			req, err := authority.ParseRequest(csr)
			if err != nil {
				return err
			}
			r.Subject = req.DistinguishedName()
		}
		return c.result(r, func(w io.Writer) error {
			what := strconv.Quote(r.Subject)
			if o.pending != 0 {
				what = fmt.Sprintf("pending request %d", o.pending)
			}
			_, err := fmt.Fprintf(w, "would have %q decide on %s\n", s.Config().Name, what)
			return err
		})
	})
}

func (o *caIssueOptions) submit(ctx context.Context, s *certsrv.Server, csr []byte, profile authority.Profile) (caIssueResult, error) {
	who := account.LocalUser()
	var res certsrv.Result
	var err error
	switch {
	case o.deny:
		res.RequestID, res.Disposition = o.pending, schema.Denied
		err = s.Deny(ctx, who, o.pending)
	case o.pending != 0:
		res, err = s.Resubmit(ctx, who, o.pending)
	default:
		attrs := map[string]string{}
		if profile != authority.ProfileDefault {
			attrs[certsrv.ProfileAttribute] = profile.String()
		}
		res, err = s.Submit(ctx, who, csr, attrs)
	}
	if err != nil {
		return caIssueResult{}, err
	}
	r := caIssueResult{Request: res.RequestID, Disposition: res.Disposition, Serial: res.Serial, Message: res.Message}
	if res.Certificate != nil {
		r.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: res.Certificate}))
	}
	return r, nil
}

func pemKey(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

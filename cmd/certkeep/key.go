package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/adcs"
	"github.com/certkeep/certkeep/cakey"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/authority"
)

func newKeyCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "key VERB [ARGUMENTS]",
		Short:                 "the private key, which no backup holds",
		DisableFlagsInUseLine: true,
		RunE: c.do(func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return usagef("there is no verb %q", args[0])
			}
			return usagef("which verb?")
		}),
	}
	cmd.AddCommand(newKeyExportCommand(c))
	return describe(cmd, "certkeep key export E:\\safe\\ca.pfx", exitOK, exitFailed, exitUsage, exitSecret)
}

type keyExportOptions struct {
	secret     secretOptions
	ca         string
	passphrase secretOptions // of the key of --ca
	hash       string
	events     bool
	dryRun     bool
}

func newKeyExportCommand(c *console) *cobra.Command {
	var o keyExportOptions
	cmd := &cobra.Command{
		Use:   "export FILE [--ca CADIR]",
		Short: "write the CA's private key, encrypted, to a new file",
		Long: `export writes the private key and the certificates of this Windows machine's CA, or
with --ca those of an embedded authority, to FILE: PFX (PKCS #12), encrypted by a
password of at least 12 characters. FILE must not exist, and must not lie in a
backup set. It is read back before it counts.

No backup of the database holds the key. Export it once, after the installation and
after each renewal, to a medium that is then locked away. A key in an HSM, or one
that is not exportable, is refused: back it up with the means of its maker.`,
		Args: c.exactly("FILE"),
		RunE: c.do(func(ctx context.Context, args []string) error {
			return c.reported(ctx, o.events && !o.dryRun, keyEvents, func(h *happening) error { return runKeyExport(ctx, c, args[0], o, h) })
		}),
	}
	f := cmd.Flags()
	o.secret.addFlags(f, "the password of FILE")
	f.StringVar(&o.ca, "ca", "", "export the key of the authority in `CADIR`")
	f.StringVar(&o.passphrase.file, "key-password-file", "", "with --ca: read the passphrase of the authority's key from the first line of `FILE`")
	f.StringVar(&o.hash, "certificate", "", "on Windows: export the key of the certificate with this `SHA-1`, of before a renewal (default the newest)")
	f.BoolVar(&o.dryRun, "dry-run", false, "say whose key would be exported, and export nothing")
	addEventLogFlag(f, &o.events)
	return describe(cmd, "certkeep key export E:\\safe\\ca.pfx\ncertkeep key export /media/safe/ca.pfx --ca pki", exitOK, exitFailed, exitUsage, exitPartly, exitSecret, exitInterrupted)
}

type keyExportResult struct {
	Authority  string `json:"authority"`
	File       string `json:"file"`
	Bytes      int64  `json:"bytes,omitempty"`
	Protection string `json:"protection,omitempty"`
	Weak       bool   `json:"weak,omitempty"`
	Unchecked  string `json:"unchecked,omitempty"` // why the file was not opened again
	DryRun     bool   `json:"dry_run,omitempty"`
}

func runKeyExport(ctx context.Context, c *console, file string, o keyExportOptions, h *happening) error {
	if o.ca == "" && o.passphrase.file != "" {
		return usagef("--key-password-file belongs to --ca")
	}
	if o.ca != "" && o.hash != "" {
		return usagef("--certificate and --ca exclude each other")
	}
	h.Folder = file
	source, name, err := o.source(ctx, c)
	if err != nil {
		return err
	}
	h.Authority = name
	r := keyExportResult{Authority: name, File: file, DryRun: o.dryRun}
	if o.dryRun {
		return c.result(&r, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, oneLine(fmt.Sprintf("would export the private key of %s to %s", name, file)))
			return err
		})
	}
	password, err := o.secret.read(ctx, c, "Password of "+oneLine(file), true)
	if err != nil {
		return err
	}
	defer clear(password)
	res, err := cakey.Export(ctx, source, cakey.ExportOptions{File: file, Password: password})
	if err != nil {
		return err
	}
	r.File, r.Bytes, r.Protection, r.Weak = res.File, res.Size, res.Protection, res.Weak
	if res.Unchecked != nil {
		r.Unchecked = res.Unchecked.Error()
	}
	err = c.result(&r, func(w io.Writer) error {
		protection := r.Protection
		if r.Weak {
			protection += " (weak: all depends on the password)"
		}
		return fields(w, "authority", r.Authority, "file", r.File, "protection", protection, "not checked", r.Unchecked)
	})
	if err == nil && res.Unchecked != nil {
		err = withExit(exitPartly, fmt.Errorf("%s is written, and was not opened again: %w", r.File, res.Unchecked))
	}
	return err
}

// source finds the key that is meant.
func (o *keyExportOptions) source(ctx context.Context, c *console) (cakey.Source, string, error) {
	if o.ca != "" {
		return o.embedded(ctx, c)
	}
	host, err := adcs.Open(adcs.Options{})
	if errors.Is(err, adcs.ErrNotWindows) {
		return nil, "", withHint(withExit(exitUsage, err), "--ca CADIR exports the key of an embedded authority")
	}
	if err != nil {
		return nil, "", err
	}
	certificate, err := host.Certificate()
	if err != nil {
		return nil, "", err
	}
	id, err := host.Identity(ctx)
	if err != nil {
		return nil, "", err
	}
	hash := cakey.Hash(certificate)
	if o.hash != "" {
		if hash, err = cakey.ParseHash(o.hash); err != nil {
			return nil, "", usagef("--certificate: %w", err)
		}
		if err := ownCertificate(ctx, host, hash); err != nil {
			return nil, "", err
		}
	}
	return cakey.Store(hash), id.Name, nil
}

// ownCertificate refuses a certificate that is not one of the authority's: its key
// is nobody's to export here.
func ownCertificate(ctx context.Context, host *adcs.Host, hash [sha1.Size]byte) error {
	all, err := host.Certificates(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if cakey.Hash(c) == hash {
			return nil
		}
	}
	return withHint(fmt.Errorf("%x is no certificate of %s", hash, host.SanitizedName()), "certutil -getreg CA\\CACertHash lists them")
}

func (o *keyExportOptions) embedded(ctx context.Context, c *console) (cakey.Source, string, error) {
	server, err := certsrv.New(o.ca, certsrv.Options{})
	if err != nil {
		return nil, "", err
	}
	key, err := server.ReadPrivateKey(nil)
	if errors.Is(err, authority.ErrPassphraseNeeded) {
		var passphrase []byte
		if o.passphrase.file != "" {
			passphrase, err = o.passphrase.read(ctx, c, "", false)
		} else {
			passphrase, err = c.ask(ctx, "Passphrase of the key of "+oneLine(o.ca), false)
		}
		if err != nil {
			return nil, "", err
		}
		defer clear(passphrase)
		key, err = server.ReadPrivateKey(passphrase)
	}
	if err != nil {
		return nil, "", err
	}
	return cakey.InMemory(key, server.CACertificate()), server.Config().Name, nil
}

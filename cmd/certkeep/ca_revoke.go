package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/connect"
)

type caRevokeOptions struct {
	secret secretOptions
	reason string
	unhold bool
	dryRun bool
}

// reasons are the names of the reasons for which a certificate is revoked.
var reasons = func() []string {
	var names []string
	for r := schema.Unspecified; r <= schema.AACompromise; r++ {
		if r.Revokes() {
			names = append(names, r.String())
		}
	}
	return names
}()

func (o *caRevokeOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.reason, "reason", reasons[0], "reason `R` of RFC 5280: "+strings.Join(reasons, ", ")+", or its number")
	f.BoolVar(&o.unhold, "unhold", false, "take a certificate off hold; every other revocation is for good")
	o.secret.addFlags(f, "the key's passphrase")
	f.BoolVar(&o.dryRun, "dry-run", false, "look the certificate up and revoke nothing")
}

func newCARevokeCommand(c *console) *cobra.Command {
	var o caRevokeOptions
	cmd := &cobra.Command{
		Use:   "revoke DIR SERIAL [--reason R | --unhold]",
		Short: "revoke a certificate",
		Args:  c.exactly("DIR", "SERIAL"),
		RunE:  c.do(func(ctx context.Context, args []string) error { return runCARevoke(ctx, c, args[0], args[1], o) }),
	}
	o.addFlags(cmd.Flags())
	choices(cmd, "reason", reasons...)
	return describe(cmd, "certkeep ca revoke pki 5f01a2 --reason keyCompromise", exitOK, exitFailed, exitUsage, exitLocked, exitSecret, exitInterrupted)
}

type caRevokeResult struct {
	Serial  string        `json:"serial"`
	Revoked bool          `json:"revoked"` // false: it was taken off hold
	Reason  schema.Reason `json:"reason"`
	Subject string        `json:"subject,omitempty"`
	DryRun  bool          `json:"dry_run,omitempty"`
}

func runCARevoke(ctx context.Context, c *console, dir, serial string, o caRevokeOptions) error {
	reason, err := schema.ParseReason(o.reason)
	if err != nil {
		return usagef("--reason: %w", err)
	}
	if !reason.Revokes() {
		return withHint(usagef("--reason: nothing is revoked for %s", reason), "--unhold takes a certificate off hold")
	}
	if serial, err = schema.ParseSerial(serial); err != nil {
		return usagef("%w", err)
	}
	r := caRevokeResult{Serial: serial, Revoked: !o.unhold, Reason: reason, DryRun: o.dryRun}
	err = withAuthority(ctx, c, dir, o.secret, func(conn *connect.Connection) error {
		s := conn.Server()
		record, err := s.Certificate(ctx, serial)
		r.Subject = record.Subject
		switch {
		case o.dryRun:
			return err
		case o.unhold:
			return s.Unrevoke(ctx, account.LocalUser(), serial)
		}
		return s.Revoke(ctx, account.LocalUser(), serial, reason)
	})
	if err != nil {
		return err
	}
	return c.result(r, func(w io.Writer) error {
		verb := "revoked"
		switch {
		case o.dryRun && o.unhold:
			verb = "would be taken off hold"
		case o.dryRun:
			verb = "would be revoked"
		case o.unhold:
			verb = "taken off hold"
		}
		why := ""
		if !o.unhold {
			why = " (" + reason.String() + ")"
		}
		if _, err := fmt.Fprintf(w, "%s %s%s %s\n", serial, verb, why, oneLine(r.Subject)); err != nil {
			return err
		}
		if !o.dryRun {
			c.say("the next CRL tells of it: certkeep ca crl %s", dir)
		}
		return nil
	})
}

type caCRLOptions struct {
	secret    secretOptions
	acceptGap bool
	dryRun    bool
}

func (o *caCRLOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.acceptGap, "accept-gap", false, "after a restore: publish although certificates that an earlier CRL lists are not revoked here")
	o.secret.addFlags(f, "the key's passphrase")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be published, and publish nothing")
}

func newCACRLCommand(c *console) *cobra.Command {
	var o caCRLOptions
	cmd := &cobra.Command{
		Use:   "crl DIR",
		Short: "publish a certificate revocation list",
		Long: `crl publishes a base CRL of all revoked certificates, in DIR/published and in the
database.

After a restore that brought certificates back to life which an earlier CRL lists
as revoked, it refuses until each of them is revoked again, or --accept-gap is
given.`,
		Args: c.exactly("DIR"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runCACRL(ctx, c, args[0], o) }),
	}
	o.addFlags(cmd.Flags())
	return describe(cmd, "certkeep ca crl pki", exitOK, exitFailed, exitUsage, exitLocked, exitSecret, exitInterrupted)
}

type caCRLResult struct {
	Number     int64     `json:"number"`
	Entries    int       `json:"entries"`
	ThisUpdate time.Time `json:"this_update,omitzero"`
	NextUpdate time.Time `json:"next_update,omitzero"`
	DryRun     bool      `json:"dry_run,omitempty"`
}

func runCACRL(ctx context.Context, c *console, dir string, o caCRLOptions) error {
	var crl certsrv.CRL
	var gap *certsrv.Gap
	err := withAuthority(ctx, c, dir, o.secret, func(conn *connect.Connection) (err error) {
		s := conn.Server()
		if gap, err = s.Gap(); err != nil {
			return err
		}
		if o.dryRun {
			crl, err = s.CRL()
			return err
		}
		if o.acceptGap && gap != nil {
			if err := s.ClearGap(ctx, account.LocalUser(), true); err != nil {
				return err
			}
		}
		crl, err = s.PublishCRL(ctx, account.LocalUser())
		return err
	})
	if errors.Is(err, certsrv.ErrGap) && gap != nil {
		for _, e := range gap.Revoked {
			c.warn("serial number %s was revoked on %s (%s)", e.Serial, stamp(e.Time), e.Reason)
		}
		return withHint(err, "certkeep ca revoke %s SERIAL for each, or certkeep ca crl %s --accept-gap", dir, dir)
	}
	if err != nil {
		return err
	}
	r := caCRLResult{Number: crl.Number, Entries: crl.Entries, ThisUpdate: crl.ThisUpdate.UTC(), NextUpdate: crl.NextUpdate.UTC(), DryRun: o.dryRun}
	return c.result(r, func(w io.Writer) error {
		if o.dryRun {
			_, err := fmt.Fprintf(w, "would publish a CRL after number %d (%s, valid until %s)\n", r.Number, plural(r.Entries, "entry", "entries"), stamp(r.NextUpdate))
			return err
		}
		_, err := fmt.Fprintf(w, "CRL %d, %s, valid until %s\n", r.Number, plural(r.Entries, "entry", "entries"), stamp(r.NextUpdate))
		return err
	})
}

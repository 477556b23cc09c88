package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/connect"
)

func newCAStatusCommand(c *console) *cobra.Command {
	var secret secretOptions
	cmd := &cobra.Command{
		Use:   "status DIR",
		Short: "what an authority holds, and when it was backed up",
		Args:  c.exactly("DIR"),
		RunE:  c.do(func(ctx context.Context, args []string) error { return runCAStatus(ctx, c, args[0], secret) }),
	}
	secret.addFlags(cmd.Flags(), "the key's passphrase")
	return describe(cmd, "certkeep ca status pki --json", exitOK, exitFailed, exitUsage, exitLocked, exitSecret)
}

type caStatusResult struct {
	Name            string                     `json:"name"`
	Directory       string                     `json:"directory"`
	Host            string                     `json:"host"`
	NotAfter        time.Time                  `json:"not_after"`
	Requests        map[schema.Disposition]int `json:"requests"`
	Database        int64                      `json:"database_bytes"`
	Signature       string                     `json:"signature"`
	OpenLog         uint32                     `json:"open_generation"`
	OldestLog       uint32                     `json:"oldest_generation,omitempty"`
	NewestLog       uint32                     `json:"newest_generation,omitempty"`
	CRLNumber       int64                      `json:"crl_number,omitempty"`
	CRLNextUpdate   time.Time                  `json:"crl_next_update,omitzero"`
	LastFull        time.Time                  `json:"last_full_backup,omitzero"`
	LastIncremental time.Time                  `json:"last_incremental_backup,omitzero"`
	LastRecovery    time.Time                  `json:"last_recovery,omitzero"`
	PendingRestore  string                     `json:"pending_restore,omitempty"`
	Gap             []string                   `json:"gap,omitempty"` // serial numbers to revoke again
}

func runCAStatus(ctx context.Context, c *console, dir string, secret secretOptions) error {
	var st certsrv.Status
	err := withAuthority(ctx, c, dir, secret, func(conn *connect.Connection) (err error) {
		st, err = conn.Server().Status(ctx)
		return err
	})
	if err != nil {
		return err
	}
	r := caStatusResult{
		Name: st.Config.Name, Directory: dir, Host: st.Config.Host, NotAfter: st.CertificateNotAfter.UTC(), Requests: st.Counts,
		Database: st.Log.DatabaseSize, Signature: st.Log.Signature.String(), OpenLog: st.Log.Open, OldestLog: st.Log.Oldest, NewestLog: st.Log.Newest,
		LastRecovery: st.LastRecovery, PendingRestore: st.PendingRestore,
	}
	if st.CRL.Raw != nil {
		r.CRLNumber, r.CRLNextUpdate = st.CRL.Number, st.CRL.NextUpdate.UTC()
	}
	if st.LastFull != nil {
		r.LastFull = st.LastFull.Time
	}
	if st.LastIncremental != nil {
		r.LastIncremental = st.LastIncremental.Time
	}
	if st.Gap != nil && st.Gap.Accepted == nil {
		for _, e := range st.Gap.Revoked {
			r.Gap = append(r.Gap, e.Serial)
		}
	}
	return c.result(r, func(w io.Writer) error { return r.human(w) })
}

func (r *caStatusResult) human(w io.Writer) error {
	var requests []string
	for _, d := range schema.Dispositions {
		if n := r.Requests[d]; n > 0 && d != schema.CACert {
			requests = append(requests, count(n)+" "+d.String())
		}
	}
	if requests == nil {
		requests = []string{"none"}
	}
	logs := fmt.Sprintf("%05x open", r.OpenLog)
	if r.NewestLog != 0 {
		logs += fmt.Sprintf(", %05x to %05x closed", r.OldestLog, r.NewestLog)
	}
	crl := ""
	if r.CRLNumber != 0 {
		crl = fmt.Sprintf("%d, next update %s", r.CRLNumber, stamp(r.CRLNextUpdate))
	}
	never := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return stamp(t)
	}
	gap := ""
	if len(r.Gap) > 0 {
		gap = fmt.Sprintf("%s to revoke again before a CRL can be published: %s", plural(len(r.Gap), "certificate", "certificates"), strings.Join(r.Gap, ", "))
	}
	return fields(w, "authority", r.Name, "directory", r.Directory, "host", r.Host, "valid until", stamp(r.NotAfter),
		"requests", strings.Join(requests, ", "), "database", size(r.Database), "logs", logs, "CRL", crl,
		"full backup", never(r.LastFull), "incremental", never(r.LastIncremental), "recovered", stamp(r.LastRecovery),
		"restore", r.PendingRestore, "gap", gap)
}

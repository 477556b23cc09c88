package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/connect"
)

func newCACommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "ca VERB [ARGUMENTS]",
		Short:                 "the embedded Certificate Services",
		Long:                  "ca runs a small certification authority of its own, in a directory DIR.",
		DisableFlagsInUseLine: true,
		RunE: c.do(func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return usagef("there is no verb %q", args[0])
			}
			return usagef("which verb?")
		}),
	}
	cmd.AddCommand(newCAInitCommand(c), newCAServeCommand(c), newCAIssueCommand(c), newCARevokeCommand(c),
		newCACRLCommand(c), newCAStatusCommand(c), newCAUserCommand(c))
	return describe(cmd, "certkeep ca init pki --name 'Example CA'\ncertkeep ca serve pki", exitOK, exitFailed, exitUsage, exitLocked, exitSecret)
}

// passphrase asks for the key's passphrase when it is needed.
func (o *secretOptions) passphrase(c *console, dir string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		return o.read(ctx, c, "Passphrase of the key of "+dir, false)
	}
}

// withAuthority starts the authority in dir for the time of a call.
func withAuthority(ctx context.Context, c *console, dir string, o secretOptions, use func(*connect.Connection) error) (err error) {
	a := connect.Address{Scheme: connect.CA, Dir: dir}
	conn, err := a.Open(ctx, connect.Options{InProcess: true, Passphrase: o.passphrase(c, dir)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return use(conn)
}

// withStoppedAuthority checks that the authority is there and not served, without
// starting it: for --dry-run.
func withStoppedAuthority(ctx context.Context, dir string, use func(*certsrv.Server) error) error {
	a := connect.Address{Scheme: connect.CA, Dir: dir}
	conn, err := a.Open(ctx, connect.Options{Stopped: true})
	if err != nil {
		return err
	}
	return errors.Join(use(conn.Server()), conn.Close())
}

// validity is a duration that a flag takes in days and years as well.
type validity time.Duration

const oneDay = 24 * time.Hour

func (v *validity) String() string {
	d := time.Duration(*v)
	switch {
	case d == 0:
		return ""
	case d%(365*oneDay) == 0:
		return strconv.FormatInt(int64(d/(365*oneDay)), 10) + "y"
	case d%oneDay == 0:
		return strconv.FormatInt(int64(d/oneDay), 10) + "d"
	}
	return d.String()
}

func (v *validity) Set(s string) error {
	unit, number := time.Duration(0), ""
	switch {
	case strings.HasSuffix(s, "y"):
		unit, number = 365*oneDay, strings.TrimSuffix(s, "y")
	case strings.HasSuffix(s, "d"):
		unit, number = oneDay, strings.TrimSuffix(s, "d")
	}
	var d time.Duration
	var err error
	if unit != 0 {
		var n uint64
		if n, err = strconv.ParseUint(number, 10, 16); err == nil {
			d = time.Duration(n) * unit
		}
	} else {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d <= 0 || d > 200*365*oneDay {
		return fmt.Errorf("%q is no length of time: write 10y, 90d or 12h", s)
	}
	*v = validity(d)
	return nil
}

func (v *validity) Type() string { return "TIME" }

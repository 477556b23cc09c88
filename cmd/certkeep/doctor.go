package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/certdll"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/doctor"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
)

func newDoctorCommand(c *console) *cobra.Command {
	var o serverOptions
	var ro repositoryOptions
	cmd := &cobra.Command{
		Use:   "doctor (SERVER | -r REPO)",
		Short: "find what keeps a backup from working, and what mends it",
		Long: `doctor goes the way of a backup step by step and says where it ends: the name,
the port, the DCOM resolver, the logon, activation, the dynamic port, privacy, the
account's roles, role separation, the switch that a stock AD CS has against remote
backups, the CA's name, the clocks. Of an authority in a directory it looks at what
applies. Where one answer has several causes, as "access denied" has, it lists them
with the command that tells which it is.

Of a repository it looks whether this machine can write to it, whether the store
keeps versions or locks objects, and whether the restore identity is where it should
not be.

Nothing is changed: no session is opened, and nothing is truncated. The exit code is
0 when nothing failed, 12 when the logon was refused, 13 when the server cannot be
reached or denies access, and 1 for anything else.`,
		Args: c.optionalSet(),
		RunE: c.do(func(ctx context.Context, args []string) error {
			switch {
			case len(args) > 0 && ro.address != "":
				return usagef("SERVER and -r exclude each other")
			case len(args) > 0:
				return runDoctor(ctx, c, args[0], o)
			case ro.where() == "":
				return usagef("SERVER or -r REPO is missing")
			}
			return runRepositoryDoctor(ctx, c, ro)
		}),
	}
	o.addServerFlags(cmd)
	ro.addFlags(cmd.Flags(), "examine a repository")
	return describe(cmd, "certkeep doctor adcs://backup@CORP.EXAMPLE@ca01.corp.example\ncertkeep doctor ca:pki\ncertkeep doctor -r s3://pki-backup/ca01",
		exitOK, exitFailed, exitUsage, exitNoRepo, exitLocked, exitSecret, exitUnreachable, exitInterrupted)
}

func runDoctor(ctx context.Context, c *console, server string, o serverOptions) error {
	a, err := o.address(server)
	if err != nil {
		return err
	}
	observe := func(k doctor.Check) {
		if !c.json {
			printCheck(c, c.stdout, k)
		}
	}
	var rep *doctor.Report
	co := o.options(c, a, connect.Options{})
	switch a.Scheme {
	case connect.CA:
		rep, err = doctor.Local(ctx, doctor.LocalOptions{Server: server, Dir: a.Dir, Observe: observe,
			Open: func(ctx context.Context) (*connect.Connection, error) { return a.Open(ctx, co) }})
	case connect.ADCS:
		var how connect.Means
		if how, err = co.Login.Choose(a); err == nil {
			rep, err = doctor.Remote(ctx, remoteExamination(server, a, co, how, observe))
		}
	default:
		if runtime.GOOS != "windows" {
			return notOpened(fmt.Errorf("%s: %w", a, certdll.ErrNotWindows))
		}
		rep, err = doctor.Library(ctx, doctor.LibraryOptions{Server: server, Local: a.Scheme == connect.Local, Observe: observe,
			Open: func(ctx context.Context) (*connect.Connection, error) { return a.Open(ctx, co) }})
	}
	if err != nil {
		return err
	}
	if c.json {
		if err := c.print(rep); err != nil {
			return err
		}
	}
	return doctorVerdict(ctx, c, rep)
}

func remoteExamination(server string, a connect.Address, co connect.Options, how connect.Means, observe func(doctor.Check)) doctor.RemoteOptions {
	plain := a
	plain.Name = ""
	return doctor.RemoteOptions{
		Server: server, Host: a.Host, Port: a.Port, Authority: a.Name, User: how.User, Kerberos: how.Mechanism() == connect.AuthKerberos,
		Fix: plain.String(), Observe: observe,
		Dial: func(ctx context.Context, stage func(connect.Stage, error)) (doctor.Session, error) {
			co.Stage = stage
			conn, err := a.Open(ctx, co)
			if err != nil {
				return nil, err
			}
			session, ok := conn.Service().(doctor.Session)
			if !ok {
				return nil, errors.Join(fmt.Errorf("%s: it cannot be asked about itself", a), conn.Close())
			}
			return session, nil
		},
	}
}

func runRepositoryDoctor(ctx context.Context, c *console, o repositoryOptions) error {
	identity := os.Getenv("CERTKEEP_IDENTITY_FILE")
	if identity != "" {
		identity = "CERTKEEP_IDENTITY_FILE names " + identity
	}
	rep, err := doctor.Repository(ctx, doctor.RepositoryOptions{
		Address: o.where(), Identity: identity,
		Store: func(ctx context.Context) (blob.Store, error) { return o.store(ctx, o.where(), false) },
		Open: func(ctx context.Context, s blob.Store) (*repo.Repository, error) {
			ro, _, err := o.kept(ctx, s)
			if err != nil {
				return nil, err
			}
			return repo.Open(ctx, ro)
		},
		Observe: func(k doctor.Check) {
			if !c.json {
				printCheck(c, c.stdout, k)
			}
		},
	})
	if err != nil {
		return err
	}
	if c.json {
		if err := c.print(rep); err != nil {
			return err
		}
	}
	return doctorVerdict(ctx, c, rep)
}

// doctorVerdict is the last word, and the exit code.
func doctorVerdict(ctx context.Context, c *console, rep *doctor.Report) error {
	if rep.OK {
		c.say("nothing stands in the way of a backup")
		return nil
	}
	err := fmt.Errorf("%s: %w", rep.Failed(), rep.Err)
	if rep.Unreached() && exitOf(ctx, err) == exitFailed {
		err = withExit(exitUnreachable, err)
	}
	return err
}

// printCheck prints one step for people. What it cannot print it cannot tell
// anybody about; the exit code tells, too.
func printCheck(c *console, w io.Writer, k doctor.Check) {
	paint := map[doctor.State]func(string) string{
		doctor.Good: c.style.green, doctor.Failed: c.style.red, doctor.Warning: c.style.bold, doctor.NotChecked: c.style.dim}[k.State]
	lines := []string{fmt.Sprintf("%-18s %s  %s", k.Name, paint(fmt.Sprintf("%-11s", k.State)), oneLine(k.Detail))}
	under := func(s string) { lines = append(lines, fmt.Sprintf("%32s%s", "", inert(s))) }
	if k.Mend != "" {
		under("mend: " + k.Mend)
	}
	for _, p := range k.Candidates {
		under("perhaps: " + p.Cause)
		under("  to find out, " + p.Where + ": " + p.Settle)
		under("  if so: " + p.Mend)
	}
	fmt.Fprintln(w, strings.Join(lines, "\n")) //nolint:errcheck // see above
}

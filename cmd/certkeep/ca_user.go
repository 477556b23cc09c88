package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
)

func newCAUserCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "user VERB [ARGUMENTS]",
		Short:                 "who may do what: add, list and remove accounts",
		Long:                  "user keeps the accounts of an authority. A change counts at once, also while the authority is being served: the next call of a removed account is refused.",
		DisableFlagsInUseLine: true,
		RunE: c.do(func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return usagef("there is no verb %q", args[0])
			}
			return usagef("which verb: add, list or remove?")
		}),
	}
	cmd.AddCommand(newCAUserAddCommand(c), newCAUserListCommand(c), newCAUserRemoveCommand(c))
	return describe(cmd, "certkeep ca user add pki backup --role operator", exitOK, exitFailed, exitUsage, exitSecret)
}

// accounts opens the accounts of the authority in dir.
func accounts(dir string) (*account.Store, error) {
	if _, err := certsrv.ReadConfig(dir); err != nil { // no accounts where there is no authority
		return nil, err
	}
	return account.Open(filepath.Join(dir, "accounts.json"), account.Options{})
}

type caUserAddOptions struct {
	secret secretOptions
	roles  string
	ntlm   bool
	dryRun bool
}

func (o *caUserAddOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.roles, "role", "", "`ROLE`[,ROLE]: "+strings.Join(account.AllRoles.Names(), ", "))
	o.secret.addFlags(f, "the account's password")
	f.BoolVar(&o.ntlm, "ntlm", false, "let it log on by NTLM, too: with a generated secret, which is printed once, as its password")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and add nothing")
}

func newCAUserAddCommand(c *console) *cobra.Command {
	var o caUserAddOptions
	cmd := &cobra.Command{
		Use:   "add DIR NAME --role ROLE[,ROLE] [--password-file FILE | --ntlm]",
		Short: "add an account",
		Long: `add adds an account with a password, which is kept as an argon2id hash.

NTLM needs another hash, which is as good as the password and can be guessed from
much faster. So only an account added with --ntlm can log on by it, and its secret
is not chosen but made here, with 140 random bits: it is printed once, alone on
stdout, and kept nowhere.`,
		Args: c.exactly("DIR", "NAME"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runCAUserAdd(ctx, c, args[0], args[1], o) }),
	}
	o.addFlags(cmd.Flags())
	choices(cmd, "role", account.AllRoles.Names()...)
	return describe(cmd, "certkeep ca user add pki web01 --role enroll --password-file web01.password\n"+
		"(umask 077; certkeep ca user add pki backup --role operator --ntlm > backup.secret)",
		exitOK, exitFailed, exitUsage, exitSecret, exitInterrupted)
}

type caUserResult struct {
	Name    string    `json:"name"`
	Roles   []string  `json:"roles,omitempty"`
	Created time.Time `json:"created,omitzero"`
	NTLM    bool      `json:"ntlm,omitempty"`
	Secret  string    `json:"secret,omitempty"` // of an account made for NTLM, once
	Removed bool      `json:"removed,omitempty"`
	DryRun  bool      `json:"dry_run,omitempty"`
}

func runCAUserAdd(ctx context.Context, c *console, dir, name string, o caUserAddOptions) error {
	if o.ntlm && o.secret.file != "" {
		return withHint(usagef("--ntlm and --password-file exclude each other"), "the secret of an account for NTLM is made here, and printed")
	}
	if o.roles == "" {
		return usagef("--role ROLE is missing")
	}
	roles, err := account.ParseRoles(o.roles)
	if err != nil {
		return usagef("--role: %w", err)
	}
	store, err := accounts(dir)
	if err != nil {
		return err
	}
	r := caUserResult{Name: name, Roles: roles.Names(), NTLM: o.ntlm, DryRun: o.dryRun}
	verb := "would add"
	switch {
	case o.dryRun:
	case o.ntlm:
		if r.Secret, err = store.AddNTLM(ctx, name, roles); err != nil {
			return err
		}
		c.say("added %s (%s); its secret follows, and is not shown again", oneLine(name), roles)
		return c.result(r, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, r.Secret)
			return err
		})
	default:
		verb = "added"
		password, err := o.secret.read(ctx, c, "Password for "+oneLine(name), true)
		if err != nil {
			return err
		}
		if err := store.Add(ctx, name, roles, password); err != nil {
			return err
		}
	}
	return c.result(r, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s (%s)\n", verb, oneLine(name), roles)
		return err
	})
}

func newCAUserListCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list DIR",
		Short: "list the accounts",
		Long:  "list prints the accounts by name; with --json one object a line.",
		Args:  c.exactly("DIR"),
		RunE:  c.do(func(ctx context.Context, args []string) error { return runCAUserList(ctx, c, args[0]) }),
	}
	return describe(cmd, "certkeep ca user list pki", exitOK, exitFailed, exitUsage)
}

func runCAUserList(ctx context.Context, c *console, dir string) error {
	store, err := accounts(dir)
	if err != nil {
		return err
	}
	list, err := store.List(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"NAME", "ROLES", "NTLM", "SINCE"}}
	for _, a := range list {
		if c.json {
			if err := c.line(caUserResult{Name: a.Name, Roles: a.Roles.Names(), NTLM: a.NTLM, Created: a.Created}); err != nil {
				return err
			}
		}
		ntlm := "no"
		if a.NTLM {
			ntlm = "yes"
		}
		rows = append(rows, []string{a.Name, a.Roles.String(), ntlm, stamp(a.Created)})
	}
	if c.json {
		return nil
	}
	return table(c.stdout, rows)
}

type caUserRemoveOptions struct{ dryRun bool }

func newCAUserRemoveCommand(c *console) *cobra.Command {
	var o caUserRemoveOptions
	cmd := &cobra.Command{
		Use:   "remove DIR NAME",
		Short: "remove an account",
		Args:  c.exactly("DIR", "NAME"),
		RunE:  c.do(func(ctx context.Context, args []string) error { return runCAUserRemove(ctx, c, args[0], args[1], o) }),
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would be removed, and remove nothing")
	return describe(cmd, "certkeep ca user remove pki web01", exitOK, exitFailed, exitUsage)
}

func runCAUserRemove(ctx context.Context, c *console, dir, name string, o caUserRemoveOptions) error {
	store, err := accounts(dir)
	if err != nil {
		return err
	}
	list, err := store.List(ctx)
	if err != nil {
		return err
	}
	r := caUserResult{Name: name, Removed: !o.dryRun, DryRun: o.dryRun}
	for _, a := range list {
		if strings.EqualFold(a.Name, name) {
			r.Name, r.Roles, r.Created = a.Name, a.Roles.Names(), a.Created
		}
	}
	verb := "would remove"
	switch {
	case r.Roles == nil:
		return fmt.Errorf("%s: %w", name, account.ErrUnknown)
	case !o.dryRun:
		verb = "removed"
		if err := store.Remove(ctx, name); err != nil {
			return err
		}
	}
	return c.result(r, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s\n", verb, oneLine(r.Name))
		return err
	})
}

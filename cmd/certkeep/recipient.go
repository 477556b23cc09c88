package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/secretfile"
	"github.com/certkeep/certkeep/repo"
)

// verbs is a verb that has verbs of its own.
func (c *console) verbs(use, short, example string, verbs ...*cobra.Command) *cobra.Command {
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use: use + " VERB [ARGUMENTS]", Short: short, DisableFlagsInUseLine: true,
		RunE: c.do(func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return noSuchVerb(cmd, args[0])
			}
			return usagef("which verb?")
		}),
	}
	cmd.AddCommand(verbs...)
	return describeRepository(cmd, example)
}

func newRecipientCommand(c *console) *cobra.Command {
	return c.verbs("recipient", "those whose identities open a repository", "certkeep recipient list -r /mnt/backup/pki",
		newRecipientListCommand(c), newRecipientAddCommand(c), newRecipientRemoveCommand(c))
}

type recipientResult struct {
	ID      string `json:"id,omitempty"`
	Kind    string `json:"kind"`
	Public  string `json:"public,omitempty"`
	Comment string `json:"comment,omitempty"`
}

func newRecipientResult(rc repo.Recipient) recipientResult {
	return recipientResult{rc.ID, rc.Kind, rc.Public, rc.Comment}
}

// text is a recipient for people; post-quantum keys have 2,000 characters.
func (r recipientResult) text() string {
	public := r.Public
	if len(public) > 72 {
		public = public[:40] + "…"
	}
	if public == "" {
		public = r.Kind
	}
	if r.Comment != "" {
		public += " (" + r.Comment + ")"
	}
	return public
}

type recipientsResult struct {
	Repository string            `json:"repository"`
	Recipients []recipientResult `json:"recipients"`
}

func newRecipientListCommand(c *console) *cobra.Command {
	var o repositoryOptions
	cmd := &cobra.Command{
		Use:   "list -r REPO",
		Short: "list them",
		Long:  `list shows whose identities open the repository. It takes no key.`,
		Args:  c.exactly(),
		RunE: c.do(func(ctx context.Context, _ []string) error {
			r, err := o.open(ctx, c, toLook)
			if err != nil {
				return err
			}
			res := recipientsResult{Repository: r.Location(), Recipients: []recipientResult{}}
			for _, rc := range r.Recipients() {
				res.Recipients = append(res.Recipients, newRecipientResult(rc))
			}
			return c.result(&res, func(w io.Writer) error {
				rows := [][]string{{"ID", "KIND", "RECIPIENT"}}
				for _, rc := range res.Recipients {
					rows = append(rows, []string{rc.ID, rc.Kind, rc.text()})
				}
				return table(w, rows)
			})
		}),
	}
	o.addFlags(cmd.Flags(), "the repository")
	return describe(cmd, "certkeep recipient list -r /mnt/backup/pki", exitOK, exitFailed, exitUsage, exitDamage, exitNoRepo, exitUnreachable, exitInterrupted)
}

type recipientAddOptions struct {
	repositoryOptions
	comment     string
	identityOut string
	postQuantum bool
	dryRun      bool
}

// recipientChange is the outcome of adding or removing one.
type recipientChange struct {
	Repository string          `json:"repository"`
	Recipient  recipientResult `json:"recipient"`
	Identity   *identityResult `json:"identity,omitempty"` // that was made
	Stays      string          `json:"stays,omitempty"`    // what removing does not take back
	DryRun     bool            `json:"dry_run,omitempty"`
}

func newRecipientAddCommand(c *console) *cobra.Command {
	var o recipientAddOptions
	cmd := &cobra.Command{
		Use:   "add -r REPO (AGE|passphrase[:FILE] | --identity-out FILE)",
		Short: "let another identity open the repository",
		Long: `add lets another identity open the repository, what is in it already included. It takes
a restore identity that opens it now. AGE is the public key of the other; with
--identity-out a new identity is made, and written to FILE.`,
		Args: c.atMostOne(),
		RunE: c.do(func(ctx context.Context, args []string) error { return runRecipientAdd(ctx, c, o, args) }),
	}
	f := cmd.Flags()
	o.addFlags(f, "the repository")
	f.StringVar(&o.comment, "comment", "", "`TEXT` that recipient list shows beside it")
	f.StringVar(&o.identityOut, "identity-out", "", "make an identity, and write it to `FILE`, which must not exist")
	f.BoolVar(&o.postQuantum, "post-quantum", false, "with --identity-out: one that a quantum computer does not break either")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and change nothing")
	return describeRepository(cmd, "certkeep recipient add -r /mnt/backup/pki --identity /media/safe/pki-restore.key age1… --comment 'vault in Bonn'")
}

// atMostOne is cobra's check of an argument that may be left out.
func (c *console) atMostOne() func(*cobra.Command, []string) error { return c.optionalSet() }

func runRecipientAdd(ctx context.Context, c *console, o recipientAddOptions, args []string) error {
	switch {
	case (len(args) == 0) == (o.identityOut == ""):
		return usagef("name a recipient, or --identity-out FILE for a new identity")
	case o.postQuantum && o.identityOut == "":
		return usagef("--post-quantum belongs to --identity-out")
	}
	r, err := o.open(ctx, c, toRead)
	if err != nil {
		return err
	}
	res := &recipientChange{Repository: r.Location(), DryRun: o.dryRun}
	var rc repo.Recipient
	var id *newIdentity
	if o.identityOut != "" {
		var to age.Recipient
		if id, to, err = makeIdentity(o.postQuantum); err != nil {
			return err
		}
		if _, err := os.Lstat(o.identityOut); err == nil {
			return fmt.Errorf("restore identity %s: %w", o.identityOut, backupset.ErrExists)
		}
		rc = repo.NewRecipient(id.public, o.comment, to)
		res.Identity = &identityResult{File: o.identityOut, Public: id.public}
	} else if rc, err = parseRecipient(ctx, c, args[0], o.comment); err != nil {
		return err
	}
	if !o.dryRun {
		if id != nil {
			if err := secretfile.WriteNew(o.identityOut, id.file(o.where())); err != nil {
				return withExit(exitFailed, fmt.Errorf("restore identity: %w", err))
			}
		}
		if err := r.AddRecipient(ctx, rc); err != nil {
			return err
		}
	}
	res.Recipient = newRecipientResult(rc)
	for _, have := range r.Recipients() {
		if have.Public == rc.Public && have.Kind == rc.Kind {
			res.Recipient = newRecipientResult(have) // with its id; of passphrases the newest
		}
	}
	return c.result(res, func(w io.Writer) error {
		if o.dryRun {
			_, err := fmt.Fprintln(w, oneLine("would add "+res.Recipient.text()+" to the recipients of "+res.Repository))
			return err
		}
		file := ""
		if res.Identity != nil {
			file = res.Identity.File
		}
		return fields(w, "repository", res.Repository, "recipient", res.Recipient.text(), "id", res.Recipient.ID, "restore identity", file)
	})
}

type recipientRemoveOptions struct {
	repositoryOptions
	passphraseFile string
	dryRun         bool
}

// whatStays is what removing a recipient cannot take back.
const whatStays = "what was stored until now remains readable to whoever has that identity and a copy of the repository; sets stored from now on are not"

func newRecipientRemoveCommand(c *console) *cobra.Command {
	var o recipientRemoveOptions
	cmd := &cobra.Command{
		Use:   "remove -r REPO RECIPIENT",
		Short: "let an identity open the repository no longer",
		Long: `remove takes a recipient out, and gives the repository a new key, which those who stay
open. RECIPIENT is an id that list shows, the beginning of one, or a public key. It takes a
restore identity.

What was stored until now remains readable to whoever has the identity that is removed and a
copy of the repository, or access to it; only what is stored from now on is not. Take
away its access to the storage as well.

A passphrase that stays is asked for once more.`,
		Args: c.exactly("RECIPIENT"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runRecipientRemove(ctx, c, o, args[0]) }),
	}
	f := cmd.Flags()
	o.addFlags(f, "the repository")
	f.StringVar(&o.passphraseFile, "passphrase-file", "", "read the passphrase of a recipient that stays from the first line of `FILE`")
	f.BoolVar(&o.dryRun, "dry-run", false, "say who would be removed, and change nothing")
	return describeRepository(cmd, "certkeep recipient remove -r /mnt/backup/pki --identity /media/safe/pki-restore.key 1f2e")
}

func runRecipientRemove(ctx context.Context, c *console, o recipientRemoveOptions, name string) error {
	r, err := o.open(ctx, c, toRead)
	if err != nil {
		return err
	}
	all := r.Recipients()
	rc, err := findRecipient(all, name)
	switch {
	case err != nil:
		return err
	case len(all) == 1:
		return withHint(errors.New("it is the last recipient: nobody could read the repository"), "add another first: certkeep recipient add")
	}
	phrases := 0
	for _, s := range all {
		if s.Kind == repo.KindPassphrase && s.ID != rc.ID {
			phrases++
		}
	}
	if phrases > 1 && o.passphraseFile != "" {
		return usagef("%d passphrases stay: --passphrase-file holds one", phrases)
	}
	res := &recipientChange{Repository: r.Location(), Recipient: newRecipientResult(rc), Stays: whatStays, DryRun: o.dryRun}
	if !o.dryRun {
		err := r.RemoveRecipient(ctx, rc.ID, func(s repo.Recipient) (age.Recipient, error) { return o.again(ctx, c, s) })
		if err != nil {
			return err
		}
	}
	return c.result(res, func(w io.Writer) error {
		if o.dryRun {
			_, err := fmt.Fprintln(w, oneLine("would remove "+res.Recipient.text()+" from the recipients of "+res.Repository+"; "+res.Stays))
			return err
		}
		return fields(w, "repository", res.Repository, "removed", res.Recipient.text(), "but", res.Stays)
	})
}

// again makes a recipient that stays what the new key is sealed to.
func (o *recipientRemoveOptions) again(ctx context.Context, c *console, rc repo.Recipient) (age.Recipient, error) {
	if rc.Kind != repo.KindPassphrase {
		return publicRecipient(ctx, c, rc.Public)
	}
	name := passphraseWord
	if o.passphraseFile != "" {
		name += ":" + o.passphraseFile
	} else {
		c.say("the passphrase of recipient %s stays: type it once more", newRecipientResult(rc).text())
	}
	phrase, _, err := readPassphrase(ctx, c, name, true)
	if err != nil {
		return nil, withExit(exitSecret, err)
	}
	return age.NewScryptRecipient(phrase)
}

func findRecipient(all []repo.Recipient, name string) (repo.Recipient, error) {
	var hits []repo.Recipient
	for _, rc := range all {
		if rc.ID == name || rc.Public == name && name != "" {
			return rc, nil
		}
		if name != "" && strings.HasPrefix(rc.ID, name) {
			hits = append(hits, rc)
		}
	}
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		return repo.Recipient{}, withHint(fmt.Errorf("recipient %.80q: %w", name, backupset.ErrNotFound), "certkeep recipient list shows them")
	}
	return repo.Recipient{}, fmt.Errorf("%d recipients begin with %q: %w", len(hits), name, backupset.ErrAmbiguous)
}

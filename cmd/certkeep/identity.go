package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/secretfile"
	"github.com/certkeep/certkeep/repo"
)

// maxIdentityFile bounds a file of identities or recipients, in bytes.
const maxIdentityFile = 1 << 20

const passphraseWord = "passphrase"

// readIdentities reads the restore identities that were named.
func (o *repositoryOptions) readIdentities(ctx context.Context, c *console) ([]age.Identity, error) {
	names := o.identities
	if len(names) == 0 {
		if name := os.Getenv("CERTKEEP_IDENTITY_FILE"); name != "" {
			names = []string{name}
		}
	}
	var out []age.Identity
	for _, name := range names {
		ids, err := readIdentity(ctx, c, name)
		if err != nil {
			return nil, withExit(exitSecret, fmt.Errorf("restore identity: %w", err))
		}
		out = append(out, ids...)
	}
	return out, nil
}

func readIdentity(ctx context.Context, c *console, name string) ([]age.Identity, error) {
	if phrase, ok, err := readPassphrase(ctx, c, name, false); ok {
		if err != nil {
			return nil, err
		}
		id, err := age.NewScryptIdentity(phrase)
		if err != nil {
			return nil, err
		}
		id.SetMaxWorkFactor(maxWorkFactor)
		return []age.Identity{id}, nil
	}
	b, err := secretfile.Read(name, maxIdentityFile)
	if err != nil {
		return nil, err
	}
	if b, err = unlockFile(ctx, c, name, b); err != nil {
		return nil, err
	}
	var out []age.Identity
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := parseIdentity(ctx, c, line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, id)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: there is no identity in it", name)
	}
	return out, nil
}

// maxWorkFactor is the most that a passphrase may cost: 2^20 is some seconds, and a gigabyte.
const maxWorkFactor = 20

func parseIdentity(ctx context.Context, c *console, line string) (age.Identity, error) {
	if strings.HasPrefix(line, "AGE-PLUGIN-") {
		return newPluginIdentity(ctx, c, line)
	}
	ids, err := age.ParseIdentities(strings.NewReader(line))
	if err != nil || len(ids) != 1 {
		return nil, errors.New("a line is no identity of age") // without the line: it may be secret
	}
	return ids[0], nil
}

// unlockFile opens an identity file that is itself locked with a passphrase, as age makes them.
func unlockFile(ctx context.Context, c *console, name string, b []byte) ([]byte, error) {
	var r io.Reader = bytes.NewReader(b)
	switch {
	case bytes.HasPrefix(b, []byte(armor.Header)):
		r = armor.NewReader(r)
	case !bytes.HasPrefix(b, []byte("age-encryption.org/")):
		return b, nil
	}
	phrase, err := c.ask(ctx, "Passphrase of "+name, false)
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(string(phrase))
	if err != nil {
		return nil, err
	}
	id.SetMaxWorkFactor(maxWorkFactor)
	plain, err := age.Decrypt(r, id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return io.ReadAll(io.LimitReader(plain, maxIdentityFile))
}

// readPassphrase answers the word "passphrase", which asks for one, and "passphrase:FILE".
func readPassphrase(ctx context.Context, c *console, name string, isNew bool) (phrase string, ok bool, err error) {
	switch file, inFile := strings.CutPrefix(name, passphraseWord+":"); {
	case inFile:
		b, err := connect.ReadPasswordFile(file)
		return string(b), true, err
	case name == passphraseWord:
		b, err := c.ask(ctx, "Restore passphrase", isNew)
		return string(b), true, err
	}
	return "", false, nil
}

// parseRecipient reads what --recipient names: the public key of an identity of age, or a
// passphrase.
func parseRecipient(ctx context.Context, c *console, text, comment string) (repo.Recipient, error) {
	if phrase, ok, err := readPassphrase(ctx, c, text, true); ok {
		if err != nil {
			return repo.Recipient{}, withExit(exitSecret, err)
		}
		to, err := age.NewScryptRecipient(phrase)
		if err != nil {
			return repo.Recipient{}, withExit(exitSecret, err)
		}
		return repo.NewRecipient("", comment, to), nil
	}
	to, err := publicRecipient(ctx, c, text)
	if err != nil {
		if hintOf(err) != "" { // of a plugin: the command line is right
			return repo.Recipient{}, fmt.Errorf("recipient: %w", err)
		}
		return repo.Recipient{}, usagef("recipient: %w", err)
	}
	return repo.NewRecipient(text, comment, to), nil
}

func publicRecipient(ctx context.Context, c *console, text string) (age.Recipient, error) {
	rs, err := age.ParseRecipients(strings.NewReader(text))
	if err == nil && len(rs) == 1 {
		return rs[0], nil
	}
	if p, perr := newPluginRecipient(ctx, c, text); perr == nil {
		return p, p.talk.found(p.to.Name())
	}
	return nil, fmt.Errorf("%.100q is no recipient of age", text)
}

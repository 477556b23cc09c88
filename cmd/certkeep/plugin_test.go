package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// testPlugin is a plugin of age for the scripts. Its identities are those of X25519 in another form.
// CERTKEEPTEST has it ask ("value", "confirm") or refuse.
const testPlugin = "age-plugin-certkeeptest"

func testPluginStatus() int {
	if len(os.Args) == 3 && os.Args[1] != "" && os.Args[1][0] != '-' { // NAME FILE: a new identity of plugin NAME
		if err := newTestPluginIdentity(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	p, err := plugin.New("certkeeptest")
	if err != nil {
		panic(err)
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) {
		if err := testPluginMood(p); err != nil {
			return nil, err
		}
		return age.ParseX25519Recipient(string(data))
	})
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		if err := testPluginMood(p); err != nil {
			return nil, err
		}
		return age.ParseX25519Identity(string(data))
	})
	return p.Main()
}

func testPluginMood(p *plugin.Plugin) error {
	switch os.Getenv("CERTKEEPTEST") {
	case "value":
		_, err := p.RequestValue("PIN", true)
		return err
	case "confirm":
		_, err := p.Confirm("really?", "yes", "no")
		return err
	case "refuse":
		return errors.New("the card is locked")
	}
	return nil
}

func newTestPluginIdentity(name, file string) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	fmt.Print(plugin.EncodeRecipient(name, []byte(id.Recipient().String())))
	return os.WriteFile(file, []byte(plugin.EncodeIdentity(name, []byte(id.String()))+"\n"), 0o600)
}

// Whoever interrupts certkeep does not wait for a plugin.
func TestPluginInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	talk := &pluginTalk{ctx: ctx}
	release := make(chan struct{})
	defer close(release)
	_, err := call(talk, func() (int, error) { cancel(errInterrupted); <-release; return 0, nil })
	if !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// pluginTalk is the talk with a program age-plugin-NAME. age tells the program that a question could
// not be put, and nobody else: why is kept here.
type pluginTalk struct {
	ctx    context.Context
	c      *console
	failed error
}

// found refuses a plugin whose program is not there, before anything is changed.
func (t *pluginTalk) found(name string) error {
	if _, err := exec.LookPath("age-plugin-" + name); err != nil {
		return withHint(fmt.Errorf("the program age-plugin-%s cannot be had: %w", name, err), "install age-plugin-%s where PATH has it", name)
	}
	return nil
}

func (t *pluginTalk) ui() *plugin.ClientUI {
	return &plugin.ClientUI{
		DisplayMessage: func(name, message string) error { t.c.warn("age-plugin-%s: %s", name, message); return nil },
		RequestValue: func(name, prompt string, _ bool) (string, error) {
			b, err := t.c.ask(t.ctx, oneLine("age-plugin-"+name+": "+prompt), false)
			return string(b), t.failure(name, "asks for a value", err)
		},
		Confirm: func(name, _, _, _ string) (bool, error) {
			return false, t.failure(name, "asks for a confirmation", errors.New("certkeep cannot put such a question"))
		},
		WaitTimer: func(name string) { t.c.warn("waiting for age-plugin-%s", name) },
	}
}

func (t *pluginTalk) failure(name, what string, err error) error {
	if err == nil {
		return nil
	}
	t.failed = withHint(fmt.Errorf("age-plugin-%s %s: %w", name, what, err), "run it on a terminal, where age-plugin-%s can be answered", name)
	return t.failed
}

// call runs what talks to the program, and returns when ctx ends although the program has not: age cannot
// be interrupted. The program sees the end of its input when certkeep ends.
func call[T any](t *pluginTalk, do func() (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	if t.ctx.Err() != nil { // and what was left running before may still use t
		return none, context.Cause(t.ctx)
	}
	t.failed = nil
	done := make(chan answer, 1)
	go func() {
		v, err := do()
		if err != nil && t.failed != nil {
			err = fmt.Errorf("%w (%v)", t.failed, err)
		}
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.v, a.err
	case <-t.ctx.Done():
		return none, context.Cause(t.ctx)
	}
}

// pluginIdentity is an identity that a program has.
type pluginIdentity struct {
	talk *pluginTalk
	id   *plugin.Identity
}

func newPluginIdentity(ctx context.Context, c *console, line string) (age.Identity, error) {
	t := &pluginTalk{ctx: ctx, c: c}
	id, err := plugin.NewIdentity(line, t.ui())
	if err != nil {
		return nil, err
	}
	return &pluginIdentity{t, id}, nil
}

// Unwrap implements age.Identity.
func (i *pluginIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if err := i.talk.found(i.id.Name()); err != nil { // only now: another identity may do
		return nil, withExit(exitSecret, err)
	}
	key, err := call(i.talk, func() ([]byte, error) { return i.id.Unwrap(stanzas) })
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, err
	}
	return key, withExit(exitSecret, err)
}

// pluginRecipient is a recipient that a program encrypts to.
type pluginRecipient struct {
	talk *pluginTalk
	to   *plugin.Recipient
}

func newPluginRecipient(ctx context.Context, c *console, text string) (*pluginRecipient, error) {
	t := &pluginTalk{ctx: ctx, c: c}
	to, err := plugin.NewRecipient(text, t.ui())
	if err != nil {
		return nil, err
	}
	return &pluginRecipient{t, to}, nil
}

// Wrap implements age.Recipient.
func (r *pluginRecipient) Wrap(key []byte) ([]*age.Stanza, error) {
	s, _, err := r.WrapWithLabels(key)
	return s, err
}

// WrapWithLabels implements age.RecipientWithLabels.
func (r *pluginRecipient) WrapWithLabels(key []byte) ([]*age.Stanza, []string, error) {
	type wrapped struct {
		stanzas []*age.Stanza
		labels  []string
	}
	w, err := call(r.talk, func() (w wrapped, err error) { w.stanzas, w.labels, err = r.to.WrapWithLabels(key); return w, err })
	return w.stanzas, w.labels, err
}

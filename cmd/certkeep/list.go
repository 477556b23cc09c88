package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo"
)

type listOptions struct {
	repositoryOptions
	ca     string
	maxAge validity
	level  string
}

func newListCommand(c *console) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "list -r REPO [--authority NAME] [--max-age 26h [--level LEVEL]]",
		Short: "the sets in a repository",
		Long: `list shows the sets in a repository, oldest first, and the deepest level at which each was
found good. A host's key shows the sets of its own authorities, a restore identity all.

With --max-age it is what a monitor calls: the exit code is 14 if, of any authority, the newest
confirmed set is older than that, or if there is none. With --level the time counts at
which one of its confirmed sets was last found good, at that level or a deeper one. Where the
newest is known to be damaged, or a set of its chain is missing, none counts. A set whose time
lies in the future is as old as the store says.`,
		Args: c.exactly(),
		RunE: c.do(func(ctx context.Context, _ []string) error { return runList(ctx, c, o, time.Now()) }),
	}
	f := cmd.Flags()
	o.addFlags(f, "the repository")
	f.StringVar(&o.ca, "authority", "", "only the sets of the authority `NAME`")
	f.Var(&o.maxAge, "max-age", "fail with exit code 14 if the newest confirmed set is older: 26h, 7d")
	f.StringVar(&o.level, "level", "", "with --max-age: if its newest proof at `LEVEL` is older: "+strings.Join(texts(backup.Levels), ", "))
	choices(cmd, "level", texts(backup.Levels)...)
	return describeRepository(cmd, "certkeep list -r /mnt/backup/pki\ncertkeep list -r /mnt/backup/pki --max-age 8d --level content --quiet", exitTooOld)
}

type listResult struct {
	Repository  string            `json:"repository"`
	ID          string            `json:"id"`
	Sets        []setResult       `json:"sets"`
	Hidden      int               `json:"hidden,omitempty"` // sets of authorities whose keys are not here
	Authorities []authorityResult `json:"authorities"`
	TooOld      bool              `json:"too_old,omitempty"`
}

// setResult is a set as list and show print it.
type setResult struct {
	Set             string        `json:"set"`
	Authority       string        `json:"authority,omitempty"`
	Type            string        `json:"type,omitempty"`
	Parent          string        `json:"parent,omitempty"`
	Full            string        `json:"full,omitempty"`  // the full set that its chain begins with
	Chain           string        `json:"chain,omitempty"` // what is wrong with the chain
	FirstGeneration uint32        `json:"first_generation,omitempty"`
	LastGeneration  uint32        `json:"last_generation,omitempty"`
	Start           time.Time     `json:"start,omitzero"`
	Published       time.Time     `json:"published"` // by the store's clock
	Bytes           int64         `json:"bytes"`
	New             int64         `json:"new"`    // of these, what was not stored before
	Stored          int64         `json:"stored"` // what the set added to the repository
	State           string        `json:"state"`  // confirmed, unconfirmed, damaged, or hidden
	Host            string        `json:"host"`
	Standing        bool          `json:"standing"`
	Proofs          []proofResult `json:"proofs,omitempty"` // the deepest first
	Problem         string        `json:"problem,omitempty"`
}

type proofResult struct {
	Level  string    `json:"level"`
	At     time.Time `json:"at,omitzero"` // when the set was last found good as a whole
	Parts  int       `json:"parts"`       // of Of shares have been read
	Of     int       `json:"of"`
	Failed time.Time `json:"failed,omitzero"` // when damage was found, and not gone since
}

type authorityResult struct {
	Authority string    `json:"authority"`
	Host      string    `json:"host,omitempty"`
	Sets      int       `json:"sets"`
	Confirmed int       `json:"confirmed"`
	Newest    string    `json:"newest,omitempty"` // confirmed set; with --level the one whose proof counts
	At        time.Time `json:"at,omitzero"`      // of that set, or of its proof
	Seconds   *int64    `json:"age_seconds,omitempty"`
	Problem   string    `json:"problem,omitempty"` // why the newest confirmed set cannot be restored
	TooOld    bool      `json:"too_old,omitempty"`

	age time.Duration
}

const stateHidden = "hidden"

func newSetResult(s repo.SetInfo, entries []backupset.Entry) setResult {
	r := setResult{Set: s.ID, Published: s.At.UTC(), Bytes: s.Bytes, New: s.New, Stored: s.Stored, State: s.State(), Host: s.Host, Standing: s.Standing}
	if s.Err != nil {
		r.Problem = s.Err.Error()
	}
	if s.Hidden {
		r.State, r.Problem = stateHidden, ""
	}
	for _, level := range slices.Backward(backup.Levels) {
		if p, ok := s.Proofs[string(level)]; ok {
			r.Proofs = append(r.Proofs, proofResult{string(level), p.At.UTC(), p.Parts, p.Of, p.Failed.UTC()})
		}
	}
	m := s.Manifest
	if m == nil {
		return r
	}
	r.Authority, r.Type, r.Parent, r.Start = m.CA.Name, string(m.Type), m.Parent, m.Start.UTC()
	r.FirstGeneration, r.LastGeneration = m.FirstGeneration, m.LastGeneration
	chain, err := backupset.Resolve(entries, s.ID, backupset.ResolveOptions{AllowUnconfirmed: true})
	if err != nil {
		r.Chain = err.Error()
		return r
	}
	r.Full = chain.Full().ID
	if n := len(chain); r.Parent == "" && n > 1 {
		r.Parent = chain[n-2].ID // of a set that certutil took
	}
	return r
}

// deepest is the deepest proof, for people.
func (r *setResult) deepest() string {
	for _, p := range r.Proofs {
		if !p.Failed.IsZero() {
			return "DAMAGED (" + p.Level + ", " + stamp(p.Failed) + ")"
		}
	}
	for _, p := range r.Proofs {
		switch {
		case p.Parts < p.Of && p.At.IsZero():
			return fmt.Sprintf("%s %d/%d", p.Level, p.Parts, p.Of)
		case !p.At.IsZero():
			return p.Level + " " + stamp(p.At)
		}
	}
	return "none"
}

func (r *setResult) logs() string {
	if r.FirstGeneration == 0 && r.LastGeneration == 0 {
		return ""
	}
	return generations(r.FirstGeneration, r.LastGeneration)
}

// short is the time in an id, which tells sets apart for people.
func short(id string) string {
	if at, _, ok := strings.Cut(id, "-"); ok {
		return at
	}
	return id
}

func (r *setResult) chain() string {
	switch {
	case r.Chain != "":
		return "BROKEN"
	case r.Parent != "":
		return "after " + short(r.Parent)
	}
	return ""
}

// entriesOf are the entries of sets.
func entriesOf(infos []repo.SetInfo) []backupset.Entry {
	out := make([]backupset.Entry, len(infos))
	for i := range infos {
		out[i] = infos[i].Entry
	}
	return out
}

// isOf reports whether a set is of an authority of that name.
func isOf(m *backupset.Manifest, name string) bool {
	return m != nil && (strings.EqualFold(m.CA.Name, name) || strings.EqualFold(m.CA.SanitizedName, name))
}

func runList(ctx context.Context, c *console, o listOptions, now time.Time) error {
	if o.level != "" {
		if o.maxAge == 0 {
			return usagef("--level belongs to --max-age")
		}
		if _, err := backup.ParseLevel(o.level); err != nil {
			return usagef("--level: %w", err)
		}
	}
	r, err := o.open(ctx, c, toList)
	if err != nil {
		return err
	}
	all, err := r.Sets(ctx)
	if err != nil {
		return err
	}
	res := &listResult{Repository: r.Location(), ID: r.ID(), Sets: []setResult{}, Authorities: []authorityResult{}}
	entries := entriesOf(all)
	var chosen []repo.SetInfo
	for _, s := range all {
		if s.Hidden {
			res.Hidden++
		}
		if o.ca != "" && !isOf(s.Manifest, o.ca) {
			continue
		}
		chosen = append(chosen, s)
		res.Sets = append(res.Sets, newSetResult(s, entries))
	}
	res.Authorities = authorities(chosen, backup.Level(o.level), now)
	var old error
	if o.maxAge > 0 {
		old = res.judge(&o)
	}
	err = c.result(res, func(w io.Writer) error { return res.human(c, w) })
	if err != nil {
		return err
	}
	if res.Hidden > 0 {
		c.say("%s of authorities whose keys are not here: a restore identity shows them (--identity)", plural(res.Hidden, "set", "sets"))
	}
	return old
}

func (r *listResult) human(c *console, w io.Writer) error {
	if len(r.Sets) == 0 {
		_, err := fmt.Fprintln(w, "no sets")
		return err
	}
	rows := [][]string{{"SET", "AUTHORITY", "TYPE", "CHAIN", "LOGS", "SIZE", "STORED", "STATE", "HOST", "PROOF"}}
	for i := range r.Sets {
		s := &r.Sets[i]
		rows = append(rows, []string{s.Set, s.Authority, s.Type, s.chain(), s.logs(), size(s.Bytes), size(s.Stored), s.State, s.Host, s.deepest()})
	}
	return table(w, rows)
}

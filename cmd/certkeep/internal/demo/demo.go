// Package demo is the story that certkeep demo tells: a certification authority
// is backed up while it issues certificates, is lost, and is restored to its last
// acknowledged certificate.
//
// Nothing in it is staged. The authority is a process of its own that serves EST
// over HTTPS, and backups over MS-CSRA; this process takes them. Clients enrol
// throughout, and each keeps its own record of what was acknowledged, outside the
// authority; the process is killed while requests are in flight. What the restored
// database holds is compared with those records.
package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/backupset"
)

// Options of Run.
type Options struct {
	Dir            string // the directory to use, missing or empty; "" for a temporary one
	Certs          int    // certificates to be acknowledged before the loss, at least
	LoseEverything bool   // the open log as well
	Keep           bool   // leave everything behind
	Tool           string // for manifests

	// Command is the command that runs Child for an authority's directory, in a
	// process of its own.
	Command func(ctx context.Context, dir string) (*exec.Cmd, error)

	// Step hears of each step as it is done; may be nil.
	Step func(Step)
}

// MinCerts is the least number of certificates for which the story makes sense.
const MinCerts = 50

// The clients enrol all the time, each with several requests at once.
var clientNames = []string{"alice", "bob"}

const workersPerClient = 4

// Step is a step of the story.
type Step struct {
	Name    string  `json:"name"`
	Text    string  `json:"text"`
	Seconds float64 `json:"seconds"`
}

// Report is the outcome.
type Report struct {
	// OK says that all is as it must be: nothing missing, or with everything lost
	// exactly what came after the last set.
	OK             bool   `json:"ok"`
	LoseEverything bool   `json:"lose_everything"`
	Directory      string `json:"directory"`
	Kept           bool   `json:"kept"`

	// Acknowledged certificates, by the clients' records; how many of them the
	// restored database holds, byte for byte; and the others.
	Acknowledged int     `json:"acknowledged"`
	Restored     int     `json:"restored"`
	Missing      int     `json:"missing"`
	MissingList  []Entry `json:"missing_list"`

	// Revocation is the one that was made after the last backup.
	Revocation         Entry `json:"revocation"`
	RevocationRestored bool  `json:"revocation_restored"`

	// InFlight requests had no answer when the process was killed; Unanswered
	// certificates are in the restored database though no client ever got them.
	InFlight   int `json:"in_flight"`
	Unanswered int `json:"unanswered"`

	// Next is the certificate issued after the restore.
	Next Entry `json:"next"`

	Repository *Repository `json:"repository"`

	Sets         []Set    `json:"sets"`
	BackupBytes  int64    `json:"backup_bytes"`
	OpenLogBytes int64    `json:"open_log_bytes"`
	RestoreBytes int64    `json:"restore_bytes"`
	Levels       []string `json:"levels"` // proven
	Proven       []string `json:"proven"`
	NotProven    []string `json:"not_proven"`
	Problems     []string `json:"problems,omitempty"`

	Steps        []Step  `json:"steps"`
	IssueRate    float64 `json:"certificates_per_second"` // while the authority lived
	DownSeconds  float64 `json:"restore_seconds"`         // from the loss to the next certificate
	TotalSeconds float64 `json:"seconds"`
}

// Run tells the story. The report is there also with an error, as far as it
// came. Unless Keep is set nothing is left behind; after a failure that is not
// an interruption everything is kept, and Report.Kept says so.
func Run(ctx context.Context, o Options) (rep *Report, err error) {
	rep = &Report{LoseEverything: o.LoseEverything, MissingList: []Entry{}, Levels: []string{}, Proven: []string{}, NotProven: []string{}}
	if o.Certs < MinCerts {
		return rep, fmt.Errorf("%d certificates are too few to tell anything: %d are the least", o.Certs, MinCerts)
	}
	begun := time.Now()
	s := &story{o: o, rep: rep}
	clean, err := s.makeRoot()
	if err != nil {
		return rep, err
	}
	rep.Directory = s.root
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		interrupted := caller.Err() != nil
		cancel()
		s.end() // the child, before its directory goes
		rep.TotalSeconds = time.Since(begun).Seconds()
		rep.Kept = o.Keep || !interrupted && (err != nil || !rep.OK)
		if !rep.Kept {
			err = errors.Join(err, clean())
		}
	}()
	for _, act := range []struct {
		name string
		play func(context.Context) (string, error)
	}{
		{"authority", s.makeAuthority},
		{"enrol", s.startClients},
		{"backup", s.backup("1-full", backupset.Full, 35)},
		{"backup", s.backup("2-incremental", backupset.Incremental, 55)},
		{"backup", s.backup("3-incremental", backupset.Incremental, 75)},
		{"revoke", s.revoke},
		{"lose", s.lose},
		{"verify", s.verify},
		{"drill", s.drill},
		{"restore", s.restore},
		{"restart", s.restart},
		{"compare", s.compare},
		{"repository", s.repository},
	} {
		started := time.Now()
		text, err := act.play(ctx)
		if err != nil {
			return rep, fmt.Errorf("%s: %w", act.name, s.explain(ctx, err))
		}
		step := Step{Name: act.name, Text: text, Seconds: time.Since(started).Seconds()}
		rep.Steps = append(rep.Steps, step)
		if o.Step != nil {
			o.Step(step)
		}
	}
	return rep, nil
}

// makeRoot makes the directory of the story; clean removes what the story made.
func (s *story) makeRoot() (clean func() error, err error) {
	if s.o.Dir == "" {
		s.root, err = os.MkdirTemp("", "certkeep-demo-")
		return func() error { return os.RemoveAll(s.root) }, err
	}
	if s.root, err = filepath.Abs(s.o.Dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.root)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return func() error { return os.RemoveAll(s.root) }, os.MkdirAll(s.root, 0o700)
	case err != nil:
		return nil, err
	case len(entries) > 0:
		return nil, fmt.Errorf("%s is not empty", s.root)
	}
	return func() error {
		var errs []error
		for _, name := range []string{authorityDir, safeDir, backupsDir, recordsDir, salvagedDir, restoredDir, repositoryDir} {
			errs = append(errs, os.RemoveAll(s.path(name)))
		}
		return errors.Join(errs...)
	}, nil
}

// The directories of the story.
const (
	authorityDir  = "authority" // the one that is lost
	safeDir       = "safe"      // key, certificate and accounts, which no database backup holds
	backupsDir    = "backups"
	recordsDir    = "records" // the clients' own
	salvagedDir   = "salvaged"
	restoredDir   = "restored"
	repositoryDir = "repository"
)

func (s *story) path(names ...string) string {
	return filepath.Join(append([]string{s.root}, names...)...)
}

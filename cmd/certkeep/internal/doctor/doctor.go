// Package doctor finds out, step by step, what keeps a backup of an authority
// from working, and says what mends it.
//
// A step that fails ends the way there: what depends on it is not checked. Where
// an answer has more causes than one, as E_ACCESSDENIED has, they are listed with
// the command that tells which it is. Nothing is changed: no session is opened,
// and nothing is truncated.
package doctor

import (
	"context"
	"time"
)

// State is what a check found.
type State string

// The states of a check.
const (
	Good       State = "good"
	Warning    State = "warning" // works, and should be looked at
	Failed     State = "failed"
	NotChecked State = "not checked"
)

// Check is one step.
type Check struct {
	Name    string  `json:"name"` // one of the names in this package
	State   State   `json:"state"`
	Detail  string  `json:"detail"`
	Mend    string  `json:"mend,omitempty"` // what to do, when it is known
	Seconds float64 `json:"seconds"`

	// Candidates are the causes that remain when it is not known, most likely
	// first.
	Candidates []Candidate `json:"candidates,omitempty"`
}

// Candidate is a possible cause.
type Candidate struct {
	Cause  string `json:"cause"`
	Where  string `json:"where"`  // on which machine to ask
	Settle string `json:"settle"` // the command that tells
	Mend   string `json:"mend"`   // what to do if it is this
}

// Report is what the doctor says.
type Report struct {
	Server    string  `json:"server"`
	OK        bool    `json:"ok"` // nothing failed; there may be warnings
	Authority string  `json:"authority,omitempty"`
	Roles     string  `json:"roles,omitempty"`
	LogonBy   string  `json:"logon_by,omitempty"` // "ntlm", "kerberos"
	Checks    []Check `json:"checks"`

	// Err is what made the first failed check fail.
	Err error `json:"-"`
}

// Failed is the name of the first check that failed; "" if none did.
func (r *Report) Failed() string {
	for _, c := range r.Checks {
		if c.State == Failed {
			return c.Name
		}
	}
	return ""
}

// Unreached reports whether what failed first is the way to the server.
func (r *Report) Unreached() bool {
	switch r.Failed() {
	case checkName, checkPort, checkResolver, checkAuthentication, checkActivation, checkDynamicPort, checkPrivacy:
		return true
	}
	return false
}

// The names of the checks.
const (
	// Across the network.
	checkName           = "name"
	checkPort           = "port"
	checkResolver       = "resolver"
	checkAuthentication = "authentication"
	checkActivation     = "activation"
	checkDynamicPort    = "dynamic port"
	checkPrivacy        = "privacy"
	checkRoles          = "roles"
	checkSeparation     = "role separation"
	checkBackup         = "backup flag"
	checkCAName         = "CA name"
	checkClock          = "clock"

	// Of a directory.
	checkDirectory   = "directory"
	checkAccounts    = "accounts"
	checkKey         = "private key"
	checkServed      = "served"
	checkStart       = "start"
	checkCertificate = "CA certificate"
	checkCRL         = "CRL"
	checkLastBackup  = "last backup"

	// Behind Certadm.dll.
	checkLibrary   = "library"
	checkService   = "service"
	checkPrivilege = "privilege"
	checkAuthority = "authority"
)

// examination is a report in the making.
type examination struct {
	rep     Report
	todo    []string // names of checks that are still to come, in order
	began   time.Time
	observe func(Check)
}

func newExamination(server string, observe func(Check), todo ...string) *examination {
	return &examination{rep: Report{Server: server, OK: true, Checks: []Check{}}, todo: todo, began: time.Now(), observe: observe}
}

// add records what a check found.
func (x *examination) add(c Check) {
	for i, name := range x.todo {
		if name == c.Name {
			x.todo = append(append([]string{}, x.todo[:i]...), x.todo[i+1:]...)
			break
		}
	}
	now := time.Now()
	c.Seconds = now.Sub(x.began).Seconds()
	x.began = now
	x.rep.Checks = append(x.rep.Checks, c)
	if x.observe != nil {
		x.observe(c)
	}
}

func (x *examination) good(name, detail string) {
	x.add(Check{Name: name, State: Good, Detail: detail})
}

func (x *examination) warn(name, detail, mend string, cs ...Candidate) {
	x.add(Check{Name: name, State: Warning, Detail: detail, Mend: mend, Candidates: cs})
}

// unknown says why something cannot be told.
func (x *examination) unknown(name, why, mend string) {
	x.add(Check{Name: name, State: NotChecked, Detail: why, Mend: mend})
}

func (x *examination) fail(name string, err error, mend string, cs ...Candidate) {
	if x.rep.Err == nil {
		x.rep.Err = err
	}
	x.rep.OK = false
	x.add(Check{Name: name, State: Failed, Detail: err.Error(), Mend: mend, Candidates: cs})
}

// finish says of what is left that it was not looked at.
func (x *examination) finish(why string) *Report {
	for len(x.todo) > 0 {
		x.unknown(x.todo[0], why, "")
	}
	return &x.rep
}

// ended reports whether the caller has lost interest.
func ended(ctx context.Context) bool { return ctx.Err() != nil }

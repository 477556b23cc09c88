package cadb

import (
	"fmt"
	"strings"
)

// Severity says how bad a finding is.
type Severity string

// Damage means that something is not what it was, or is missing: verification
// failed. A warning is something that a person should look at. A note is only
// said for completeness.
const (
	Damage  Severity = "damage"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is one thing that a check found.
type Finding struct {
	Severity Severity `json:"severity"`

	// File is the file's name in the set, or its path.
	File string `json:"file"`

	// Where narrows it down: a row and column, an offset, a generation.
	Where string `json:"where,omitempty"`

	Message string `json:"message"`

	// Code is a fixed word for the kind of finding, for programs.
	Code string `json:"code"`
}

// String is "file: where: message".
func (f Finding) String() string {
	parts := make([]string, 0, 3)
	for _, s := range []string{f.File, f.Where, f.Message} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// The codes of findings.
const (
	CodeUnreadable  = "unreadable"   // could not be read at all
	CodeMissing     = "missing"      // a file, row or value that must be there
	CodeUnexpected  = "unexpected"   // something that should not be there
	CodeSize        = "size"         // not the size that the manifest says
	CodeHash        = "hash"         // not the digest that is on record
	CodeFormat      = "format"       // does not parse
	CodeSignature   = "signature"    // a signature does not verify
	CodeMismatch    = "mismatch"     // a column and the signed object differ
	CodeDuplicate   = "duplicate"    // a serial, name or number twice
	CodeChain       = "chain"        // logs or sets that do not follow each other
	CodeForeign     = "foreign"      // of another database, authority or set
	CodeStructure   = "structure"    // the engine's integrity check
	CodeRevocation  = "revocation"   // rows and CRL disagree on what is revoked
	CodeUnchecked   = "unchecked"    // could not be checked, and why
	CodeUnconfirmed = "unconfirmed"  // a set without a good receipt
	CodeTooMany     = "too-many"     // more findings than are listed
	CodeNoManifest  = "no-manifest"  // nothing on record to compare with
	CodeNotComplete = "not-complete" // the set is not all that it takes
)

// maxFindings bounds how many findings a check lists; a database full of damage
// must not fill the memory with complaints.
const maxFindings = 1000

// Findings gathers findings up to a bound and counts the rest.
type Findings struct {
	List []Finding
	More int // not listed
	// MoreDamage counts those of More that are damage.
	MoreDamage int
}

// Add adds f.
func (l *Findings) Add(f ...Finding) {
	for _, f := range f {
		if len(l.List) >= maxFindings {
			l.More++
			if f.Severity == Damage {
				l.MoreDamage++
			}
			continue
		}
		l.List = append(l.List, f)
	}
}

// All returns the list, ended by a finding that counts what was left out.
func (l *Findings) All() []Finding {
	if l.More == 0 {
		return l.List
	}
	sev := Warning
	if l.MoreDamage > 0 {
		sev = Damage
	}
	return append(l.List[:len(l.List):len(l.List)], Finding{Severity: sev, Code: CodeTooMany,
		Message: fmt.Sprintf("%d more findings are not listed", l.More)})
}

// Damaged reports whether there is damage among them.
func (l *Findings) Damaged() bool {
	if l.MoreDamage > 0 {
		return true
	}
	return HasDamage(l.List)
}

// HasDamage reports whether one of the findings is damage.
func HasDamage(list []Finding) bool {
	for _, f := range list {
		if f.Severity == Damage {
			return true
		}
	}
	return false
}

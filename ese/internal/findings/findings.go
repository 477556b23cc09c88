// Package findings shows what a check found, for tests.
package findings

import (
	"fmt"
	"strings"

	"github.com/certkeep/certkeep/ese/esecheck"
)

// Serious are the findings that are no notes, as "severity code error".
func Serious(r *esecheck.Report) string {
	var out []string
	for _, f := range r.Findings {
		if f.Severity != esecheck.Note {
			out = append(out, fmt.Sprintf("%s %s %d", f.Severity, f.Code, f.Error))
		}
	}
	return strings.Join(out, ", ")
}

// All are the findings, one a line.
func All(r *esecheck.Report) string {
	var s strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintln(&s, f)
	}
	return s.String()
}

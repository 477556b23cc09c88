package certsrv

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/certadm"
)

// UNC names. AD CS names the files of a backup through the drive's
// administrative share, \\HOST\C$\…; here the authority's directory has a share
// of its own, \\HOST\SANITIZEDNAME$, so that a name says nothing about the rest
// of the machine and cannot reach it.

// uncName is the UNC name of a file of this authority, given relative to its
// directory with slashes.
func (c *Config) uncName(name string) string {
	return `\\` + c.Host + `\` + c.SanitizedName + `$\` + strings.ReplaceAll(name, "/", `\`)
}

// relativeName turns a UNC name of this authority around. Host and share are
// compared without regard to case, and a DNS name whose first label is the
// host's is the host.
func (c *Config) relativeName(unc string) (string, error) {
	fail := func(why string) (string, error) {
		return "", &certadm.Error{Op: "LocalPath", Path: shorten(unc), Code: certadm.HrInvalidPath, Err: errors.New(why),
			Hint: "names of this authority begin with " + c.uncName("")}
	}
	if len(unc) > 4096 {
		return fail("the name is too long")
	}
	rest, ok := strings.CutPrefix(unc, `\\`)
	if !ok {
		return fail("not a UNC name")
	}
	host, rest, _ := strings.Cut(rest, `\`)
	share, rest, _ := strings.Cut(rest, `\`)
	if !sameHost(host, c.Host) {
		return fail("another machine")
	}
	if !strings.EqualFold(share, c.SanitizedName+"$") {
		return fail("another share")
	}
	parts, err := splitRelative(rest, `\`)
	if err != nil {
		return fail(err.Error())
	}
	return strings.Join(parts, "/"), nil
}

// LocalPath is the file that a UNC name of this authority stands for, such as
// \\HOST\NAME$\database\NAME.db. A name of another machine or share, or one that
// leaves the directory, is refused with [certadm.HrInvalidPath].
func (s *Server) LocalPath(unc string) (string, error) {
	name, err := s.config().relativeName(unc)
	if err != nil {
		return "", err
	}
	return s.at.path(name), nil
}

// splitRelative takes a relative name apart and refuses everything that some
// operating system would not take as a plain name below a directory: empty,
// "." and ".." elements, other separators, streams and drives, control
// characters, trailing dots and spaces.
func splitRelative(name, separator string) ([]string, error) {
	parts := strings.Split(name, separator)
	if len(parts) > 32 {
		return nil, errors.New("too many directories")
	}
	for _, p := range parts {
		switch {
		case p == "" || p == "." || p == "..":
			return nil, fmt.Errorf("element %q is not allowed", p)
		case len(p) > 255:
			return nil, errors.New("an element is too long")
		case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7F || strings.ContainsRune(`/\:*?"<>|`, r) }):
			return nil, fmt.Errorf("element %.40q has a character that file names cannot have", p)
		case strings.HasSuffix(p, ".") || strings.HasSuffix(p, " "):
			return nil, fmt.Errorf("element %.40q ends in a dot or a space", p)
		case !filepath.IsLocal(p): // Windows' device names
			return nil, fmt.Errorf("element %.40q is reserved", p)
		}
	}
	return parts, nil
}

// sameHost compares machine names: "CA1" and "ca1.example.org" are the same
// machine.
func sameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return a != ""
	}
	la, _, fullA := strings.Cut(a, ".")
	lb, _, fullB := strings.Cut(b, ".")
	if fullA && fullB { // they differ in their domains
		return false
	}
	return la != "" && strings.EqualFold(la, lb)
}

func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

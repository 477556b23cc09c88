package backupset

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameLength is the longest file name in bytes that every file system in
// use can hold.
const MaxNameLength = 255

// ValidateName checks the name of a file of a set (or of a set itself): one
// path element that means the same file on Unix, macOS and Windows. It refuses
// separators, "." and "..", characters that Windows reserves or that cannot be
// printed, device names such as NUL or COM1.txt, and a dot or blank at the end.
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("empty file name")
	case len(name) > MaxNameLength:
		return fmt.Errorf("file name %.40q… is longer than %d bytes", name, MaxNameLength)
	case !utf8.ValidString(name):
		return fmt.Errorf("file name %q is not UTF-8", name)
	case name == "." || name == "..":
		return fmt.Errorf("file name %q is a directory", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || strings.HasPrefix(name, " "):
		return fmt.Errorf("file name %q begins or ends with what Windows drops", name)
	}
	for _, r := range name {
		if strings.ContainsRune(`/\:*?"<>|`, r) || !unicode.IsPrint(r) {
			return fmt.Errorf("file name %q contains %q", name, r)
		}
	}
	if deviceName(name) {
		return fmt.Errorf("file name %q is a device on Windows", name)
	}
	return nil
}

// deviceName reports whether Windows takes a name for a device, whatever its
// extension ("Naming Files, Paths, and Namespaces").
func deviceName(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	stem = strings.TrimRight(stem, " ")
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	for _, p := range []string{"COM", "LPT"} {
		if d, ok := strings.CutPrefix(stem, p); ok && utf8.RuneCountInString(d) == 1 && strings.ContainsAny(d, "0123456789¹²³") {
			return true
		}
	}
	return false
}

// FoldName maps names that differ only in letter case, and so would be one file
// on Windows or macOS, to one string.
func FoldName(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// BaseName is the last element of a name as servers give it: UNC, or a path of
// any operating system.
func BaseName(source string) string {
	return path.Base(strings.ReplaceAll(source, `\`, "/"))
}

// Names gives files unique, valid names, made from what a server calls them.
// The zero value is ready for use.
type Names struct{ used map[string]bool }

// Add returns a valid name for a source such as \\HOST\C$\CertEnroll\CA.crl:
// its base name, with what ValidateName refuses replaced by "_", and with a
// number if it is taken ("CA-2.crl").
func (n *Names) Add(source string) string {
	base := cleanName(BaseName(source))
	name := base
	ext := shortExt(base)
	for i := 2; n.used[FoldName(name)]; i++ {
		suffix := fmt.Sprintf("-%d%s", i, ext)
		name = clip(strings.TrimSuffix(base, ext), MaxNameLength-len(suffix)) + suffix
	}
	if n.used == nil {
		n.used = map[string]bool{}
	}
	n.used[FoldName(name)] = true
	return name
}

func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) || !unicode.IsPrint(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	ext := shortExt(s)
	s = clip(strings.TrimSuffix(s, ext), MaxNameLength-1-len(ext)) + ext
	s = strings.Trim(s, " ")
	if t := strings.TrimRight(s, ". "); t != s {
		s = t + "_"
	}
	if s == "" || deviceName(s) {
		s = "_" + s
	}
	return s
}

// shortExt is the extension, unless it is too long to be one.
func shortExt(s string) string {
	if ext := path.Ext(s); len(ext) <= 20 {
		return ext
	}
	return ""
}

package adcs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	maxPathLength   = 4096
	maxPathElements = 64
)

// localPath is an absolute path as in C:\a\b: with a drive in upper case, without
// anything that Windows takes for something else, and without a final backslash
// unless it is a drive's root.
type localPath string

func cleanLocal(path string) (localPath, error) {
	if len(path) > maxPathLength {
		return "", errors.New("the path is too long")
	}
	if len(path) < 3 || !isLetter(path[0]) || path[1:3] != `:\` {
		return "", fmt.Errorf(`%.60q is not a path as in C:\…`, path)
	}
	root := strings.ToUpper(path[:1]) + `:\`
	rest := strings.TrimSuffix(path[3:], `\`)
	if rest == "" {
		return localPath(root), nil
	}
	if _, err := elements(rest); err != nil {
		return "", err
	}
	return localPath(root + rest), nil
}

// join adds what begins with a backslash, or is empty.
func (p localPath) join(tail string) string {
	if tail == "" {
		return string(p)
	}
	return strings.TrimSuffix(string(p), `\`) + tail
}

// splitUNC takes \\SERVER\SHARE\a\b apart. One final backslash, as directories
// may have it, does not count.
func splitUNC(unc string) (server, share string, rest []string, err error) {
	if len(unc) > maxPathLength {
		return "", "", nil, errors.New("the name is too long")
	}
	name, ok := strings.CutPrefix(unc, `\\`)
	if !ok {
		return "", "", nil, errors.New("not a UNC name")
	}
	parts := strings.Split(strings.TrimSuffix(name, `\`), `\`)
	switch {
	case len(parts) < 2:
		return "", "", nil, errors.New("no share is named")
	case parts[0] == "." && isDeviceSpace(parts[1]):
		return "", "", nil, errors.New("a device name")
	case parts[0] == "" || parts[0] != "." && strings.ContainsFunc(parts[0], notInServer):
		return "", "", nil, fmt.Errorf("%.60q is no machine's name", parts[0])
	}
	if err := checkElement(parts[1]); err != nil {
		return "", "", nil, fmt.Errorf("share: %w", err)
	}
	if len(parts) > 2 {
		if rest, err = elements(strings.Join(parts[2:], `\`)); err != nil {
			return "", "", nil, err
		}
	}
	return parts[0], parts[1], rest, nil
}

// isDeviceSpace tells \\.\C: and \\.\PhysicalDrive0, which Windows takes for
// devices, from \\.\C$\…, by which people mean a share of their own machine. Only
// administrative shares are taken for that.
func isDeviceSpace(share string) bool {
	return !(len(share) == 2 && share[1] == '$' && isLetter(share[0])) && !strings.EqualFold(share, "ADMIN$")
}

func notInServer(r rune) bool {
	return !(r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r > 0x9f)
}

// elements splits a relative path and checks each part.
func elements(rest string) ([]string, error) {
	parts := strings.Split(rest, `\`)
	if len(parts) > maxPathElements {
		return nil, errors.New("too many directories")
	}
	for _, p := range parts {
		if err := checkElement(p); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// checkElement refuses what is not a plain name of a file or directory
// (Microsoft's page "Naming Files, Paths, and Namespaces").
func checkElement(p string) error {
	switch {
	case p == "" || p == "." || p == "..":
		return fmt.Errorf("element %q is not allowed", p)
	case len(p) > 255:
		return errors.New("an element is too long")
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r) }):
		return fmt.Errorf("element %.40q has a character that file names cannot have", p)
	case strings.HasSuffix(p, ".") || strings.HasSuffix(p, " "):
		return fmt.Errorf("element %.40q ends in a dot or a space", p)
	case isDevice(p):
		return fmt.Errorf("element %.40q is a device's name", p)
	}
	return nil
}

var devices = []string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}

// isDevice recognizes names that stand for a device in every directory, with any
// extension.
func isDevice(p string) bool {
	stem, _, _ := strings.Cut(p, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	if slices.Contains(devices, stem) {
		return true
	}
	number, ok := strings.CutPrefix(stem, "COM")
	if !ok {
		number, ok = strings.CutPrefix(stem, "LPT")
	}
	return ok && slices.Contains([]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³"}, number)
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// join puts a backslash before each part.
func join(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return `\` + strings.Join(parts, `\`)
}

// cutPrefix returns what of path is below dir, beginning with a backslash, or
// empty; letter case is ignored, as Windows does.
func cutPrefix(path, dir string) (tail string, ok bool) {
	dir = strings.TrimSuffix(dir, `\`)
	if len(path) < len(dir) || !strings.EqualFold(path[:len(dir)], dir) {
		return "", false
	}
	tail = path[len(dir):]
	if tail == `\` {
		tail = ""
	}
	return tail, tail == "" || tail[0] == '\\'
}

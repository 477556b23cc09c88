package adcs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/certadm"
)

// sharesKey has the machine's shares: a value each, of lines such as Path=C:\…
const sharesKey = `SYSTEM\CurrentControlSet\Services\LanmanServer\Shares`

// LocalPath is the file on this machine that a UNC name stands for: [Host.Resolve]
// for what is to be written. It refuses what lies outside the authority's own
// directories, those for the database, logs and checkpoint and the one for what
// it publishes, and the places that [Options] map to.
func (h *Host) LocalPath(unc string) (string, error) {
	path, err := h.resolve(unc)
	if err == nil {
		err = h.Within(path)
	}
	if err != nil {
		return "", invalidPath(unc, err)
	}
	return h.sys.native(path), nil
}

// Resolve is the file on this machine that a UNC name stands for, wherever that
// is: names of the running authority's own lists may be read by it. Nothing may be
// written by it, see [Host.LocalPath].
//
// The server must be this machine, by any of its names, and the share an
// administrative one (C$, ADMIN$) or one of its share table. Names that Windows
// would take for something else than they look like are refused: "." and "..",
// streams, devices, trailing dots and spaces, slashes, \\?\ and \\.\.
func (h *Host) Resolve(unc string) (string, error) {
	path, err := h.resolve(unc)
	if err != nil {
		return "", invalidPath(unc, err)
	}
	return h.sys.native(path), nil
}

func invalidPath(unc string, err error) error {
	if len(unc) > 200 {
		unc = unc[:200] + "…"
	}
	return &certadm.Error{Op: "LocalPath", Path: unc, Code: certadm.HrInvalidPath, Err: err,
		Hint: "if the name is another machine's, say which directory of this one it stands for (--map OLD=NEW)"}
}

func (h *Host) resolve(unc string) (string, error) {
	server, share, rest, err := splitUNC(unc)
	if err != nil {
		return "", err
	}
	if path, ok := h.mapped(unc); ok {
		return path, nil
	}
	if !h.isHere(server) {
		return "", fmt.Errorf("%s is another machine", server)
	}
	base, err := h.share(share)
	if err != nil {
		return "", err
	}
	return base.join(join(rest)), nil
}

// mapped is where the operator wants a UNC name to be.
func (h *Host) mapped(unc string) (string, bool) {
	server, share, rest, err := splitUNC(unc)
	if err != nil {
		return "", false
	}
	for _, m := range h.maps {
		if tail, ok := cutPrefix(`\\`+server+`\`+share+join(rest), m.old); ok {
			return m.new.join(tail), true
		}
	}
	return "", false
}

// isHere reports whether a server's name is this machine's. A host name with
// another domain is another machine's.
func (h *Host) isHere(server string) bool {
	server = strings.TrimSuffix(server, ".")
	if server == "" { // it was "."
		return true
	}
	for _, name := range []string{h.names.netBIOS, h.names.host, h.names.qualified, h.names.server, "localhost"} {
		if name != "" && strings.EqualFold(server, strings.TrimSuffix(name, ".")) {
			return true
		}
	}
	return false
}

// share is the directory that is shared under a name.
func (h *Host) share(name string) (localPath, error) {
	if len(name) == 2 && name[1] == '$' && isLetter(name[0]) {
		return cleanLocal(name[:1] + `:\`)
	}
	if strings.EqualFold(name, "ADMIN$") {
		root, err := h.sys.expand("%SystemRoot%")
		if err != nil {
			return "", err
		}
		return cleanLocal(root)
	}
	v, err := h.sys.value(sharesKey, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("this machine has no share %s", name)
	}
	if err != nil {
		return "", fmt.Errorf(`HKLM\%s, %s: %w`, sharesKey, name, err)
	}
	lines, err := v.Strings()
	if err != nil {
		return "", fmt.Errorf(`HKLM\%s: %w`, sharesKey, err)
	}
	for _, l := range lines {
		if k, path, ok := strings.Cut(l, "="); ok && strings.EqualFold(k, "Path") {
			return cleanLocal(path)
		}
	}
	return "", fmt.Errorf("the share %s is no directory", name)
}

// Within reports why a restore may not write to a path of this machine: nil if it
// may.
func (h *Host) Within(path string) error {
	p, err := cleanLocal(path)
	if err != nil {
		return err
	}
	dirs, err := h.directories()
	if err != nil {
		return err
	}
	published, err := h.published()
	if err != nil {
		return err
	}
	roots := append(dirs.all(), published)
	for _, m := range h.maps {
		roots = append(roots, m.new)
	}
	for _, r := range roots {
		if _, ok := cutPrefix(string(p), string(r)); ok {
			return nil
		}
	}
	return fmt.Errorf("%s is outside the authority's directories", p)
}

// published is the directory for CRLs and CA certificates (share CertEnroll).
func (h *Host) published() (localPath, error) {
	dir, err := h.sys.expand(`%SystemRoot%\System32\CertSrv\CertEnroll`)
	if err != nil {
		return "", err
	}
	return cleanLocal(dir)
}

type mapping struct {
	old string // \\SERVER\SHARE\…
	new localPath
}

// parseMaps checks the operator's mappings. The longest is tried first.
func parseMaps(list []Mapping) ([]mapping, error) {
	var maps []mapping
	for _, m := range list {
		server, share, rest, err := splitUNC(m.Old)
		if err != nil {
			return nil, fmt.Errorf("mapping of %s: %w", m.Old, err)
		}
		to, err := cleanLocal(m.New)
		if err != nil {
			return nil, fmt.Errorf("mapping of %s: %w", m.Old, err)
		}
		maps = append(maps, mapping{`\\` + server + `\` + share + join(rest), to})
	}
	slices.SortStableFunc(maps, func(a, b mapping) int { return cmp.Compare(len(b.old), len(a.old)) })
	return maps, nil
}

package folder

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// synthesizedPrefix begins the id of a set without a manifest. No other id has
// a colon.
const synthesizedPrefix = "folder:"

// maxLocations bounds certbkxp.dat: three UNC names of at most 32,767
// characters.
const maxLocations = 3 * (2*32767 + 4)

// synthesize makes a manifest up for a folder that has none, such as one that
// certutil wrote.
func (s *Store) synthesize(name string, l *layout) (*backupset.Manifest, error) {
	m := &backupset.Manifest{
		Schema: backupset.Schema, ID: synthesizedPrefix + name, Tool: "unknown", Synthesized: true, Type: backupset.Incremental,
		Completeness: backupset.Completeness{
			Database: backupset.Absent, Logs: backupset.Absent, RestoreMap: backupset.Absent, DynamicFiles: backupset.Absent,
			CACertificate: backupset.NotAttempted, PrivateKey: backupset.Absent, Configuration: backupset.NotAttempted,
			CAPolicy: backupset.NotAttempted, Templates: backupset.NotAttempted,
		},
	}
	if hasKey(l.entries) {
		m.Completeness.PrivateKey = backupset.Present
	}
	if l.dirs[roleDirs[0]] == "" {
		return nil, errNoSet
	}
	if err := s.addDatabase(m, l.dirs[roleDirs[0]]); err != nil {
		return nil, err
	}
	// certutil's folders may have been through systems that change letter case;
	// ours have not, and "database" with a .db in it is an authority's own.
	if m.Engine == "sqlite" && (filepath.Base(l.dirs[roleDirs[0]]) != roleDirs[0] || m.Completeness.Logs == backupset.Absent) {
		return nil, errNoSet
	}
	for _, role := range []backupset.Role{backupset.RoleDynamic, backupset.RoleCompanion} {
		if err := s.addFiles(m, role, l.dirs[role.Dir()]); err != nil {
			return nil, err
		}
	}
	if len(m.ByRole(backupset.RoleDynamic)) > 0 {
		m.Completeness.DynamicFiles = backupset.Present
	}
	return m, nil
}

// hasKey reports whether there is a PKCS#12 file, as certutil -backupKey
// writes it beside DataBase.
func hasKey(es []fs.DirEntry) bool {
	for _, e := range es {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case ".p12", ".pfx":
			return true
		}
	}
	return false
}

// addDatabase sorts out what is in DataBase.
func (s *Store) addDatabase(m *backupset.Manifest, dir string) error {
	es, err := s.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	m.Engine = engineOf(es)
	if m.Engine == "" {
		return errNoSet // empty, or nothing that we know
	}
	for _, e := range es {
		role, ok := roleOf(e.Name(), m.Engine)
		if !ok {
			continue // Extra names it
		}
		f, at, err := entryFile(dir, e, role)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, f)
		spanTimes(m, at)
		switch role {
		case backupset.RoleDatabase:
			m.Type, m.Completeness.Database = backupset.Full, backupset.Present
			m.CA.SanitizedName = strings.TrimSuffix(f.Name, filepath.Ext(f.Name))
			m.CA.Name = m.CA.SanitizedName
		case backupset.RoleLog:
			_, g, _ := backupset.LogGeneration(f.Name)
			if m.Completeness.Logs != backupset.Present || g < m.FirstGeneration {
				m.FirstGeneration = g
			}
			m.LastGeneration = max(m.LastGeneration, g)
			m.Completeness.Logs = backupset.Present
		case backupset.RoleLocations:
			m.Completeness.RestoreMap = backupset.Present
			m.Locations = s.locations(filepath.Join(dir, f.Name))
		}
	}
	return nil
}

// engineOf tells the engine by the names: ESE has .edb and edbNNNNN.log, ours
// .db and logNNNNN.log. ESE wins in a mixture.
func engineOf(es []fs.DirEntry) string {
	engine := ""
	for _, e := range es {
		base, _, isLog := backupset.LogGeneration(e.Name())
		ext := strings.ToLower(filepath.Ext(e.Name()))
		switch {
		case isLog && base == "edb", ext == ".edb":
			return "ese"
		case isLog && base == "log", ext == ".db":
			engine = "sqlite"
		}
	}
	return engine
}

// roleOf tells the role of a file in DataBase by its name.
func roleOf(name, engine string) (backupset.Role, bool) {
	ext, logBase := ".db", "log"
	if engine == "ese" {
		ext, logBase = ".edb", "edb"
	}
	base, _, isLog := backupset.LogGeneration(name)
	switch {
	case backupset.ValidateName(name) != nil:
		return "", false
	case isLog && base == logBase:
		return backupset.RoleLog, true
	case strings.EqualFold(filepath.Ext(name), ext):
		return backupset.RoleDatabase, true
	case strings.EqualFold(name, backupset.LocationsName):
		return backupset.RoleLocations, true
	}
	return "", false
}

func entryFile(dir string, e fs.DirEntry, role backupset.Role) (backupset.File, time.Time, error) {
	if !e.Type().IsRegular() {
		return backupset.File{}, time.Time{}, wrongKind(filepath.Join(dir, e.Name()), e)
	}
	fi, err := e.Info()
	if err != nil {
		return backupset.File{}, time.Time{}, err
	}
	return backupset.File{Role: role, Name: e.Name(), Size: fi.Size()}, fi.ModTime().UTC(), nil
}

// spanTimes lets the set begin with its oldest file and end with its newest.
func spanTimes(m *backupset.Manifest, at time.Time) {
	if m.Start.IsZero() || at.Before(m.Start) {
		m.Start = at
	}
	if at.After(m.End) {
		m.End = at
	}
}

// locations decodes certbkxp.dat. One that cannot be decoded is left to verify,
// which says what is wrong with it.
func (s *Store) locations(path string) []backupset.Location {
	b, err := s.readFile(path, maxLocations)
	if err != nil {
		return nil
	}
	list, err := certadm.DecodeList(b)
	if err != nil {
		return nil
	}
	var out []backupset.Location
	for _, e := range list {
		out = append(out, backupset.Location{Tag: e.Type, Path: e.Path})
	}
	return out
}

// addFiles adds what is in DynamicFiles or Companions, whose manifest is lost.
func (s *Store) addFiles(m *backupset.Manifest, role backupset.Role, dir string) error {
	if dir == "" {
		return nil
	}
	es, err := s.fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, e := range es {
		if backupset.ValidateName(e.Name()) != nil || !e.Type().IsRegular() {
			continue
		}
		f, _, err := entryFile(dir, e, role)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, f)
	}
	return nil
}

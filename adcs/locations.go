package adcs

import (
	"context"
	"fmt"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/hint"
)

// Engines, as in [certadm.Identity].
const (
	engineESE    = "ese"
	engineSQLite = "sqlite"
)

// directories are the authority's places.
type directories struct {
	database localPath // its directory
	file     localPath // the database itself
	log      localPath
	system   localPath // of the checkpoint
}

func (d directories) all() []localPath { return []localPath{d.database, d.log, d.system} }

// engine goes by the database's extension.
func (d directories) engine() string {
	if hasSuffixFold(string(d.file), ".db") {
		return engineSQLite
	}
	return engineESE
}

// directories reads the registry. The database is NAME.edb in DBDirectory. The
// embedded authority in the place of AD CS has NAME.db instead: DBDirectory then
// names that file, or a directory that has it and no NAME.edb.
func (h *Host) directories() (d directories, err error) {
	for _, want := range []struct {
		name string
		path *localPath
	}{{"DBDirectory", &d.database}, {"DBLogDirectory", &d.log}, {"DBSystemDirectory", &d.system}} {
		text, err := h.text(configurationKey, want.name)
		if err != nil {
			return d, err
		}
		if *want.path, err = cleanLocal(text); err != nil {
			return d, fmt.Errorf(`HKLM\%s, %s: %w`, configurationKey, want.name, err)
		}
	}
	if dir, base := splitLast(d.database); hasSuffixFold(base, ".db") && !h.isDir(d.database) {
		d.database, d.file = dir, d.database
		return d, nil
	}
	d.file = localPath(d.database.join(`\` + h.name + ".edb"))
	if embedded := localPath(d.database.join(`\` + h.name + ".db")); !h.exists(d.file) && h.exists(embedded) {
		d.file = embedded
	}
	return d, nil
}

func (h *Host) exists(p localPath) bool {
	_, err := h.fsys.Stat(h.sys.native(string(p)))
	return err == nil
}

func (h *Host) isDir(p localPath) bool {
	fi, err := h.fsys.Stat(h.sys.native(string(p)))
	return err == nil && fi.IsDir()
}

// Locations is where the registry says that the authority keeps its database,
// logs and checkpoint, as UNC names through the drives' administrative shares.
func (h *Host) Locations(ctx context.Context) (certadm.FileList, error) {
	return h.LocationsLike(ctx, certadm.RestoreMap{})
}

// LocationsLike is [Host.Locations] in the spelling of a saved restore map, where
// that leads to the same places: a restore then gives the service the same name
// twice, and not two names of one file. A mapping of the operator's must lead to the
// same place as the registry: it is there that the service looks when it starts.
func (h *Host) LocationsLike(_ context.Context, saved certadm.RestoreMap) (certadm.FileList, error) {
	d, err := h.directories()
	if err != nil {
		return nil, err
	}
	database := certadm.BaseName(saved.Database)
	for _, want := range []struct {
		value, saved string
		place        localPath
	}{
		{"DBDirectory", strings.TrimSuffix(saved.Database, `\`+database), d.database},
		{"DBLogDirectory", saved.LogDir, d.log}, {"DBSystemDirectory", saved.CheckpointDir, d.system},
	} {
		path, mapped := h.mapped(want.saved)
		if rest, same := cutPrefix(path, string(want.place)); mapped && (!same || rest != "") {
			return nil, hint.With(fmt.Errorf("%s is to be %s now, and the registry has %s", want.saved, path, want.place),
				fmt.Sprintf(`certutil -setreg %s "%s" says so to the service; then restore`, want.value, path))
		}
	}
	spell := func(p localPath, saved string) string {
		if _, mapped := h.mapped(saved); mapped {
			return h.unc(p) // the saved name is another machine's
		}
		if path, err := h.resolve(saved); err == nil {
			if same, ok := cutPrefix(path, string(p)); ok && same == "" {
				return strings.TrimSuffix(saved, `\`)
			}
		}
		return h.unc(p)
	}
	return certadm.FileList{
		{Type: certadm.FileDatabase, Path: spell(d.file, saved.Database)},
		{Type: certadm.FileLogDir, Path: spell(d.log, saved.LogDir)},
		{Type: certadm.FileCheckpointDir, Path: spell(d.system, saved.CheckpointDir)},
	}, nil
}

// unc is the name of a local path in this machine's NetBIOS name, as AD CS gives
// it (\\SERVER\e$\winnt\system32\certlog\rootca.edb in MS-CSRA's example).
func (h *Host) unc(p localPath) string {
	return `\\` + h.names.netBIOS + `\` + string(p[:1]) + `$` + strings.TrimSuffix(string(p[2:]), `\`)
}

// splitLast cuts the last element off.
func splitLast(p localPath) (dir localPath, base string) {
	i := strings.LastIndexByte(string(p), '\\')
	dir, base = p[:i], string(p[i+1:])
	if len(dir) == 2 {
		dir += `\`
	}
	return dir, base
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

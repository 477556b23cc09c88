package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable"
)

// MaterializeOptions are the options of [Materialize].
type MaterializeOptions struct {
	Source
	Until Until

	// Dir is an existing, empty directory.
	Dir string

	// MoreLogs are closed logs that follow the last set, and OpenLog is the log
	// that was still open, all of them salvaged from the dead authority's
	// machine. Both may be empty.
	MoreLogs []string
	OpenLog  string

	Progress func(Progress)
}

// Materialized is a chain in a directory: a copy of the database as it was
// taken, not yet recovered, and the logs up to the target.
type Materialized struct {
	Chain  backupset.Chain
	Engine cadb.Engine
	Dir    string

	// Database is the path of the copy, DatabaseFile what it is in the set.
	Database     string
	DatabaseFile backupset.File

	// Logs are in ascending order and end with the target, or with the last log
	// of the full set if the target lies before that.
	Logs []MaterializedLog

	// Locations is the restore map.
	Locations    certadm.FileList
	RawLocations []byte

	// Dynamic are the copied dynamic files, and the certificates and CRLs among
	// the companions, of the newest set that was used and of the last in the chain.
	Dynamic []MaterializedFile

	// Target is the last generation replayed, Latest the last there is in the
	// sets or beside them, Earliest the least that is possible.
	Target, Latest, Earliest cadb.LogInfo

	// Salvage is what the open log gave, if one was used.
	Salvage *cadb.SalvageResult

	// Bytes is how much was read.
	Bytes int64

	// Findings are things that did not stand in the way of a recovery: damage to
	// dynamic files or the restore map, and logs that were whole in another set.
	Findings []cadb.Finding

	sets    []backupset.Set
	copyEnd uint32 // the generation of the log that ended the copying of the database
}

// MaterializedFile is a file that was copied out of a set.
type MaterializedFile struct {
	Set    int // index in the chain
	File   backupset.File
	Path   string
	SHA256 string
}

// MaterializedLog is a log; Set is -1 for one that came from outside the sets.
type MaterializedLog struct {
	cadb.LogInfo
	MaterializedFile
}

// Label is what messages call a file.
func (m *Materialized) Label(f MaterializedFile) string {
	if f.Set < 0 {
		return f.File.Source
	}
	return fileLabel(m.Chain[f.Set], f.File)
}

// Materialize copies what a restore needs out of a chain of sets, and holds
// each file against its manifest on the way. The sets are not changed. Damage
// to a file that is needed is a [*DamageError]; a log that several sets have is
// taken from one where it is whole. A target that the chain cannot reach is a
// [*TargetError].
func Materialize(ctx context.Context, o MaterializeOptions) (*Materialized, error) {
	chain, _, err := o.chain(ctx)
	if err != nil {
		return nil, err
	}
	return materialize(ctx, o, chain)
}

func materialize(ctx context.Context, o MaterializeOptions, chain backupset.Chain) (*Materialized, error) {
	z := &materializer{o: o, m: &Materialized{Chain: chain, Dir: o.Dir}, x: fetcher{found: new(cadb.Findings), progress: o.Progress}}
	err := z.run(ctx)
	z.m.Bytes, z.m.Findings = z.x.bytes, z.x.found.All()
	if err != nil {
		return nil, err
	}
	return z.m, nil
}

type materializer struct {
	o    MaterializeOptions
	m    *Materialized
	x    fetcher
	logs map[uint32][]candidate
}

// candidate is a log in one of the sets.
type candidate struct {
	set  int
	file backupset.File
	info cadb.LogInfo
	err  error // of reading its header
}

func (z *materializer) run(ctx context.Context) (err error) {
	m := z.m
	if m.Engine, err = cadb.EngineNamed(m.Chain[0].Manifest.Engine); err != nil {
		return fmt.Errorf("set %s: %w", setLabel(m.Chain[0]), err)
	}
	for _, e := range m.Chain {
		s, err := open(ctx, z.o.Store, e)
		if err != nil {
			return fmt.Errorf("set %s: %w", setLabel(e), err)
		}
		m.sets = append(m.sets, s)
	}
	if err := z.readHeaders(ctx); err != nil {
		return err
	}
	wanted, err := z.plan(ctx)
	if err != nil {
		return err
	}
	total := m.DatabaseFile.Size
	for _, g := range wanted {
		if c := z.logs[g]; len(c) > 0 {
			total += c[0].file.Size
		}
	}
	z.x.begin("reading the set", total)
	if err := z.database(ctx); err != nil {
		return err
	}
	for _, g := range wanted {
		if err := z.log(ctx, g); err != nil {
			return err
		}
	}
	if err := z.outside(ctx); err != nil {
		return err
	}
	return z.dynamic(ctx)
}

func (z *materializer) database(ctx context.Context) error {
	m := z.m
	dbs := m.sets[0].Manifest().ByRole(backupset.RoleDatabase)
	if len(dbs) != 1 {
		return damage(cadb.CodeMissing, setLabel(m.Chain[0]), "", "the set has %d databases, and must have one", len(dbs))
	}
	m.DatabaseFile = dbs[0]
	dir := filepath.Join(m.Dir, "database")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	m.Database = filepath.Join(dir, m.DatabaseFile.Name)
	got, err := z.x.fetch(ctx, m.sets[0], m.Chain[0], m.DatabaseFile, m.Database)
	if err != nil {
		return err
	}
	m.DatabaseFile.SHA256, m.DatabaseFile.Size = got.sum, got.size
	if z.x.found.Damaged() {
		return &DamageError{z.x.found.All()}
	}
	return z.locations(ctx)
}

// maxLocations bounds certbkxp.dat, which holds three paths.
const maxLocations = 1 << 20

// locations reads the restore map. Where its file is damaged, the manifest says
// the same.
func (z *materializer) locations(ctx context.Context) error {
	m := z.m
	man := m.sets[0].Manifest()
	for _, l := range man.Locations {
		if man.Synthesized {
			break // made up from the file itself
		}
		m.Locations = append(m.Locations, certadm.FileEntry{Type: l.Tag, Path: l.Path})
	}
	f, ok := man.Find(backupset.RoleLocations)
	if !ok {
		z.x.found.Add(cadb.Finding{Severity: cadb.Damage, Code: cadb.CodeMissing, File: setLabel(m.Chain[0]) + "/" + backupset.RoleLocations.Dir() + "/" + backupset.LocationsName,
			Message: "the restore map is missing"})
		return nil
	}
	path := filepath.Join(m.Dir, backupset.LocationsName)
	got, err := z.x.fetch(ctx, m.sets[0], m.Chain[0], f, path)
	if err != nil || got.bad {
		return err
	}
	if m.RawLocations, err = durable.ReadFile(durable.OS, path, maxLocations); err != nil {
		return err
	}
	list, err := certadm.DecodeLocations(m.RawLocations)
	if err == nil {
		_, err = list.RestoreMap()
	}
	if err != nil {
		z.x.found.Add(cadb.Finding{Severity: cadb.Damage, Code: cadb.CodeFormat, File: fileLabel(m.Chain[0], f), Message: err.Error()})
		return nil
	}
	m.Locations = list
	return nil
}

// log copies one generation, from the first set where it is whole.
func (z *materializer) log(ctx context.Context, g uint32) error {
	m := z.m
	dir := filepath.Join(m.Dir, "log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var failed []cadb.Finding
	for _, c := range z.logs[g] {
		path := filepath.Join(dir, m.Engine.LogName(g))
		one := fetcher{found: new(cadb.Findings), progress: z.x.progress, phase: z.x.phase}
		got, err := one.fetch(ctx, m.sets[c.set], m.Chain[c.set], c.file, path)
		z.x.bytes, z.x.phase = z.x.bytes+one.bytes, one.phase
		if err != nil {
			return err
		}
		file := MaterializedFile{c.set, c.file, path, got.sum}
		if !got.bad {
			info, ferr := checkLogFile(ctx, m.Engine, path, g)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if ferr == nil {
				m.Logs = append(m.Logs, MaterializedLog{info, file})
				for _, f := range failed {
					f.Severity, f.Message = cadb.Warning, f.Message+"; the same log is whole in "+setLabel(m.Chain[c.set])
					z.x.found.Add(f)
				}
				return nil
			}
			code, _ := cadb.LogFindingCode(ferr)
			one.found.Add(cadb.Finding{Severity: cadb.Damage, Code: code, File: m.Label(file), Message: ferr.Error()})
		}
		failed = append(failed, one.found.List...)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return &DamageError{failed}
}

// checkLogFile checks everything in a log, and that it bears its own name.
func checkLogFile(ctx context.Context, engine cadb.Engine, path string, g uint32) (info cadb.LogInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return info, err
	}
	if info, err = engine.CheckLog(ctx, f, fi.Size()); err != nil {
		return info, err
	}
	if info.Generation != g {
		return info, fmt.Errorf("holds generation %s, and is named as another", generation(info.Generation))
	}
	return info, nil
}

// dynamic copies the dynamic files of the newest set that was used, and of the
// last in the chain, whose CRL is the newest.
func (z *materializer) dynamic(ctx context.Context) error {
	m := z.m
	used := 0
	for _, l := range m.Logs {
		used = max(used, l.Set)
	}
	sets := []int{used}
	if tip := len(m.sets) - 1; tip != used {
		sets = append(sets, tip)
	}
	for _, i := range sets {
		dir := filepath.Join(m.Dir, fmt.Sprintf("dynamic-%d", i))
		manifest := m.sets[i].Manifest()
		for _, f := range slices.Concat(manifest.ByRole(backupset.RoleDynamic), published(manifest.ByRole(backupset.RoleCompanion))) {
			path := filepath.Join(dir, f.Role.Dir(), f.Name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			got, err := z.x.fetch(ctx, m.sets[i], m.Chain[i], f, path)
			if err != nil {
				return err
			}
			if !got.bad {
				m.Dynamic = append(m.Dynamic, MaterializedFile{i, f, path, got.sum})
			}
		}
	}
	return nil
}

// published picks certificates and CRLs.
func published(files []backupset.File) []backupset.File {
	return slices.DeleteFunc(files, func(f backupset.File) bool {
		ext := strings.ToLower(filepath.Ext(f.Name))
		return ext != ".crt" && ext != ".crl"
	})
}

// logName is what a log is called where it goes: as the set has it, if that is a name of
// its generation, since ESE has two forms of them.
func (m *Materialized) logName(l MaterializedLog) string {
	if g, ok := m.Engine.ParseLogName(l.File.Name); ok && g == l.Generation {
		return l.File.Name
	}
	return m.Engine.LogName(l.Generation)
}

// paths lists the logs for cadb.Engine.Recover.
func (m *Materialized) paths() []string {
	var paths []string
	for _, l := range m.Logs {
		paths = append(paths, l.Path)
	}
	return paths
}

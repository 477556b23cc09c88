package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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

	// Logs are in ascending order and end with the target.
	Logs []MaterializedLog

	// Locations is the restore map.
	Locations    certadm.FileList
	RawLocations []byte

	// Dynamic are the copied dynamic files of the newest set that was used, and
	// of the last in the chain.
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

	sets []backupset.Set
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
		return f.Path
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

// readHeaders finds every log of every set. Only the beginning of each is read.
func (z *materializer) readHeaders(ctx context.Context) error {
	z.logs = make(map[uint32][]candidate)
	for i, s := range z.m.sets {
		for _, f := range s.Manifest().ByRole(backupset.RoleLog) {
			g, ok := z.m.Engine.ParseLogName(f.Name)
			if !ok {
				z.x.found.Add(cadb.Finding{Severity: cadb.Warning, Code: cadb.CodeUnexpected, File: fileLabel(z.m.Chain[i], f),
					Message: "not the name of a log; not used"})
				continue
			}
			c := candidate{set: i, file: f}
			c.info, c.err = readHeader(ctx, z.m.Engine, s, f)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			z.logs[g] = append(z.logs[g], c)
		}
	}
	return nil
}

// logHead is as much of a log as says what it is.
const logHead = 4096

func readHeader(ctx context.Context, engine cadb.Engine, s backupset.Set, f backupset.File) (info cadb.LogInfo, err error) {
	r, err := s.Open(ctx, f)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	head := make([]byte, logHead)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return info, err
	}
	return engine.ReadLog(bytes.NewReader(head[:n]))
}

// header is the header of a generation, from whichever set has one to read.
func (z *materializer) header(g uint32) (cadb.LogInfo, error) {
	label := z.m.Engine.LogName(g)
	for _, e := range z.m.Chain {
		if e.Manifest.FirstGeneration <= g && g <= e.Manifest.LastGeneration {
			label = setLabel(e) + "/" + backupset.RoleLog.Dir() + "/" + label
			break
		}
	}
	err := error(damage(cadb.CodeMissing, label, "", "the log is missing"))
	for _, c := range z.logs[g] {
		if c.err == nil {
			return c.info, nil
		}
		err = z.headerError(c)
	}
	return cadb.LogInfo{}, err
}

func (z *materializer) headerError(c candidate) error {
	code, _ := cadb.LogFindingCode(c.err)
	if errors.Is(c.err, backupset.ErrNotFound) {
		code = cadb.CodeMissing
	}
	return damage(code, fileLabel(z.m.Chain[c.set], c.file), "", "%v", c.err)
}

// plan finds the first generation, the earliest target and the target, and
// returns the generations to copy.
func (z *materializer) plan(ctx context.Context) ([]uint32, error) {
	m := z.m
	full := m.Chain[0]
	end, err := copyEnd(z, full)
	if err != nil {
		return nil, err
	}
	first := end.CopyFirst
	if first == 0 || first > end.Generation {
		return nil, damage(cadb.CodeFormat, z.logLabel(end.Generation), "", "does not say where the copy of the database begins")
	}
	last := first - 1
	for _, e := range m.Chain {
		last = max(last, e.Manifest.LastGeneration)
	}
	var infos []cadb.LogInfo
	for g := first; g <= last; g++ {
		info, err := z.header(g)
		if err != nil {
			// What is not needed may be missing, if it is known not to be.
			if z.o.Until.Generation != 0 && g > z.o.Until.Generation && g > end.EarliestTarget {
				var d *DamageError
				if errors.As(err, &d) {
					for _, f := range d.Findings {
						f.Severity = cadb.Warning
						z.x.found.Add(f)
					}
				}
				break
			}
			return nil, err
		}
		infos = append(infos, info)
	}
	m.Latest = infos[len(infos)-1]
	for _, info := range infos {
		if info.Generation == end.EarliestTarget {
			m.Earliest = info
		}
	}
	if m.Earliest.Generation == 0 {
		return nil, damage(cadb.CodeMissing, m.Engine.LogName(end.EarliestTarget), "", "the log is missing, and the database cannot be recovered without it")
	}
	if z.needsOutside() {
		m.Target = m.Latest // as far as the sets go; see outside
	} else if m.Target, err = z.o.Until.target(infos, m.Earliest.Generation); err != nil {
		return nil, err
	}
	var wanted []uint32
	for g := first; g <= m.Target.Generation; g++ {
		wanted = append(wanted, g)
	}
	return wanted, nil
}

// needsOutside reports whether the target may lie in the logs that came from
// outside the sets.
func (z *materializer) needsOutside() bool {
	if len(z.o.MoreLogs) == 0 && z.o.OpenLog == "" {
		return false
	}
	u := z.o.Until
	return u.IsZero() || u.Generation > z.m.Latest.Generation || u.Time.After(z.m.Latest.Closed)
}

// copyEnd is the header of the log that ended the copy of a full set: it says
// what the copy needs. Where a manifest says so too, they must agree.
func copyEnd(z *materializer, full backupset.Entry) (cadb.LogInfo, error) {
	var end cadb.LogInfo
	var unreadable error
	for _, cs := range z.logs {
		for _, c := range cs {
			if c.set != 0 {
				continue
			}
			if c.err != nil {
				unreadable = z.headerError(c)
			} else if c.info.EarliestTarget != 0 && c.info.Generation > end.Generation {
				end = c.info
			}
		}
	}
	m := full.Manifest
	switch {
	case end.Generation == 0 && unreadable != nil:
		return end, unreadable
	case end.Generation == 0 && len(z.m.sets[0].Manifest().ByRole(backupset.RoleLog)) == 0:
		return end, damage(cadb.CodeMissing, setLabel(full), "", "there is no log in the set, and the database cannot be recovered without")
	case end.Generation == 0:
		return end, damage(cadb.CodeMissing, setLabel(full), "", "no log in the set ends the copying of a database: the last one is missing")
	case m.EarliestTarget != 0 && m.EarliestTarget != end.EarliestTarget:
		return end, damage(cadb.CodeMismatch, z.logLabel(end.Generation), "", "says that the earliest target is %d, and the manifest says %d", end.EarliestTarget, m.EarliestTarget)
	}
	return end, nil
}

func (z *materializer) logLabel(g uint32) string {
	for _, c := range z.logs[g] {
		return fileLabel(z.m.Chain[c.set], c.file)
	}
	return z.m.Engine.LogName(g)
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
		for _, f := range m.sets[i].Manifest().ByRole(backupset.RoleDynamic) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			path := filepath.Join(dir, f.Name)
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

// paths lists the logs for cadb.Engine.Recover.
func (m *Materialized) paths() []string {
	var paths []string
	for _, l := range m.Logs {
		paths = append(paths, l.Path)
	}
	return paths
}

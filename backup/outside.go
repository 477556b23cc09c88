package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/internal/hint"
)

// outside adds the logs that were saved from the dead authority's machine: the
// closed ones after the last set, then the open one.
func (z *materializer) outside(ctx context.Context) error {
	if !z.needsOutside() {
		return nil
	}
	m := z.m
	if err := z.moreLogs(ctx); err != nil {
		return err
	}
	if z.o.OpenLog != "" {
		if err := z.salvage(ctx); err != nil {
			return err
		}
	}
	var infos []cadb.LogInfo
	for _, l := range m.Logs {
		infos = append(infos, l.LogInfo)
	}
	if !m.Engine.Replays() {
		z.closingTimes(infos)
		if last := m.Logs[len(m.Logs)-1]; last.Set < 0 {
			// It was written to its end by then; a copy of it is later still.
			fi, err := os.Stat(last.File.Source)
			if err != nil {
				return err
			}
			infos[len(infos)-1].Closed = fi.ModTime().UTC()
		}
	}
	m.Latest = infos[len(infos)-1]
	target, err := z.o.Until.target(infos, m.Earliest.Generation)
	if err != nil {
		return err
	}
	m.Target = target
	m.Logs = slices.DeleteFunc(m.Logs, func(l MaterializedLog) bool { return l.Generation > max(target.Generation, m.copyEnd) })
	return nil
}

func (z *materializer) moreLogs(ctx context.Context) error {
	m := z.m
	type extra struct {
		path string
		g    uint32
	}
	var extras []extra
	for _, path := range z.o.MoreLogs {
		g, ok := m.Engine.ParseLogName(filepath.Base(path))
		if !ok {
			return fmt.Errorf("%s: not the name of a closed log", path)
		}
		if g > m.Latest.Generation {
			extras = append(extras, extra{path, g})
		}
	}
	slices.SortFunc(extras, func(a, b extra) int { return cmp.Compare(a.g, b.g) })
	next := m.Latest.Generation + 1
	for _, x := range extras {
		if x.g < next {
			continue // the same generation given twice
		}
		if x.g != next {
			return damage(cadb.CodeMissing, m.Engine.LogName(next), "", "the log is missing: the sets end at generation %d, and the next one given is %d", next-1, x.g)
		}
		info, err := checkLogFile(ctx, m.Engine, x.path, x.g)
		if err == nil {
			err = m.Engine.CheckChain([]cadb.LogInfo{m.Logs[len(m.Logs)-1].LogInfo, info})
		}
		if err != nil {
			if environmental(err) {
				return err
			}
			code, _ := cadb.LogFindingCode(err)
			return damage(code, x.path, "", "%v", err)
		}
		// Copied, because what was verified must be what is used.
		dst := filepath.Join(m.Dir, "log", m.Engine.LogName(x.g))
		sum, size, err := copyLocal(ctx, x.path, dst)
		if err != nil {
			return err
		}
		f := MaterializedFile{Set: -1, Path: dst, SHA256: sum}
		f.File.Name, f.File.Size, f.File.Source = filepath.Base(dst), size, x.path
		m.Logs = append(m.Logs, MaterializedLog{info, f})
		next++
	}
	return nil
}

// salvage makes a log of the open one.
func (z *materializer) salvage(ctx context.Context) error {
	m := z.m
	if !m.Engine.Replays() {
		return hint.With(fmt.Errorf("%s: %w", z.o.OpenLog, cadb.ErrUnsupported),
			"leave it in the log directory of AD CS, which replays it after those of the sets as it starts")
	}
	last := m.Logs[len(m.Logs)-1]
	tmp := filepath.Join(m.Dir, "salvaged.log")
	s, err := m.Engine.Salvage(ctx, z.o.OpenLog, last.Path, tmp)
	if errors.Is(err, cadb.ErrNothingNew) {
		z.x.found.Add(cadb.Finding{Severity: cadb.Note, Code: cadb.CodeUnchecked, File: z.o.OpenLog, Message: err.Error()})
		return nil
	}
	if err != nil {
		if environmental(err) {
			return err
		}
		code, _ := cadb.LogFindingCode(err)
		return hint.With(damage(code, z.o.OpenLog, "", "it cannot be used after generation %s, the last one there is: %v", generation(last.Generation), err),
			"if the authority closed logs after the last set, give those as well; "+
				"without the open log the restore ends at the last set")
	}
	dst := filepath.Join(m.Dir, "log", m.Engine.LogName(s.Generation))
	if err := os.Rename(tmp, dst); err != nil {
		return err
	}
	info, err := checkLogFile(ctx, m.Engine, dst, s.Generation)
	if err != nil {
		return fmt.Errorf("the log made of %s: %w", z.o.OpenLog, err)
	}
	sum, size, err := digest(ctx, dst)
	if err != nil {
		return err
	}
	f := MaterializedFile{Set: -1, Path: dst, SHA256: sum}
	f.File.Name, f.File.Size, f.File.Source = filepath.Base(dst), size, z.o.OpenLog
	m.Logs = append(m.Logs, MaterializedLog{info, f})
	m.Salvage = &s
	switch {
	case s.DamagedAt > 0:
		z.x.found.Add(cadb.Finding{Severity: cadb.Damage, Code: cadb.CodeHash, File: z.o.OpenLog, Where: fmt.Sprintf("page image %d", s.DamagedAt),
			Message: "it is damaged, and what was committed after it is lost"})
	case s.TornFrames > 0:
		z.x.found.Add(cadb.Finding{Severity: cadb.Note, Code: cadb.CodeUnchecked, File: z.o.OpenLog,
			Message: fmt.Sprintf("%d page images after the last commit belong to something that was never acknowledged", s.TornFrames)})
	}
	return nil
}

package backup

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
)

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
	end, err := copyEnd(ctx, z, full)
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
	if !m.Engine.Replays() {
		z.closingTimes(infos)
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
	// The log that ended the copying says what the copy needs, so it comes along
	// even when the target is before it.
	m.copyEnd = end.Generation
	var wanted []uint32
	for g := first; g <= max(m.Target.Generation, end.Generation); g++ {
		wanted = append(wanted, g)
	}
	return wanted, nil
}

// closingTimes fills in when logs were closed that do not say so: when the next one
// was opened, and the last ones before their set was complete.
func (z *materializer) closingTimes(infos []cadb.LogInfo) {
	for i := range infos {
		if i+1 < len(infos) {
			infos[i].Closed = infos[i+1].Opened
			continue
		}
		for _, c := range z.logs[infos[i].Generation] {
			infos[i].Closed = z.m.Chain[c.set].Manifest.End
		}
	}
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
func copyEnd(ctx context.Context, z *materializer, full backupset.Entry) (cadb.LogInfo, error) {
	if !z.m.Engine.Replays() {
		return z.copyEndESE(ctx, full)
	}
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

package esecheck

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/ese"
)

// required is the seventh step: whether the logs are there that recovery needs.
func (c *checker) required(context.Context) error {
	present := make(map[uint32]bool, len(c.logs))
	for _, l := range c.logs {
		present[l.Generation] = true
	}
	var highest uint32
	if n := len(c.logs); n > 0 {
		highest = c.logs[n-1].Generation
	}
	h := c.report.Header
	if h == nil {
		if c.in.Database == nil && len(c.logs) > 0 {
			c.holes(present, c.logs[0].Generation, highest, highest)
		}
		return nil
	}
	low, high, committed := h.RequiredLogs(c.report.Trailer)
	c.report.Low, c.report.High, c.report.Last = low, high, committed
	if low == 0 {
		switch {
		case h.State == ese.CleanShutdown:
		case h.LogSignature == (ese.Signature{}):
			c.find(about(Damage, BadState, c.in.Database.Name, DatabaseDirtyShutdown, "%v, and it never had logs: nothing can be replayed to make it whole", h.State))
			return nil
		default:
			c.find(about(Warning, BadState, c.in.Database.Name, DatabaseDirtyShutdown, "%v, and it does not say which logs it needs: whether they are all here was not checked", h.State))
			return nil
		}
		if len(c.logs) > 0 {
			c.find(about(Note, SpareLog, c.in.Database.Name, 0, "the database needs no logs; %s here", plural(len(c.logs), "is", "are")))
		}
		return nil
	}
	if c.in.LogsElsewhere {
		c.find(about(Note, NotChecked, c.in.Database.Name, 0, "it needs %s, and none was given", generations(low, max(high, low))))
		return nil
	}
	if len(c.logs) > 0 && c.logs[0].Generation < low {
		c.find(about(Note, SpareLog, "", 0, "logs before generation %d are not needed", low))
	}
	c.holes(present, low, max(high, low), max(highest, committed))
	return nil
}

// holes reports what is missing of the generations low to high, which are needed, and
// of those behind up to last, which only have later changes.
func (c *checker) holes(present map[uint32]bool, low, high, last uint32) {
	c.complete = low - 1
	needed := c.in.Database != nil // logs alone: nobody says what is needed
	for _, m := range missing(present, low, high) {
		s := Damage
		code, e := MissingLog, RequiredLogFilesMissing
		if !needed {
			s, e = Warning, MissingLogFile
		}
		x := about(s, code, "", e, "%s missing", logs(m[0], m[1]))
		if needed {
			x.Message += "; recovery needs " + span(low, high)
		}
		x.Generation = m[0]
		c.find(x)
		c.gap = true
	}
	for _, m := range missing(present, high+1, last) {
		x := about(Warning, MissingCommitted, "", CommittedLogFilesMissing, "%s missing; what was changed from there on is lost", logs(m[0], m[1]))
		x.Generation = m[0]
		c.find(x)
		c.gap = true
	}
	for c.complete < last && present[c.complete+1] {
		c.complete++
	}
}

// missing are the ranges of generations that are not present. They are no more than
// the logs and one, however far apart the ends are.
func missing(present map[uint32]bool, low, high uint32) (ranges [][2]uint32) {
	if low > high {
		return nil
	}
	var in []uint32
	for g := range present {
		if g >= low && g <= high {
			in = append(in, g)
		}
	}
	slices.Sort(in)
	next := uint64(low)
	for _, g := range in {
		if uint64(g) > next {
			ranges = append(ranges, [2]uint32{uint32(next), g - 1})
		}
		next = uint64(g) + 1
	}
	if next <= uint64(high) {
		ranges = append(ranges, [2]uint32{uint32(next), high})
	}
	return ranges
}

func generations(low, high uint32) string {
	if low == high {
		return fmt.Sprintf("log %d", low)
	}
	return fmt.Sprintf("logs %d to %d", low, high)
}

// logs begins a sentence about some.
func logs(low, high uint32) string {
	if low == high {
		return generations(low, high) + " is"
	}
	return generations(low, high) + " are"
}

func span(low, high uint32) string {
	if low == high {
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}

// signatures is the eighth step: whether logs and database belong together.
func (c *checker) signatures(context.Context) error {
	h := c.report.Header
	if h == nil {
		return nil
	}
	for _, l := range c.logs {
		if h.LogSignature == (ese.Signature{}) {
			c.find(about(Note, ForeignLog, l.file.Name, 0, "the database was never logged"))
			continue
		}
		if l.Signature != h.LogSignature {
			c.find(Finding{Damage, ForeignLog, l.file.Name, 0, l.Generation, -1, BadLogSignature,
				fmt.Sprintf("of log stream %v, the database is of %v", l.Signature, h.LogSignature)})
			continue
		}
		c.attached(l.file.Name, l.Generation, l.Attached, Warning)
		for _, x := range []struct {
			generation uint32
			made       ese.LogTime
		}{{h.MaxCommitted, h.MaxCommittedTime}, {h.MaxRequired, h.MaxRequiredTime}, c.trailerLog(true), c.trailerLog(false)} {
			if x.generation == l.Generation && x.made != (ese.LogTime{}) && x.made != l.Created {
				c.find(Finding{Damage, LogSequence, l.file.Name, 0, l.Generation, 16, InvalidLogSequence,
					fmt.Sprintf("it was made at %s; the database knows one of %s", stamp(l.Created), stamp(x.made))})
				break
			}
		}
		if l.PageSize != h.PageSize {
			c.find(Finding{Warning, LogVersion, l.file.Name, 0, l.Generation, 14, 0, fmt.Sprintf("it is for pages of %d bytes, the database has %d", l.PageSize, h.PageSize)})
		}
	}
	return nil
}

// trailerLog is what the trailer says of its last logs.
func (c *checker) trailerLog(committed bool) (x struct {
	generation uint32
	made       ese.LogTime
}) {
	if t := c.report.Trailer; t != nil && committed {
		x.generation, x.made = t.MaxCommitted, t.MaxCommittedTime
	} else if t != nil {
		x.generation, x.made = t.MaxRequired, t.MaxRequiredTime
	}
	return x
}

// attached compares the databases that a log or checkpoint names with the one here. A
// log of before the database was attached names none; one that names others only is odd.
func (c *checker) attached(file string, generation uint32, list []ese.Attachment, s Severity) {
	if len(list) == 0 {
		return
	}
	var names []string
	for _, a := range list {
		if a.Signature == c.report.Header.Signature {
			return
		}
		names = append(names, fmt.Sprintf("%v (%s)", a.Signature, a.Path))
	}
	c.find(Finding{s, ForeignDatabase, file, 0, generation, -1, BadDbSignature,
		fmt.Sprintf("it is of the database %s; this one is %v", strings.Join(names, " and of "), c.report.Header.Signature)})
}

// checkpoint looks at the checkpoint, which only live databases have.
func (c *checker) checkpoint(context.Context) error {
	f := c.in.Checkpoint
	if f == nil {
		return nil
	}
	cp, err := ese.ReadCheckpoint(f.R, f.Size)
	if err != nil {
		// The engine goes through all logs then.
		c.find(about(Warning, BadCheckpoint, f.Name, CheckpointCorrupt, "%v; recovery begins with the first log then", err))
		return nil
	}
	c.report.Check = &cp
	switch {
	case cp.Shadow:
		c.find(Finding{Warning, HeaderCopy, f.Name, 0, 0, 0, CheckpointCorrupt, "the checkpoint is damaged; its shadow is good"})
	case cp.ShadowIsDamaged:
		c.find(Finding{Note, HeaderCopy, f.Name, 0, 0, ese.CheckpointSize, 0, "the shadow of the checkpoint is not good; the checkpoint is"})
	}
	if len(c.logs) > 0 && cp.Signature != c.logs[len(c.logs)-1].Signature {
		c.find(about(Warning, BadCheckpoint, f.Name, BadCheckpointSignature, "of log stream %v, the logs are of %v", cp.Signature, c.logs[len(c.logs)-1].Signature))
		return nil
	}
	if c.report.Header != nil {
		c.attached(f.Name, 0, cp.Attached, Warning)
	}
	if len(c.logs) > 0 && c.fuzzy && cp.Position.Generation < c.logs[0].Generation && c.logs[0].Generation > max(c.report.Low, 1) {
		c.find(about(Note, BadCheckpoint, f.Name, 0, "it is in generation %d, and the first log is %d", cp.Position.Generation, c.logs[0].Generation))
	}
	return nil
}

package esecheck

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/certkeep/certkeep/ese"
)

// File is a file to check.
type File struct {
	Name string // for findings; a log's must be that of its generation
	R    io.ReaderAt
	Size int64 // in bytes
}

// Depth is how much is checked.
type Depth int

// The depths: each checks what the one before does.
const (
	Pages Depth = iota // headers, checksums, logs
	Trees              // also the catalog and every tree
	Rows               // also every value of every row
)

// Input is what is checked together.
type Input struct {
	Database   *File // nil: only the logs
	Logs       []File
	Checkpoint *File // nil if there is none; a backup has none

	// LogsElsewhere says that Logs is not all there is: that logs are missing is
	// then no finding.
	LogsElsewhere bool

	Depth   Depth
	Workers int // how many pages are checked at a time; one if it is less

	// Progress is called now and then with the bytes that were checked, may be nil.
	Progress func(done int64)
}

// Verdict is what the findings come to.
type Verdict string

// The verdicts.
const (
	// Sound: no fault was found. The logs were not replayed.
	Sound Verdict = "sound"

	// CompleteTo: what is there can be recovered, but logs behind Report.Generation
	// with later changes are missing.
	CompleteTo Verdict = "complete-to"

	// Damaged: there is at least one finding of that severity.
	Damaged Verdict = "damaged"
)

// Report is the result of a check.
type Report struct {
	Verdict Verdict `json:"verdict"`

	// Generation is the last log that recovery can come to; 0 if the database needs
	// none or there is none.
	Generation uint32 `json:"generation,omitempty"`

	Findings []Finding `json:"findings"`
	Dropped  int       `json:"dropped,omitempty"` // findings that were too many

	Header  *ese.Header       `json:"-"`
	Copies  ese.HeaderCopies  `json:"-"`
	Trailer *ese.Trailer      `json:"-"`
	Pages   ese.PageCounts    `json:"pages"`
	Logs    []ese.LogHeader   `json:"-"` // in order of generations
	Check   *ese.Checkpoint   `json:"-"`
	Low     uint32            `json:"required_low,omitempty"` // generations that recovery needs
	High    uint32            `json:"required_high,omitempty"`
	Last    uint32            `json:"committed,omitempty"` // last with changes of the database
	Rows    map[string]uint64 `json:"rows,omitempty"`      // of tables that are not the engine's own, if Depth says so
}

// String is the verdict in plain words.
func (r *Report) String() string {
	switch {
	case r.Verdict == Damaged:
		n := 0
		for _, f := range r.Findings {
			if f.Severity == Damage {
				n++
			}
		}
		return "damaged: " + plural(n+r.Dropped, "finding", "findings")
	case r.Verdict == CompleteTo:
		return fmt.Sprintf("complete only to generation %d", r.Generation)
	}
	return "no fault found (logs not replayed)"
}

// maxFindings bounds a report; that of a database of zeros and ones would be long.
const maxFindings = 10000

// Check checks the files. Its error is the context's: whatever is wrong with the files
// is in the report.
func Check(ctx context.Context, in Input) (*Report, error) {
	c := &checker{in: in, report: &Report{Findings: []Finding{}}}
	for _, step := range []func(context.Context) error{c.header, c.trailer, c.pages, c.logHeaders, c.chain, c.segments, c.required, c.signatures, c.checkpoint, c.contents} {
		if err := ctx.Err(); err != nil {
			return c.report, err
		}
		if err := step(ctx); err != nil {
			return c.report, err
		}
	}
	c.verdict()
	return c.report, nil
}

type checker struct {
	in       Input
	report   *Report
	logs     []logFile // good headers, by generation, each generation once
	done     int64
	fuzzy    bool // logs have to be replayed: structure may disagree
	complete uint32
	gap      bool
	damaged  bool
}

func (c *checker) find(f Finding) {
	if f.Severity == Damage {
		c.damaged = true
	}
	if len(c.report.Findings) >= maxFindings {
		c.report.Dropped++
		return
	}
	c.report.Findings = append(c.report.Findings, f)
}

// about makes a finding that is about the whole of a file.
func about(s Severity, code Code, file string, e JetError, format string, args ...any) Finding {
	return Finding{Severity: s, Code: code, File: file, Offset: -1, Error: e, Message: fmt.Sprintf(format, args...)}
}

func (c *checker) progress(n int64) {
	c.done += n
	if c.in.Progress != nil {
		c.in.Progress(c.done)
	}
}

func (c *checker) verdict() {
	r := c.report
	r.Generation = c.complete
	switch {
	case c.damaged:
		r.Verdict = Damaged
	case c.gap:
		r.Verdict = CompleteTo
	default:
		r.Verdict = Sound
	}
}

// header is the first step: the header and its shadow.
func (c *checker) header(context.Context) error {
	db := c.in.Database
	if db == nil {
		return nil
	}
	h, copies, err := ese.ReadHeader(db.R, db.Size)
	c.report.Copies = copies
	if err != nil {
		f := about(Damage, BadHeader, db.Name, InvalidDatabase, "%v", err)
		switch {
		case errors.Is(err, ese.ErrChecksum):
			f.Error = ReadVerifyFailure
		case !errors.Is(err, ese.ErrNotDatabase) && !errors.Is(err, ese.ErrVersion):
			f.Code, f.Error = Unreadable, DiskIO
		}
		c.find(f)
		return nil
	}
	c.report.Header = &h
	c.fuzzy = h.State != ese.CleanShutdown
	switch {
	case copies.UsedShadow:
		c.find(Finding{Warning, HeaderCopy, db.Name, 0, 0, 0, ReadVerifyFailure, "the header is damaged; its shadow is good, and the engine would use it"})
	case !copies.ShadowGood && !h.ShadowDisabled:
		c.find(Finding{Warning, HeaderCopy, db.Name, 0, 0, int64(h.PageSize), ReadVerifyFailure, "the shadow of the header is damaged; the header is good"})
	case copies.Differ:
		c.find(Finding{Note, HeaderCopy, db.Name, 0, 0, int64(h.PageSize), 0, "the header and its shadow differ; the engine uses the header"})
	}
	if !h.KnownRevision() {
		c.find(about(Note, UnknownRevision, db.Name, 0, "format 0x%x,%d is newer than what this check was tried on", h.Version, h.Revision))
	}
	if over := db.Size % int64(h.PageSize); over != 0 {
		c.find(Finding{Damage, BadSize, db.Name, 0, 0, db.Size - over, ReadVerifyFailure, fmt.Sprintf("the file ends %d bytes into a page of %d", over, h.PageSize)})
	}
	c.history(h)
	switch h.State {
	case ese.CleanShutdown:
	case ese.DirtyShutdown, ese.JustCreated, ese.DirtyAndPatched:
		if h.StreamingBackup() {
			c.find(about(Note, BadState, db.Name, 0, "a backup of a running engine, from generation %d on, not restored yet: logs must be replayed, as is normal", h.FullCur.GenLow))
		} else {
			c.find(about(Note, BadState, db.Name, DatabaseDirtyShutdown, "%v: logs must be replayed before it is whole", h.State))
		}
	default:
		c.find(about(Warning, BadState, db.Name, DatabaseDirtyShutdown, "%v", h.State))
	}
	if h.FullCur.GenLow != 0 && h.FullCur.GenHigh != 0 {
		c.find(about(Note, BadState, db.Name, 0, "a backup whose restore was begun: generations %d to %d", h.FullCur.GenLow, h.FullCur.GenHigh))
	}
	return nil
}

// history reports what the header remembers.
func (c *checker) history(h ese.Header) {
	for _, x := range []struct {
		severity Severity
		what     ese.Incident
		message  string
	}{
		{Warning, h.Repairs, "it was repaired (esentutl /p), which throws data away: %s%s"},
		{Warning, h.BadChecksums, "the engine has met damaged pages: %s%s"},
		{Warning, h.ECCNotFixed, "the engine has met wrong bits that it could not correct: %s%s"},
		{Note, h.ECCFixed, "the engine has corrected single bits: %s%s"},
	} {
		if x.what.Count == 0 && x.what.Old == 0 {
			continue
		}
		last := ""
		if t := x.what.Last.Time(); !t.IsZero() {
			last = ", last at " + t.Format("2006-01-02 15:04:05")
		}
		if x.what.Old != 0 {
			last += fmt.Sprintf(", and %d before the last repair", x.what.Old)
		}
		c.find(about(x.severity, History, c.in.Database.Name, 0, x.message, times(x.what.Count), last))
	}
}

func times(n uint32) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// trailer is the second step: the last page of a streaming backup.
func (c *checker) trailer(context.Context) error {
	h, db := c.report.Header, c.in.Database
	if h == nil || !h.StreamingBackup() {
		return nil
	}
	at := db.Size/int64(h.PageSize)*int64(h.PageSize) - int64(h.PageSize)
	t, err := ese.ReadTrailer(db.R, db.Size, *h)
	switch {
	case errors.Is(err, ese.ErrTrailer):
		c.find(Finding{Damage, BadTrailer, db.Name, 0, 0, at, BadPatchPage, err.Error()})
	case err != nil:
		c.find(Finding{Damage, Unreadable, db.Name, 0, 0, at, DiskIO, err.Error()})
	default:
		c.report.Trailer = &t
		if err := t.Match(*h); err != nil {
			c.find(Finding{Damage, ForeignTrailer, db.Name, 0, 0, at, DatabasePatchFileMismatch, err.Error()})
		}
	}
	return nil
}

// pages is the third step: every page's checksum.
func (c *checker) pages(ctx context.Context) error {
	h, db := c.report.Header, c.in.Database
	if h == nil {
		return nil
	}
	n := int64(h.PageSize)
	last := db.Size/n - 2
	if h.StreamingBackup() {
		last-- // the trailer, or where it should be
	}
	if last < 1 || last >= 1<<32 {
		c.find(about(Damage, BadSize, db.Name, InvalidDatabase, "%d bytes in pages of %d", db.Size, n))
		return nil
	}
	r := &countingReader{c: c, r: db.R}
	check := ese.Checker{PageSize: h.PageSize, First: 1, Last: uint32(last), Workers: c.in.Workers}
	counts, err := check.Check(ctx, r, func(p ese.PageCheck) error {
		f := Finding{Severity: Damage, Code: BadPage, File: db.Name, Page: p.Page, Offset: p.Offset, Error: ReadVerifyFailure}
		switch p.Verdict {
		case ese.PageCorrectable:
			f.Severity, f.Code = Warning, CorrectablePage
			f.Message = fmt.Sprintf("one wrong bit (%d of the page) that the checksum locates; the engine would correct it", p.Bits[0])
			if len(p.Bits) > 1 {
				f.Message = fmt.Sprintf("wrong bits (%v of the page), one in a block, that the checksums locate; the engine would correct them", p.Bits)
			}
		case ese.PageMisplaced:
			f.Code, f.Message = MisplacedPage, inner(p.Err())
		default:
			f.Message = inner(p.Err())
			if p.Unread != nil {
				f.Code, f.Error = Unreadable, DiskIO
			}
		}
		c.find(f)
		return nil
	})
	c.report.Pages = counts
	return err
}

// inner is an error's message without the page, which the finding has.
func inner(err error) string {
	if pe := (*ese.PageError)(nil); errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

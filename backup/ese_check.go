package backup

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese/esecheck"
)

// eseCodes is what findings of package esecheck are called here.
var eseCodes = map[esecheck.Code]string{
	esecheck.Unreadable: cadb.CodeUnreadable, esecheck.BadHeader: cadb.CodeFormat, esecheck.HeaderCopy: cadb.CodeHash, esecheck.BadSize: cadb.CodeSize,
	esecheck.BadTrailer: cadb.CodeFormat, esecheck.ForeignTrailer: cadb.CodeForeign, esecheck.BadPage: cadb.CodeHash,
	esecheck.CorrectablePage: cadb.CodeHash, esecheck.MisplacedPage: cadb.CodeHash, esecheck.BadLogHeader: cadb.CodeFormat,
	esecheck.BadLogName: cadb.CodeChain, esecheck.DuplicateLog: cadb.CodeDuplicate, esecheck.ForeignLog: cadb.CodeForeign,
	esecheck.LogSequence: cadb.CodeChain, esecheck.LogSums: cadb.CodeChain, esecheck.LogVersion: cadb.CodeChain,
	esecheck.BadSegment: cadb.CodeHash, esecheck.CorrectSegment: cadb.CodeHash, esecheck.TornSegment: cadb.CodeHash, esecheck.LogEnd: cadb.CodeChain,
	esecheck.MissingLog: cadb.CodeMissing, esecheck.MissingCommitted: cadb.CodeMissing, esecheck.SpareLog: cadb.CodeUnexpected,
	esecheck.ForeignDatabase: cadb.CodeForeign, esecheck.BadCheckpoint: cadb.CodeFormat, esecheck.CatalogDiffers: cadb.CodeStructure,
	esecheck.BadTree: cadb.CodeStructure, esecheck.BadRow: cadb.CodeStructure,
}

// eseFindings are the findings of a check in the form that all jobs report. what names
// the whole where a finding is about no file.
func eseFindings(r *esecheck.Report, what string) (list []cadb.Finding) {
	for _, f := range r.Findings {
		out := cadb.Finding{Severity: cadb.Severity(f.Severity), File: f.File, Message: f.Message, Code: eseCodes[f.Code]}
		if out.Code == "" {
			out.Code = cadb.CodeUnchecked
		}
		if out.File == "" {
			out.File = what
		}
		switch {
		case f.Page != 0 && f.Offset >= 0:
			out.Where = fmt.Sprintf("page %d, offset %d", f.Page, f.Offset)
		case f.Page != 0:
			out.Where = fmt.Sprintf("page %d", f.Page)
		case f.Generation != 0 && f.Offset > 0:
			out.Where = fmt.Sprintf("generation %s, offset %d", generation(f.Generation), f.Offset)
		case f.Generation != 0:
			out.Where = "generation " + generation(f.Generation)
		case f.Offset > 0:
			out.Where = fmt.Sprintf("offset %d", f.Offset)
		}
		if f.Error != 0 {
			out.Message += fmt.Sprintf(" (%v)", f.Error)
		}
		list = append(list, out)
	}
	if r.Dropped > 0 {
		list = append(list, cadb.Finding{Severity: cadb.Damage, Code: cadb.CodeTooMany, File: what, Message: fmt.Sprintf("%d more findings are not listed", r.Dropped)})
	}
	return list
}

// eseFile is a file for a check; logs are opened when they are read, so that a set of
// thousands of them needs one descriptor.
type eseFile struct {
	name string
	size int64
	open func() (backupset.ReadAtCloser, error)
}

// ReadAt opens the file for one call.
func (f eseFile) ReadAt(b []byte, off int64) (n int, err error) {
	r, err := f.open()
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	return r.ReadAt(b, off)
}

func (f eseFile) input() esecheck.File { return esecheck.File{Name: f.name, R: f, Size: f.size} }

// openLocal is an open file that knows its size.
type openLocal struct {
	*os.File
	size int64
}

func (f openLocal) Size() int64 { return f.size }

func localESE(label, path string) (eseFile, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return eseFile{}, err
	}
	size := fi.Size()
	return eseFile{label, size, func() (backupset.ReadAtCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		return openLocal{f, size}, nil
	}}, nil
}

// eseInput is what is checked together.
type eseInput struct {
	what       string // for findings about no file
	database   *eseFile
	checkpoint *eseFile
	logs       []eseFile
	depth      esecheck.Depth
	progress   func(done int64)
}

// checkESE checks database and logs. Its error is this machine's, or the context's.
func checkESE(ctx context.Context, in eseInput) (_ *esecheck.Report, _ []cadb.Finding, err error) {
	c := esecheck.Input{Depth: in.depth, Workers: 2, Progress: in.progress}
	if in.database != nil {
		// Pages are read by several at a time, from one descriptor.
		r, oerr := in.database.open()
		if oerr != nil {
			return nil, nil, oerr
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		c.Database = &esecheck.File{Name: in.database.name, R: r, Size: in.database.size}
	}
	for _, l := range in.logs {
		c.Logs = append(c.Logs, l.input())
	}
	if in.checkpoint != nil {
		f := in.checkpoint.input()
		c.Checkpoint = &f
	}
	report, err := esecheck.Check(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	return report, eseFindings(report, in.what), nil
}

// eseRun is a check of a set that goes on while its files are read.
type eseRun struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when the rest is there

	database bool // there is one
	report   *esecheck.Report
	found    []cadb.Finding
	err      error
}

// stop ends it, if it has not ended. It may be called twice.
func (run *eseRun) stop() {
	run.cancel()
	<-run.done
}

// beginESE begins what is LevelContent of a set of AD CS: whatever pages, segments, headers and
// the trailer say of themselves and of each other.
func (c *contents) beginESE(ctx context.Context) *eseRun {
	ctx, cancel := context.WithCancel(ctx)
	run := &eseRun{cancel: cancel, done: make(chan struct{})}
	w := c.v.pace.join()
	go func() {
		defer close(run.done)
		defer w.leave()
		run.err = c.runESE(ctx, run, w)
	}()
	return run
}

func (c *contents) runESE(ctx context.Context, run *eseRun, w *walker) error {
	in := eseInput{what: setLabel(c.entry), depth: esecheck.Pages}
	total := int64(0)
	for _, f := range c.entry.Manifest.Files {
		if f.Role != backupset.RoleDatabase && f.Role != backupset.RoleLog {
			continue
		}
		x := eseFile{fileLabel(c.entry, f), 0, func() (backupset.ReadAtCloser, error) { return c.set.Open(ctx, f) }}
		r, err := x.open()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			continue // a finding already, or the check says that a log is missing
		}
		x.size = r.Size()
		total += x.size
		if err := r.Close(); err != nil {
			return err
		}
		if f.Role == backupset.RoleLog {
			open := x.open
			x.open = func() (backupset.ReadAtCloser, error) {
				w.leave() // the database's pages come before the logs
				return open()
			}
			in.logs = append(in.logs, x)
		} else if in.database == nil {
			open := x.open
			x.open = func() (backupset.ReadAtCloser, error) {
				r, err := open()
				if err != nil {
					return nil, err
				}
				return &paced{ReadAtCloser: r, ctx: ctx, w: w}, nil
			}
			in.database = &x
		}
	}
	if in.database == nil {
		w.leave()
		if len(in.logs) == 0 {
			return nil
		}
	}
	c.v.x.more(total)
	was := int64(0)
	in.progress = func(done int64) {
		c.v.x.went(done - was)
		was = done
	}
	run.database = in.database != nil
	var err error
	run.report, run.found, err = checkESE(ctx, in)
	if err == nil {
		c.v.x.more(was - total) // the rest needed no look
	}
	return err
}

// finishESE waits for the check, and adds what it found.
func (c *contents) finishESE() error {
	<-c.check.done
	switch {
	case c.check.err != nil:
		return c.check.err
	case c.check.report == nil:
		return nil // there is nothing to check
	}
	c.v.old += oldLogs(c.check.report)
	if c.check.database {
		c.v.rep.Verdict = c.check.report.String()
	}
	for _, f := range c.check.found {
		if !c.check.database && f.Code == cadb.CodeMissing {
			f.Severity = cadb.Damage // of a set that should hold them all
		}
		c.v.found.Add(f)
	}
	return nil
}

// reached tells of progress that is not a file's reading.
func (x *fetcher) reached(done int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.phase.Done = done
	if x.progress != nil {
		x.progress(x.phase)
	}
}

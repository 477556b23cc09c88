package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/certkeep/certkeep/internal/durable"
)

const (
	maxField = 1024
	// maxLine is more than any line that Append writes: five fields, each byte of
	// which may become six, and the rest.
	maxLine = 5*6*maxField + 1024
)

// Options of a log.
type Options struct {
	Now func() time.Time // nil is time.Now
	FS  durable.FS       // nil is durable.OS
}

// Log appends to one file. It may be used by several goroutines. Only one Log
// at a time may append to a file (the authority's lock sees to that): a second
// would take a line that the first is writing for a torn one.
type Log struct {
	path   string
	o      Options
	mu     sync.Mutex
	filter Filter
	f      durable.File // nil after Close
}

// Open opens or creates (mode 0600) the log. Events outside the filter are not
// recorded; a filter of 0 records refused logons alone.
func Open(path string, filter Filter, o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = durable.OS
	}
	_, err := o.FS.Stat(path)
	created := errors.Is(err, fs.ErrNotExist)
	f, err := o.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err == nil && created {
		err = o.FS.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("audit log: %w", err), f.Close())
	}
	return &Log{path: path, o: o, filter: filter, f: f}, nil
}

// Append records an event, and returns when it is on disk. Who, From, What, Type
// and Result are cut to 1024 bytes each. An event that the filter does not select
// is no error, one that does not exist is. After a failure the log may be used
// again: what was torn is repaired by the next Append, as after a crash (a
// whole record that lacks its newline gets it, anything else after the last
// newline is cut off).
func (l *Log) Append(r Record) error {
	if _, ok := events[r.Event]; !ok {
		return fmt.Errorf("audit log: there is no event %d", int(r.Event))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return fmt.Errorf("audit log %s: %w", l.path, fs.ErrClosed)
	}
	if !l.filter.Selects(r.Event) {
		return nil
	}
	line, err := encode(r, l.o.Now())
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if err := l.append(line); err != nil {
		return fmt.Errorf("audit log %s: event %d (%s) is not recorded: %w", l.path, int(r.Event), r.Event, err)
	}
	return nil
}

func encode(r Record, now time.Time) ([]byte, error) {
	r.Schema, r.Time, r.Name = Schema, now.UTC().Truncate(time.Millisecond), r.Event.String()
	for _, s := range []*string{&r.Who, &r.From, &r.What, &r.Type, &r.Result} {
		*s = bounded(*s)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// bounded cuts at a character, so that the rest is valid.
func bounded(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*maxField)], "\uFFFD")
	if len(s) <= maxField {
		return s
	}
	const mark = "…"
	end := maxField - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

func (l *Log) append(line []byte) error {
	if err := l.repair(); err != nil {
		return fmt.Errorf("repair the last line: %w", err)
	}
	if _, err := l.f.Write(line); err != nil {
		return err
	}
	return l.f.Sync()
}

// repair makes the file end in a newline. In the usual case that costs one read
// of one byte.
func (l *Log) repair() error {
	fi, err := l.f.Stat()
	if err != nil || fi.Size() == 0 {
		return err
	}
	size := fi.Size()
	var last [1]byte
	if _, err := l.f.ReadAt(last[:], size-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	tail := make([]byte, min(size, maxLine))
	if _, err := l.f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return err
	}
	nl := bytes.LastIndexByte(tail, '\n')
	if nl < 0 && int64(len(tail)) < size {
		return errors.New("it is longer than any record: this is no audit log")
	}
	torn := tail[nl+1:]
	if _, err := decode(torn); err == nil {
		_, err := l.f.Write([]byte{'\n'})
		return err
	}
	// Not through l.f: a handle for appending cannot truncate on Windows.
	f, err := l.o.FS.OpenFile(l.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := f.Truncate(size - int64(len(torn))); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// decode reads one line without its newline.
func decode(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, err
	}
	if r.Schema != Schema {
		return Record{}, fmt.Errorf("schema %d: this version of certkeep knows schema %d", r.Schema, Schema)
	}
	return r, nil
}

// Filter says what is recorded.
func (l *Log) Filter() Filter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.filter
}

// SetFilter changes what is recorded from now on.
func (l *Log) SetFilter(f Filter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.filter = f
}

// Close closes the file. It may be called more than once.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	f := l.f
	l.f = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}

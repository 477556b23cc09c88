package durabletest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/internal/durable"
)

// Disk is a durable.FS that logs its operations and can make them fail. It may
// be used by several goroutines; operations are done one at a time.
type Disk struct {
	mu    sync.Mutex
	base  durable.FS
	dir   string // what is recorded lies under it; slash-separated
	start snapshot
	ops   []Op
	files int

	fault Fault
	seen  int // operations since Inject
	fired bool
}

var _ durable.FS = (*Disk)(nil)

// New returns an empty disk in memory. It has the root directory alone; names
// are taken as absolute.
func New() *Disk { return &Disk{base: newMem(), dir: "/"} }

// Over returns a disk that does everything in a real file system, such as
// durable.OS, and records what happens under dir. What is there already counts
// as being on disk. Other programs' and other packages' writes are not seen.
// Names must be absolute, and nothing may be moved into dir from outside.
func Over(base durable.FS, dir string) (*Disk, error) {
	d := &Disk{base: base, dir: clean(dir)}
	return d, d.Settle()
}

// Settle takes what is there now to be on disk, and forgets the operations so
// far.
func (d *Disk) Settle() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := snapshot{}
	if err := s.read(d.base, filepath.FromSlash(d.dir), d.dir); err != nil {
		return err
	}
	d.start, d.ops = s, nil
	return nil
}

// Ops returns the operations so far.
func (d *Disk) Ops() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.ops)
}

// Count counts the operations of a kind so far.
func (d *Disk) Count(k Kind) int {
	n := 0
	for _, o := range d.Ops() {
		if o.Kind == k {
			n++
		}
	}
	return n
}

// Mark notes that something has happened at this point of the log, such as an
// acknowledgement; see State.Reached.
func (d *Disk) Mark(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops = append(d.ops, Op{Kind: OpMark, Name: text})
}

// Inject arms a fault, in place of any earlier one.
func (d *Disk) Inject(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.seen, d.fired = f, 0, false
}

// Heal ends all faults.
func (d *Disk) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = Fault{}
}

// Fired reports whether the fault last injected has happened.
func (d *Disk) Fired() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fired
}

// do carries an operation out, unless it is to fail, and logs it.
func (d *Disk) do(o Op, f func(o *Op) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.doLocked(o, f)
}

func (d *Disk) doLocked(o Op, f func(o *Op) error) error {
	real := o.Name
	o.Name = clean(o.Name)
	if o.NewName != "" {
		o.NewName = clean(o.NewName)
	}
	if d.fault.Err != nil && (d.fault.Only == nil || d.fault.Only(o)) {
		d.seen++
		if d.seen == d.fault.Op || d.seen > d.fault.Op && d.fault.Sticky {
			d.fired = true
			o.Err = &fs.PathError{Op: o.Kind.String(), Path: real, Err: d.fault.Err}
			switch {
			case o.Kind == OpWrite && d.fault.Short:
				o.Data = o.Data[:len(o.Data)/2]
				if err := f(&o); err != nil {
					return err
				}
			case o.Kind == OpWrite:
				o.Data = nil
			case o.Kind == OpClose:
				_ = f(&o) // closed nevertheless, as on Unix
			}
			d.log(o)
			return o.Err
		}
	}
	err := f(&o)
	if o.Err = err; err == nil || o.Kind == OpWrite || o.Kind == OpSync {
		d.log(o)
	}
	return err
}

func (d *Disk) log(o Op) {
	if o.Name != d.dir && !strings.HasPrefix(o.Name, strings.TrimSuffix(d.dir, "/")+"/") {
		return
	}
	o.Data = bytes.Clone(o.Data)
	d.ops = append(d.ops, o)
}

// OpenFile implements durable.FS.
func (d *Disk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kind := OpOpen
	if flag&os.O_CREATE != 0 {
		if _, err := d.base.Stat(name); errors.Is(err, fs.ErrNotExist) {
			kind = OpCreate
		}
	}
	d.files++
	var out *file
	err := d.doLocked(Op{Kind: kind, Name: name, file: d.files, perm: perm}, func(o *Op) error {
		f, err := d.base.OpenFile(name, flag, perm)
		if err != nil {
			return err
		}
		out = &file{File: f, d: d, id: o.file, append: flag&os.O_APPEND != 0}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if kind == OpOpen && flag&os.O_TRUNC != 0 {
		d.log(Op{Kind: OpTruncate, Name: clean(name), file: out.id})
	}
	return out, nil
}

// Rename implements durable.FS.
func (d *Disk) Rename(oldname, newname string) error {
	return d.do(Op{Kind: OpRename, Name: oldname, NewName: newname}, func(*Op) error { return d.base.Rename(oldname, newname) })
}

// Remove implements durable.FS.
func (d *Disk) Remove(name string) error {
	return d.do(Op{Kind: OpRemove, Name: name}, func(*Op) error { return d.base.Remove(name) })
}

// RemoveAll implements durable.FS. It is one operation in the log; a power loss
// may still leave any part of the tree.
func (d *Disk) RemoveAll(name string) error {
	return d.do(Op{Kind: OpRemoveAll, Name: name}, func(*Op) error { return d.base.RemoveAll(name) })
}

// Mkdir implements durable.FS.
func (d *Disk) Mkdir(name string, perm fs.FileMode) error {
	return d.do(Op{Kind: OpMkdir, Name: name, perm: perm}, func(*Op) error { return d.base.Mkdir(name, perm) })
}

// MkdirAll implements durable.FS by Mkdir and SyncDir, which are logged.
func (d *Disk) MkdirAll(name string, perm fs.FileMode) error {
	name = filepath.Clean(name)
	if fi, err := d.base.Stat(name); err == nil {
		if !fi.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("not a directory")}
		}
		return nil
	}
	parent := filepath.Dir(name)
	if parent != name {
		if err := d.MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := d.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.SyncDir(parent)
}

// ReadDir implements durable.FS.
func (d *Disk) ReadDir(name string) (es []fs.DirEntry, err error) {
	err = d.do(Op{Kind: OpReadDir, Name: name}, func(*Op) (err error) {
		es, err = d.base.ReadDir(name)
		return err
	})
	return es, err
}

// Stat implements durable.FS.
func (d *Disk) Stat(name string) (fi fs.FileInfo, err error) {
	err = d.do(Op{Kind: OpStat, Name: name}, func(*Op) (err error) {
		fi, err = d.base.Stat(name)
		return err
	})
	return fi, err
}

// SyncDir implements durable.FS.
func (d *Disk) SyncDir(name string) error {
	return d.do(Op{Kind: OpSyncDir, Name: name}, func(*Op) error { return d.base.SyncDir(name) })
}

// file is an open file of a Disk.
type file struct {
	durable.File
	d      *Disk
	id     int
	append bool
}

func (f *file) op(k Kind) Op { return Op{Kind: k, Name: f.Name(), file: f.id} }

func (f *file) Read(p []byte) (n int, err error) {
	err = f.read(func() (err error) { n, err = f.File.Read(p); return err })
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.read(func() (err error) { n, err = f.File.ReadAt(p, off); return err })
	return n, err
}

// read does not take the end of the file for a failure.
func (f *file) read(do func() error) error {
	var eof error
	err := f.d.do(f.op(OpRead), func(*Op) error {
		err := do()
		if err == io.EOF {
			eof, err = err, nil
		}
		return err
	})
	if err == nil {
		err = eof
	}
	return err
}

func (f *file) Write(p []byte) (n int, err error) {
	o := f.op(OpWrite)
	o.Data = p
	err = f.d.do(o, func(o *Op) (err error) {
		whence := io.SeekCurrent
		if f.append {
			whence = io.SeekEnd
		}
		if o.Offset, err = f.File.Seek(0, whence); err != nil {
			return err
		}
		n, err = f.File.Write(o.Data)
		o.Data = o.Data[:n]
		return err
	})
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	o := f.op(OpWrite)
	o.Data, o.Offset = p, off
	err = f.d.do(o, func(o *Op) (err error) {
		n, err = f.File.WriteAt(o.Data, off)
		o.Data = o.Data[:n]
		return err
	})
	return n, err
}

func (f *file) Truncate(size int64) error {
	o := f.op(OpTruncate)
	o.Size = size
	return f.d.do(o, func(*Op) error { return f.File.Truncate(size) })
}

func (f *file) Sync() error {
	return f.d.do(f.op(OpSync), func(*Op) error { return f.File.Sync() })
}

func (f *file) Close() error {
	return f.d.do(f.op(OpClose), func(*Op) error { return f.File.Close() })
}

// snapshot is a tree: names, slash-separated, of directories and files.
type snapshot map[string]*node

func (s snapshot) read(base durable.FS, real, name string) error {
	es, err := base.ReadDir(real)
	if err != nil {
		return err
	}
	s[name] = newDir(0o755)
	for _, e := range es {
		r, n := filepath.Join(real, e.Name()), path.Join(name, e.Name())
		switch {
		case e.IsDir():
			if err := s.read(base, r, n); err != nil {
				return err
			}
		case e.Type().IsRegular():
			b, err := durable.ReadFile(base, r, 1<<40)
			if err != nil {
				return err
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			s[n] = &node{perm: fi.Mode(), data: b, mtime: fi.ModTime()}
		default:
			return fmt.Errorf("%s: %v is neither file nor directory", r, e.Type())
		}
	}
	return nil
}

package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable"
)

// syncers bounds the files that are being synced while others are written.
const syncers = 4

// writer is a set being written. It implements backupset.Writer.
type writer struct {
	s     *Store
	name  string
	force bool
	stage *stage

	mu    sync.Mutex
	files backupset.Written
	dirs  []string
	open  map[*fileWriter]bool
	err   error // the first failure; nothing is committed after it
	done  bool

	syncing int // files on their way to the disk
	synced  sync.Cond
	slots   chan struct{}
}

// Create implements backupset.Store. Without a name the set is called by an id
// of its own. A DataBase that is not empty, or a manifest, is refused without
// Force: the error is a *certadm.Error with ErrorDirNotEmpty, as certutil has
// it, and an ErrExists.
func (s *Store) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Name == "" {
		o.Name = backupset.NewID(time.Now())
	}
	if o.Name != Self {
		if err := backupset.ValidateName(o.Name); err != nil {
			return nil, fmt.Errorf("backup folder: %w", err)
		}
		if isStage(o.Name) {
			return nil, fmt.Errorf("backup folder %q is called like one that is being written", o.Name)
		}
	}
	if err := s.fsys.MkdirAll(s.dir, dirPerm); err != nil {
		return nil, err
	}
	there, err := s.prepare(o.Name)
	if err != nil {
		return nil, err
	}
	if err := s.refuse(o.Name, there, o.Force); err != nil {
		return nil, err
	}
	s.sweep(s.dir)
	parent, prefix := s.dir, o.Name
	if there {
		parent, prefix = s.path(o.Name), ""
		s.sweep(parent)
	}
	st, err := s.newStage(parent, prefix)
	if err != nil {
		return nil, err
	}
	w := &writer{s: s, name: o.Name, force: o.Force, stage: st,
		open: map[*fileWriter]bool{}, slots: make(chan struct{}, syncers)}
	w.synced.L = &w.mu
	if err := w.mkdir(backupset.RoleDatabase.Dir()); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// prepare reports whether the set's directory is there, and finishes what an
// earlier write to it has begun.
func (s *Store) prepare(name string) (there bool, err error) {
	if name != Self {
		if err := s.realDir(name); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if errors.Is(err, errNoSet) {
			return false, fmt.Errorf("%s is a file", s.path(name))
		} else if err != nil {
			return false, err
		}
	}
	return true, s.finish(s.path(name))
}

// refuse is what certutil says to a DataBase that is not empty.
func (s *Store) refuse(name string, there, force bool) error {
	if force || !there {
		return nil
	}
	dir := s.path(name)
	es, err := s.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range es {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.Name() == ManifestName:
		case backupset.FoldName(e.Name()) == backupset.FoldName(roleDirs[0]):
			if inside, err := s.fsys.ReadDir(path); err == nil && len(inside) == 0 {
				continue
			}
		default:
			continue
		}
		return &certadm.Error{
			Op: "backup", Path: path, Code: certadm.ErrorDirNotEmpty,
			Err:  fmt.Errorf("a backup is %w", backupset.ErrExists),
			Hint: "choose another folder, or replace the backup that is there with --force",
		}
	}
	return nil
}

func (w *writer) mkdir(name string) error {
	for _, d := range w.dirs {
		if d == name {
			return nil
		}
	}
	if err := w.s.fsys.Mkdir(filepath.Join(w.stage.dir, name), dirPerm); err != nil {
		return err
	}
	w.dirs = append(w.dirs, name)
	return nil
}

// CreateFile implements backupset.Writer.
func (w *writer) CreateFile(ctx context.Context, role backupset.Role, name string, size int64) (io.WriteCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := backupset.ValidateFile(role, name); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.done:
		return nil, fs.ErrClosed
	case w.err != nil:
		return nil, w.err
	}
	c, err := w.files.Add(role, name)
	if err != nil {
		return nil, err
	}
	dir := role.Dir()
	if err := w.mkdir(dir); err != nil {
		return nil, w.fail(err)
	}
	f, err := w.s.fsys.OpenFile(filepath.Join(w.stage.dir, dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return nil, w.fail(err)
	}
	if err := durable.Reserve(f, size); err != nil {
		err = fmt.Errorf("%s: %d bytes: %w", f.Name(), size, err)
		return nil, w.fail(errors.Join(err, f.Close()))
	}
	fw := &fileWriter{w: w, f: f, ctx: ctx, c: c, want: size}
	w.open[fw] = true
	return fw, nil
}

// fail notes the first failure. w.mu is held.
func (w *writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return err
}

// fileWriter is a file being written.
type fileWriter struct {
	w      *writer
	f      durable.File
	ctx    context.Context
	c      *backupset.WrittenFile
	want   int64
	begun  int64 // how far writing to the disk has been asked for
	closed bool
	err    error
}

func (f *fileWriter) Write(p []byte) (int, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	if f.err == nil {
		f.err = f.ctx.Err()
	}
	if f.err == nil && f.want >= 0 && f.c.Size+int64(len(p)) > f.want {
		f.err = fmt.Errorf("%s: more than the %d bytes that it was to have", f.f.Name(), f.want)
	}
	if f.err != nil {
		return 0, f.failed()
	}
	n, err := f.f.Write(p)
	f.c.Size += int64(n)
	if f.err = err; err != nil {
		return n, f.failed()
	}
	f.begun = durable.StartWriting(f.f, f.begun, f.c.Size)
	return n, nil
}

func (f *fileWriter) failed() error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return f.w.fail(f.err)
}

// Close begins to put the file on disk; Commit waits for it.
func (f *fileWriter) Close() error {
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	if f.err == nil && f.want >= 0 && f.c.Size != f.want {
		f.err = fmt.Errorf("%s: %d bytes of the %d that it was to have", f.f.Name(), f.c.Size, f.want)
	}
	w := f.w
	w.mu.Lock()
	if !w.open[f] {
		w.mu.Unlock()
		return fs.ErrClosed // by Abort
	}
	delete(w.open, f)
	if f.err != nil {
		defer w.mu.Unlock()
		_ = f.f.Close() // it failed before
		return w.fail(f.err)
	}
	w.syncing++
	w.mu.Unlock()
	w.slots <- struct{}{}
	go func() {
		err := errors.Join(f.f.Sync(), f.f.Close())
		<-w.slots
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			_ = w.fail(fmt.Errorf("%s: %w", f.f.Name(), err)) // Commit returns it
		}
		w.syncing--
		w.synced.Broadcast()
	}()
	return nil
}

// settle waits for the files that are on their way to the disk. w.mu is held.
func (w *writer) settle() {
	for w.syncing > 0 {
		w.synced.Wait()
	}
}

// Commit implements backupset.Writer.
func (w *writer) Commit(ctx context.Context, m *backupset.Manifest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	switch {
	case w.done:
		return fs.ErrClosed
	case w.err != nil:
		return w.err
	case len(w.open) > 0:
		return w.fail(fmt.Errorf("set %s: %d files are still open", m.ID, len(w.open)))
	}
	if err := ctx.Err(); err != nil {
		return w.fail(err)
	}
	b, err := m.Encode()
	if err != nil {
		return w.fail(err)
	}
	if err := w.files.Compare(m); err != nil {
		return w.fail(err)
	}
	if err := w.seal(b); err != nil {
		return w.fail(err)
	}
	if err := ctx.Err(); err != nil {
		return w.fail(err)
	}
	installed, err := w.s.install(w.stage, w.name, w.force)
	if err != nil && !installed {
		return w.fail(err)
	}
	w.done = true // also when it is only to be finished: nothing can be taken back
	w.stage.release()
	if err == nil {
		w.s.remember(m.ID, w.name)
	}
	return err
}

// seal writes the manifest and puts everything in the stage on disk.
func (w *writer) seal(manifest []byte) error {
	f, err := w.s.fsys.OpenFile(filepath.Join(w.stage.dir, ManifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(manifest)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, d := range w.dirs {
		if err := w.s.fsys.SyncDir(filepath.Join(w.stage.dir, d)); err != nil {
			return err
		}
	}
	return w.s.fsys.SyncDir(w.stage.dir)
}

// Abort implements backupset.Writer.
func (w *writer) Abort() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return nil
	}
	w.done = true
	for f := range w.open {
		_ = f.f.Close() // it goes away
	}
	clear(w.open)
	w.settle()
	err := w.s.fsys.RemoveAll(w.stage.dir)
	w.stage.release()
	return err
}

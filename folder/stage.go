package folder

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/durable"
)

// A stage is the directory in which a set is written: .NAME.certkeep-partial-XXXXXXXX
// beside the set to be, or .certkeep-partial-XXXXXXXX inside a folder that is
// there already. While it is being written a lock is held on a file beside it,
// .….lock, so that other processes can tell it from what a crash has left.
type stage struct {
	s    *Store
	dir  string
	lock *flock.Flock // nil where nothing can be locked
}

const (
	stageMark   = ".certkeep-partial-"
	stageRandom = 8
	lockSuffix  = ".lock"
	stagePrefix = 200 // bytes of the set's name
)

// isStage reports whether a name is that of a stage.
func isStage(name string) bool {
	i := strings.LastIndex(name, stageMark)
	if i < 0 || i > 0 && name[0] != '.' || len(name) != i+len(stageMark)+stageRandom {
		return false
	}
	for _, c := range []byte(name[i+len(stageMark):]) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// newStage makes a stage in parent, for a set of that name; the name is empty
// inside the set's own folder.
func (s *Store) newStage(parent, name string) (*stage, error) {
	if name != "" {
		name = "." + strings.ToValidUTF8(name[:min(len(name), stagePrefix)], "")
	}
	for range 10 {
		st := &stage{s: s, dir: filepath.Join(parent, name+stageMark+strings.ToLower(rand.Text()[:stageRandom]))}
		live.Store(st.dir, true)
		if s.locks() && !st.tryLock() {
			live.Delete(st.dir)
			continue // somebody is sweeping up the file that we have just made
		}
		if err := s.fsys.Mkdir(st.dir, dirPerm); err != nil {
			st.release()
			return nil, err
		}
		return st, nil
	}
	return nil, fmt.Errorf("%s: cannot lock what is to be written there", parent)
}

// tryLock takes the lock. It succeeds without one where nothing can be locked:
// sweeping will find the same.
func (st *stage) tryLock() bool {
	path := st.dir + lockSuffix
	l := flock.New(path)
	ok, err := l.TryLock()
	if err != nil {
		_ = l.Close()
		return true
	}
	if ok {
		mine, err1 := l.Stat()
		there, err2 := os.Stat(path)
		ok = err1 == nil && err2 == nil && os.SameFile(mine, there)
	}
	if !ok {
		_ = l.Close()
		return false
	}
	st.lock = l
	return true
}

// unlock removes a lock's file and gives the lock back; in this order, so that
// nobody can lock a file that is about to vanish. Windows wants the other.
func unlock(l *flock.Flock) {
	err := os.Remove(l.Path())
	_ = l.Close()
	if err != nil {
		_ = os.Remove(l.Path()) // swept another time, if not now
	}
}

// live holds the stages that this process is writing.
var live sync.Map

// locks reports whether the FS is one in which a file can be locked.
func (s *Store) locks() bool { return reflect.TypeOf(s.fsys) == reflect.TypeOf(durable.OS) }

// release ends the protection of the stage.
func (st *stage) release() {
	live.Delete(st.dir)
	if st.lock != nil {
		unlock(st.lock)
		st.lock = nil
	}
}

// sweep deletes the stages in a directory that nobody is writing any more. What
// it cannot delete stays; it is in nobody's way.
func (s *Store) sweep(dir string) {
	es, err := s.fsys.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range es {
		name, isLock := strings.CutSuffix(e.Name(), lockSuffix)
		path := filepath.Join(dir, name)
		switch {
		case !isStage(name):
			if strings.HasPrefix(name, "."+ReceiptName+".") && strings.HasSuffix(name, durable.AsideSuffix) && e.Type().IsRegular() {
				_ = s.fsys.Remove(path)
			}
			continue
		case isLock && !e.Type().IsRegular(), !isLock && !e.IsDir():
			continue
		}
		s.sweepOne(path)
	}
}

func (s *Store) sweepOne(path string) {
	if _, ok := live.Load(path); ok || !s.ours(path) {
		return
	}
	if s.locks() {
		l := flock.New(path + lockSuffix)
		if ok, err := l.TryLock(); !ok || err != nil {
			_ = l.Close()
			return
		}
		defer unlock(l)
	}
	_ = s.fsys.RemoveAll(path)
}

// ours reports whether a directory called like a stage holds nothing but what
// a stage does.
func (s *Store) ours(path string) bool {
	es, err := s.fsys.ReadDir(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) // a lock without its stage
	}
	for _, e := range es {
		known := e.Name() == ManifestName
		for _, d := range roleDirs {
			known = known || e.Name() == d
		}
		if !known {
			return false
		}
	}
	return true
}

var _ backupset.Writer = (*writer)(nil)

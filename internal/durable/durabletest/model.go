package durabletest

import (
	"bytes"
	"io/fs"
	"maps"
	"path"
	"slices"
)

// model replays a log and knows what is on disk and what only in memory.
type model struct {
	root    *inode
	pending []*change // of entries, in order
	files   map[int]*inode
	dirty   []*inode // files with unsynced bytes, in order of first writing
}

// inode is a file or directory of the model.
type inode struct {
	perm fs.FileMode

	entries map[string]*inode // as the running system sees it; nil for a file
	durable map[string]*inode // as the disk has it

	disk   []byte  // the bytes on disk; never changed in place
	writes []write // not synced
	lost   bool    // a Sync failed: later ones cannot be believed
}

// write is a change of a file's bytes.
type write struct {
	off  int64
	data []byte
	cut  bool // truncate to off
}

// change is an unsynced change of entries: one, or for a rename two.
type change struct{ edits []edit }

// edit sets an entry, or removes it if node is nil.
type edit struct {
	dir  *inode
	name string
	node *inode
}

func (n *inode) isDir() bool { return n.entries != nil }

func newModel(start snapshot) *model {
	m := &model{root: dirInode(0o755), files: map[int]*inode{}}
	for _, name := range slices.Sorted(maps.Keys(start)) { // parents first
		n := start[name]
		i := &inode{perm: n.perm, disk: n.data}
		if n.isDir() {
			i = dirInode(n.perm)
		}
		dir := m.root
		parts := split(name)
		if len(parts) == 0 {
			continue
		}
		for _, p := range parts[:len(parts)-1] {
			if dir.entries[p] == nil { // above the recorded directory
				d := dirInode(0o755)
				dir.entries[p], dir.durable[p] = d, d
			}
			dir = dir.entries[p]
		}
		base := parts[len(parts)-1]
		dir.entries[base], dir.durable[base] = i, i
	}
	return m
}

func dirInode(perm fs.FileMode) *inode {
	return &inode{perm: perm, entries: map[string]*inode{}, durable: map[string]*inode{}}
}

func (m *model) find(name string) *inode {
	n := m.root
	for _, p := range split(name) {
		if n = n.entries[p]; n == nil {
			return nil
		}
	}
	return n
}

func (m *model) parent(name string) (*inode, string) {
	dir, base := path.Split(name)
	return m.find(dir), base
}

// apply replays an operation. The log holds what has succeeded, and of what
// failed the writes and syncs that may have had an effect.
func (m *model) apply(o Op) {
	if o.Err != nil && o.Kind != OpWrite && o.Kind != OpSync {
		return
	}
	switch o.Kind {
	case OpOpen:
		m.files[o.file] = m.find(o.Name)
	case OpCreate:
		n := &inode{perm: o.perm}
		m.files[o.file] = n
		m.change(m.edit(o.Name, n))
	case OpMkdir:
		m.change(m.edit(o.Name, dirInode(o.perm|fs.ModeDir)))
	case OpWrite:
		if len(o.Data) > 0 {
			m.write(m.file(o), write{off: o.Offset, data: o.Data})
		}
	case OpTruncate:
		m.write(m.file(o), write{off: o.Size, cut: true})
	case OpSync:
		m.sync(m.file(o), o.Err)
	case OpRename:
		n := m.find(o.Name)
		m.change(m.edit(o.Name, nil), m.edit(o.NewName, n))
	case OpRemove:
		m.change(m.edit(o.Name, nil))
	case OpRemoveAll:
		m.removeAll(o.Name)
	case OpSyncDir:
		m.syncDir(m.find(o.Name))
	}
}

// file is the open file of an operation; one that was opened before the log
// began is known by its name.
func (m *model) file(o Op) *inode {
	n := m.files[o.file]
	if n == nil {
		n = m.find(o.Name)
	}
	return n
}

func (m *model) edit(name string, n *inode) edit {
	dir, base := m.parent(name)
	return edit{dir, base, n}
}

func (m *model) change(edits ...edit) {
	for _, e := range edits {
		e.set(e.dir.entries)
	}
	m.pending = append(m.pending, &change{edits})
}

func (e edit) set(entries map[string]*inode) {
	if e.node == nil {
		delete(entries, e.name)
	} else {
		entries[e.name] = e.node
	}
}

func (m *model) removeAll(name string) {
	n := m.find(name)
	if n == nil {
		return
	}
	for _, base := range slices.Sorted(maps.Keys(n.entries)) {
		m.removeAll(path.Join(name, base))
	}
	m.change(m.edit(name, nil))
}

// syncDir puts a directory's entries on disk. Of a rename between directories
// the other half stays pending.
func (m *model) syncDir(dir *inode) {
	if dir == nil {
		return
	}
	m.pending = slices.DeleteFunc(m.pending, func(c *change) bool {
		c.edits = slices.DeleteFunc(slices.Clone(c.edits), func(e edit) bool {
			if e.dir == dir {
				e.set(dir.durable)
			}
			return e.dir == dir
		})
		return len(c.edits) == 0
	})
}

func (m *model) write(n *inode, w write) {
	if n == nil {
		return // opened before the log began, and removed since
	}
	if len(n.writes) == 0 {
		m.dirty = append(m.dirty, n)
	}
	n.writes = append(n.writes, w)
}

func (m *model) sync(n *inode, err error) {
	if n == nil || n.isDir() {
		return
	}
	if err != nil {
		n.lost = n.lost || len(n.writes) > 0
		return
	}
	if n.lost {
		return // it says that all is well
	}
	n.disk, n.writes = n.content(all), nil
	m.dirty = slices.DeleteFunc(m.dirty, func(d *inode) bool { return d == n })
}

// survival is what a power loss leaves of a file's unsynced writes.
type survival int

const (
	none    survival = iota
	all              // everything, although nobody asked for it
	torn             // half of the last write
	zeros            // the length, but zeros for the bytes
	lastAny          // the last write without those before it
	survivals
)

var survivalNames = [...]string{"dropped", "present", "torn", "zeros", "last only"}

// content is what the file holds after a power loss.
func (n *inode) content(s survival) []byte {
	if s == none || len(n.writes) == 0 {
		return n.disk
	}
	b := bytes.Clone(n.disk)
	last := len(n.writes) - 1
	for i, w := range n.writes {
		switch {
		case s == torn && i == last && w.cut:
			continue
		case s == torn && i == last:
			w.data = w.data[:len(w.data)/2]
		case s == zeros && !w.cut:
			w.data = make([]byte, len(w.data))
		case s == lastAny && i < last:
			continue
		}
		if w.cut {
			b = resize(b, w.off)
		} else {
			b = writeAt(b, w.data, w.off)
		}
	}
	return b
}

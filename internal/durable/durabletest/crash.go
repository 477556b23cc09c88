package durabletest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// State is what a power loss leaves.
type State struct {
	Ops     int    // how many entries of the log had happened
	Last    Op     // the last of them
	Variant string // which unsynced changes survived
	marks   []string
	dir     string
	tree    snapshot
}

// Reached reports whether the mark had been set when the power went.
func (s State) Reached(mark string) bool { return slices.Contains(s.marks, mark) }

func (s State) String() string {
	return fmt.Sprintf("power lost after operation %d (%v), %s", s.Ops, s.Last, s.Variant)
}

// Disk returns a new disk in memory that holds the state, on disk, under the
// names that it had.
func (s State) Disk() *Disk {
	m := newMem()
	for _, name := range slices.Sorted(maps.Keys(s.tree)) { // parents first
		n := s.tree[name]
		if name == "/" {
			continue
		}
		dir := m.root
		dirName, base := path.Split(name)
		for _, p := range split(dirName) {
			if dir.entries[p] == nil {
				dir.entries[p] = newDir(0o755)
			}
			dir = dir.entries[p]
		}
		if n.isDir() {
			dir.entries[base] = newDir(n.perm)
		} else {
			dir.entries[base] = &node{perm: n.perm, data: slices.Clone(n.data), mtime: n.mtime}
		}
	}
	d := &Disk{base: m, dir: s.dir}
	d.start = s.tree
	return d
}

// Copy writes the state into an empty directory of the real file system: what
// was /x/y on a disk from New, or DIR/x/y on a disk over DIR, is dir/x/y.
func (s State) Copy(dir string) error {
	for _, name := range slices.Sorted(maps.Keys(s.tree)) {
		n := s.tree[name]
		rel := strings.TrimPrefix(strings.TrimPrefix(name, s.dir), "/")
		real := filepath.Join(dir, filepath.FromSlash(rel))
		if !n.isDir() {
			if err := os.WriteFile(real, n.data, n.perm.Perm()); err != nil {
				return err
			}
		} else if err := os.Mkdir(real, n.perm.Perm()|0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Names lists the files and directories of the state, slash-separated.
func (s State) Names() []string { return slices.Sorted(maps.Keys(s.tree)) }

// CrashStates calls f for every state that a power loss may leave, from before
// the first operation to after the last, and returns their number.
func (d *Disk) CrashStates(f func(State)) int {
	d.mu.Lock()
	ops, start, dir := slices.Clone(d.ops), d.start, d.dir
	d.mu.Unlock()
	m := newModel(start)
	count := 0
	var marks []string
	seen := map[[32]byte]bool{}
	visit := func(i int) {
		for _, meta := range m.choices() {
			for _, data := range m.survivors() {
				tree := m.tree(dir, meta, data)
				if h := tree.hash(); !seen[h] {
					seen[h] = true
					count++
					s := State{Ops: i, Variant: fmt.Sprintf("entries: %v; bytes: %v", meta, data), marks: slices.Clone(marks), dir: dir, tree: tree}
					if i > 0 {
						s.Last = ops[i-1]
					}
					f(s)
				}
			}
		}
	}
	visit(0)
	for i, o := range ops {
		if o.Kind == OpMark {
			// Whatever is possible now must be seen with the mark, although
			// it was seen without it.
			marks = append(marks, o.Name)
			clear(seen)
			visit(i + 1)
			continue
		}
		m.apply(o)
		if o.Kind.Changes() {
			visit(i + 1)
		}
	}
	return count
}

// choice is a set of unsynced changes of entries that survive.
type choice struct {
	of      int
	chosen  []*change
	numbers []int
}

func (c choice) String() string {
	switch len(c.chosen) {
	case c.of:
		return "all"
	case 0:
		return "synced ones"
	}
	return fmt.Sprintf("synced ones and of %d unsynced %v", c.of, c.numbers)
}

// choices picks sets of pending changes: all sets while there are few changes;
// else prefixes, single changes, and all but one, at both ends.
func (m *model) choices() []choice {
	const few, some = 4, 4
	n := len(m.pending)
	var out []choice
	add := func(in func(i int) bool) {
		c := choice{of: n}
		for i, p := range m.pending {
			if in(i) {
				c.chosen = append(c.chosen, p)
				c.numbers = append(c.numbers, i+1)
			}
		}
		out = append(out, c)
	}
	if n <= few {
		for bits := range 1 << n {
			add(func(i int) bool { return bits>>i&1 == 1 })
		}
		return out
	}
	for k := range n + 1 {
		if k <= some || k >= n-some {
			add(func(i int) bool { return i < k })
		}
	}
	for k := range n {
		if k < some || k >= n-some {
			add(func(i int) bool { return i == k })
			add(func(i int) bool { return i != k })
		}
	}
	return out
}

// fate is what becomes of files' unsynced bytes: one file's, and the others'.
type fate struct {
	one         *inode
	its, others survival
}

func (f fate) String() string {
	if f.one == nil {
		return survivalNames[f.others]
	}
	return fmt.Sprintf("%s in one file, %s in others", survivalNames[f.its], survivalNames[f.others])
}

func (m *model) survivors() []fate {
	if len(m.dirty) == 0 {
		return []fate{{}}
	}
	var out []fate
	for s := range survivals {
		out = append(out, fate{others: s})
	}
	if len(m.dirty) > 1 {
		for _, n := range m.dirty[max(0, len(m.dirty)-3):] {
			out = append(out, fate{n, none, all}, fate{n, all, none}, fate{n, torn, all})
		}
	}
	return out
}

func (f fate) content(n *inode) []byte {
	if n == f.one {
		return n.content(f.its)
	}
	return n.content(f.others)
}

// tree builds what is under dir when some changes survive.
func (m *model) tree(dir string, c choice, f fate) snapshot {
	changed := map[*inode]map[string]*inode{}
	for _, ch := range c.chosen {
		for _, e := range ch.edits {
			if changed[e.dir] == nil {
				changed[e.dir] = maps.Clone(e.dir.durable)
			}
			e.set(changed[e.dir])
		}
	}
	entries := func(n *inode) map[string]*inode {
		if m, ok := changed[n]; ok {
			return m
		}
		return n.durable
	}
	out := snapshot{}
	var walk func(name string, n *inode)
	walk = func(name string, n *inode) {
		if !n.isDir() {
			out[name] = &node{perm: n.perm, data: f.content(n)}
			return
		}
		out[name] = &node{perm: n.perm | fs.ModeDir, entries: map[string]*node{}}
		for base, e := range entries(n) {
			walk(path.Join(name, base), e)
		}
	}
	top := m.root
	for _, p := range split(dir) {
		if top = entries(top)[p]; top == nil {
			return out
		}
	}
	walk(dir, top)
	return out
}

func (s snapshot) hash() (sum [32]byte) {
	h := sha256.New()
	field := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		n := s[name]
		field([]byte(name))
		h.Write([]byte{byte(n.perm >> 24), byte(n.perm), byte(n.perm >> 8)})
		field(n.data)
	}
	return [32]byte(h.Sum(sum[:0]))
}

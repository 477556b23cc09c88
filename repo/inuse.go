package repo

import (
	"sync"

	"github.com/certkeep/certkeep/repo/internal/pack"
)

// inUse counts the segments that readers of files have opened ahead, each once though several have it: where sets that
// share little are read side by side, each reader must not take as much memory as one alone may.
type inUse struct {
	mu sync.Mutex
	n  map[pack.ID]int
}

// maxInUse is how many segments are opened ahead by all readers together; beyond that each has one.
const maxInUse = 32

// room reports whether one more may be opened ahead.
func (u *inUse) room() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.n) < maxInUse
}

func (u *inUse) add(id pack.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n == nil {
		u.n = map[pack.ID]int{}
	}
	u.n[id]++
}

func (u *inUse) remove(id pack.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n[id]--; u.n[id] <= 0 {
		delete(u.n, id)
	}
}

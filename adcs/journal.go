package adcs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// asideFile is the journal of [Host.SetAside].
const asideFile = "aside.json"

// asideState is how far a restore has come.
type asideState string

const (
	asideMoving asideState = "moving" // some moves may not be made
	asideMoved  asideState = "moved"
	asideClosed asideState = "closed" // the service has been started since
)

// asideJournal says what goes where. It holds the moves of one restore.
type asideJournal struct {
	Schema  int        `json:"schema"` // 1
	State   asideState `json:"state"`
	Started time.Time  `json:"started"`
	Dirs    []asideDir `json:"dirs"` // that of the database first
	Runs    int        `json:"runs"` // how often files were moved again
	// Filled says that a run has ended: what has come since may be a restore's.
	Filled bool        `json:"filled,omitempty"`
	Moves  []asideMove `json:"moves"`
}

type asideDir struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type asideMove struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Again   int    `json:"again,omitempty"`   // the run, if not the first
	Own     bool   `json:"own,omitempty"`     // though it is not of the first run, it is the authority's
	Made    bool   `json:"made,omitempty"`    // it was made when a run failed
	Missing bool   `json:"missing,omitempty"` // it was gone before it was moved
}

// newJournal plans a restore's moves.
func (h *Host) newJournal(dirs, names []string) (*asideJournal, error) {
	j := &asideJournal{Schema: 1, State: asideMoving, Started: h.now()}
	for _, dir := range dirs {
		base := dir + asideMark
		// A volume's own root has no place beside it.
		if beside, err := h.besides(dir); err != nil {
			return nil, err
		} else if !beside {
			base = filepath.Join(dir, strings.TrimPrefix(asideMark, "."))
		}
		to, err := h.free(base+h.stamp(), "")
		if err != nil {
			return nil, err
		}
		j.Dirs = append(j.Dirs, asideDir{dir, to})
	}
	j.add(names, 0)
	return j, nil
}

// besides reports whether what is beside a directory is on its volume.
func (h *Host) besides(dir string) (bool, error) {
	parent := filepath.Dir(dir)
	if parent == dir {
		return false, nil
	}
	if !h.there(dir) {
		return true, nil
	}
	return h.sys.sameVolume(dir, parent)
}

// again plans to move what an earlier run of the same restore has put in place, or,
// if none has come that far, what the first run did not know of.
func (h *Host) again(j *asideJournal, names []string) {
	j.Filled = j.Filled || j.State != asideMoving
	j.State = asideMoving
	j.Runs++
	known := len(j.Moves)
	j.add(names, j.Runs)
	for i, m := range j.Moves[known:] {
		// A power loss may have left a file its old name beside the new one.
		j.Moves[known+i].Own = !j.Filled && !slices.ContainsFunc(j.Moves[:known], func(o asideMove) bool { return o.From == m.From && h.there(o.To) })
	}
}

func (j *asideJournal) add(names []string, run int) {
	for _, from := range names {
		for _, d := range j.Dirs {
			if filepath.Dir(from) == d.From {
				j.Moves = append(j.Moves, asideMove{From: from, To: d.target(filepath.Base(from), run), Again: run})
			}
		}
	}
}

func (d asideDir) target(base string, run int) string {
	if run == 0 {
		return filepath.Join(d.To, base)
	}
	return filepath.Join(d.To, fmt.Sprintf("again-%d", run), base)
}

// loadJournal reads the journal; nil if there is none. Moves still to be made must
// be such as this package plans, for the directories of the registry.
func (h *Host) loadJournal(dirs []string) (*asideJournal, error) {
	var j asideJournal
	found, err := h.load(asideFile, &j)
	if err != nil || !found {
		return nil, err
	}
	if j.Schema != 1 || len(j.Dirs) == 0 {
		return nil, stateError(asideFile, "schema %d, %d directories", j.Schema, len(j.Dirs))
	}
	switch j.State {
	case asideMoved, asideClosed:
		return &j, nil
	case asideMoving:
	default:
		return nil, stateError(asideFile, "state %.20q", string(j.State))
	}
	if len(j.Dirs) != len(dirs) {
		return nil, stateError(asideFile, "%d directories, and the registry has %d", len(j.Dirs), len(dirs))
	}
	for i, d := range j.Dirs {
		inside := filepath.Join(dirs[i], strings.TrimPrefix(asideMark, "."))
		if !strings.EqualFold(d.From, dirs[i]) || !isStamped(d.To, d.From+asideMark) && !isStamped(d.To, inside) {
			return nil, stateError(asideFile, "%s to %s, and the registry has %s", d.From, d.To, dirs[i])
		}
	}
	for _, m := range j.Moves {
		if !j.planned(m, h.name) {
			return nil, stateError(asideFile, "move of %s to %s", m.From, m.To)
		}
	}
	return &j, nil
}

// isStamped recognizes prefix with a time, and maybe a number, after it.
func isStamped(name, prefix string) bool {
	tail, ok := strings.CutPrefix(name, prefix)
	if !ok || len(tail) < len(stamp) {
		return false
	}
	_, err := time.Parse(stamp, tail[:len(stamp)])
	return err == nil && strings.Trim(tail[len(stamp):], "-0123456789") == ""
}

func (j *asideJournal) planned(m asideMove, authority string) bool {
	base := filepath.Base(m.From)
	if m.Again < 0 || m.Again > j.Runs || !isEngineFile(base, authority) {
		return false
	}
	for _, d := range j.Dirs {
		if m.From == filepath.Join(d.From, base) && m.To == d.target(base, m.Again) {
			return true
		}
	}
	return false
}

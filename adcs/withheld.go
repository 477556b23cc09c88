package adcs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/internal/durable"
)

// Names of state files.
const (
	withheldFile = "withheld.json"
	undoFile     = "publish-again.reg"
)

// withheld is the state file. The values are those of one authority.
type withheld struct {
	Schema    int             `json:"schema"` // 1
	Authority string          `json:"authority"`
	Since     time.Time       `json:"since"`
	Values    []withheldValue `json:"values"`
}

type withheldValue struct {
	Name   string  `json:"name"`
	Before *stored `json:"before"` // nil: there was no such value
	During stored  `json:"during"`
}

type stored struct {
	Type regfile.Type `json:"type"`
	Data []byte       `json:"data"`
}

func (s *stored) equals(v *regfile.Value) bool {
	if s == nil || v == nil {
		return s == nil && v == nil
	}
	return s.Type == v.Type && bytes.Equal(s.Data, v.Data)
}

func (s stored) value(name string) regfile.Value {
	return regfile.Value{Name: name, Type: s.Type, Data: s.Data}
}

// before is the value as a registry file has it.
func (v withheldValue) before() regfile.Value {
	if v.Before == nil {
		return regfile.Value{Name: v.Name, Delete: true}
	}
	return v.Before.value(v.Name)
}

// current is a value of the authority's key; nil if there is none.
func (h *Host) current(name string) (*regfile.Value, error) {
	v, err := h.sys.value(h.key(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf(`HKLM\%s, %s: %w`, h.key(), name, err)
	}
	return &v, nil
}

// withheld reads the state file and believes nothing that leads elsewhere.
func (h *Host) withheld() (st withheld, found bool, err error) {
	found, err = h.load(withheldFile, &st)
	if err != nil || !found {
		return withheld{}, false, err
	}
	if st.Schema != 1 || !strings.EqualFold(st.Authority, h.name) {
		return st, false, stateError(withheldFile, "it is of authority %.60q, schema %d", st.Authority, st.Schema)
	}
	for _, v := range st.Values {
		types := map[string]regfile.Type{interfaceFlags: regfile.DWord, crlURLs: regfile.Multi}
		t, ok := types[v.Name]
		if !ok || v.During.Type != t || v.Before != nil && v.Before.Type != t {
			return st, false, stateError(withheldFile, "value %.60q", v.Name)
		}
	}
	return st, true, nil
}

// undone reports whether somebody has undone all of it, as with reg import. What was
// there before is then no longer what to go back to.
func (st withheld) undone(now map[string]*regfile.Value) bool {
	return len(st.Values) > 0 && !slices.ContainsFunc(st.Values, func(v withheldValue) bool { return v.During.equals(now[v.Name]) })
}

// retireWithheld retires what an earlier restore left.
func (h *Host) retireWithheld() error {
	for _, name := range []string{withheldFile, undoFile} {
		if _, err := h.retire(name); err != nil {
			return err
		}
	}
	return nil
}

// asBefore puts into exported keys what was there before it was withheld, and
// returns the names of those values. The files are looked for only if a value is as
// Withhold leaves it: who takes backups need not be allowed to read them.
func (h *Host) asBefore(keys []regfile.Key) (names []string, err error) {
	k := slices.IndexFunc(keys, func(k regfile.Key) bool { return strings.EqualFold(k.Path, `HKEY_LOCAL_MACHINE\`+h.key()) })
	if k < 0 {
		return nil, nil
	}
	var st withheld
	loaded := false
	for i, v := range keys[k].Values {
		name := ""
		for _, n := range []string{interfaceFlags, crlURLs} {
			if strings.EqualFold(v.Name, n) {
				name = n
			}
		}
		if name == "" {
			continue
		}
		if _, changes, err := closed(name, &v); err != nil || changes {
			continue
		}
		if !loaded {
			if st, err = h.peekWithheld(); err != nil {
				return nil, fmt.Errorf("whether it is what was withheld for a restore: %w", err)
			}
			loaded = true
		}
		for _, w := range st.Values {
			if w.Name != name || !w.During.equals(&v) {
				continue
			}
			names = append(names, name)
			keys[k].Values[i] = w.before()
		}
	}
	return names, nil
}

// peekWithheld reads the state file, and makes no directory for it.
func (h *Host) peekWithheld() (withheld, error) {
	_, err := h.fsys.Stat(filepath.Join(h.sys.native(h.o.StateDir), withheldFile))
	if errors.Is(err, fs.ErrNotExist) {
		return withheld{}, nil
	}
	if err != nil {
		return withheld{}, err
	}
	st, _, err := h.withheld()
	return st, err
}

// saveWithheld writes both files before a value is changed. The registry file
// goes first: once the state file is there, it is what counts.
func (h *Host) saveWithheld(st withheld) (undo string, err error) {
	k := regfile.Key{Path: `HKEY_LOCAL_MACHINE\` + h.key()}
	for _, v := range st.Values {
		k.Values = append(k.Values, v.before())
	}
	b, err := regfile.Encode([]regfile.Key{k})
	if err != nil {
		return "", err
	}
	path, err := h.statePath(undoFile)
	if err != nil {
		return "", err
	}
	if err := durable.WriteFile(h.fsys, path, b, 0o600); err != nil {
		return "", err
	}
	return path, h.store(withheldFile, st)
}

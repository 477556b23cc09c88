package adcs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/internal/durable"
)

// Names of state files.
const (
	withheldFile = "withheld.json"
	undoFile     = "publish-again.reg"
)

// The values of the authority's key that are withheld.
const (
	interfaceFlags = "InterfaceFlags"
	crlURLs        = "CRLPublicationURLs"
)

// noRequests are the InterfaceFlags that close the request interface (certsrv.h):
// IF_NOREMOTEICERTREQUEST, IF_NOLOCALICERTREQUEST, IF_NORPCICERTREQUEST. Whatever
// its templates say, such an authority issues nothing.
const noRequests = 0x2 | 0x4 | 0x8

// publish are the flags of an entry of CRLPublicationURLs that make the authority
// write CRLs there: CSURL_SERVERPUBLISH and CSURL_SERVERPUBLISHDELTA.
const publish = 0x1 | 0x40

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

// Withhold implements [backup.Controller]. It closes the request interface
// (InterfaceFlags) and takes the publishing flags from every entry of
// CRLPublicationURLs, with effect from the service's next start. The periods of the
// CRLs stay: the authority may still sign a CRL as it starts, which then stays in
// its database and goes nowhere; and what Windows makes of a period of 0 in a CRL
// that somebody asks for by hand is not documented.
//
// What was there before is saved first, with a file for reg import that brings it
// back without this program. A second Withhold saves nothing again.
func (h *Host) Withhold(ctx context.Context) (backup.Withheld, error) {
	var w backup.Withheld
	st, found, err := h.withheld()
	if err != nil {
		return w, err
	}
	now := make(map[string]*regfile.Value)
	for _, name := range []string{interfaceFlags, crlURLs} {
		if now[name], err = h.current(name); err != nil {
			return w, err
		}
	}
	if !found {
		st = withheld{Schema: 1, Authority: h.name, Since: h.now()}
	}
	for _, name := range []string{interfaceFlags, crlURLs} {
		if slices.ContainsFunc(st.Values, func(v withheldValue) bool { return v.Name == name }) {
			continue
		}
		during, changes, err := closed(name, now[name])
		if err != nil {
			return w, fmt.Errorf(`HKLM\%s: %w`, h.key(), err)
		}
		if !changes {
			continue
		}
		v := withheldValue{Name: name, During: stored{during.Type, during.Data}}
		if n := now[name]; n != nil {
			v.Before = &stored{n.Type, n.Data}
		}
		st.Values = append(st.Values, v)
	}
	var changed []string
	for i, v := range st.Values {
		n := now[v.Name]
		if v.Before.equals(n) || v.During.equals(n) {
			continue
		}
		// Somebody set it since. It must not publish either; what is saved stays
		// what it was before the restore.
		during, _, err := closed(v.Name, n)
		if err != nil {
			return w, fmt.Errorf(`HKLM\%s: %w`, h.key(), err)
		}
		st.Values[i].During = stored{during.Type, during.Data}
		changed = append(changed, v.Name)
	}
	undo, err := h.saveWithheld(st)
	if err != nil {
		return w, err
	}
	for _, v := range st.Values {
		if err := ctx.Err(); err != nil {
			return w, err
		}
		if v.During.equals(now[v.Name]) {
			continue
		}
		if err := h.sys.set(h.key(), v.During.value(v.Name)); err != nil {
			return w, fmt.Errorf(`HKLM\%s, %s: %w`, h.key(), v.Name, err)
		}
	}
	if err := h.sys.flush(h.key()); err != nil {
		return w, fmt.Errorf(`HKLM\%s: %w`, h.key(), err)
	}
	return describe(st, changed, undo), nil
}

func describe(st withheld, changed []string, undo string) backup.Withheld {
	var w backup.Withheld
	for _, v := range st.Values {
		switch v.Name {
		case interfaceFlags:
			w.What = append(w.What, "certificate requests are refused (InterfaceFlags IF_NOREMOTEICERTREQUEST, IF_NOLOCALICERTREQUEST, IF_NORPCICERTREQUEST)")
		case crlURLs:
			w.What = append(w.What, "CRLs are published nowhere (CRLPublicationURLs without CSURL_SERVERPUBLISH and CSURL_SERVERPUBLISHDELTA)")
		}
	}
	if len(st.Values) == 0 {
		w.What = []string{"nothing: the authority refuses requests and publishes no CRLs as it is configured"}
		return w
	}
	for _, name := range changed {
		w.What = append(w.What, name+" was set by somebody since it was first withheld; that is not kept, what was there before is")
	}
	w.Undo = []string{`reg import "` + undo + `"`, "net stop certsvc", "net start certsvc"}
	return w
}

// closed is what a value is to be while it is withheld, and whether that is
// something else.
func closed(name string, v *regfile.Value) (regfile.Value, bool, error) {
	if name == interfaceFlags {
		n := uint32(0)
		if v != nil {
			var err error
			if n, err = v.Number(); err != nil {
				return regfile.Value{}, false, err
			}
		}
		return regfile.NewNumber(name, n|noRequests), v == nil || n&noRequests != noRequests, nil
	}
	if v == nil {
		return regfile.Value{}, false, nil // it publishes nowhere
	}
	urls, err := v.Strings()
	if err != nil {
		return regfile.Value{}, false, err
	}
	changes := false
	for i, url := range urls {
		text, rest, ok := strings.Cut(url, ":")
		flags, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil {
			continue // without flags nothing is published
		}
		if flags&publish != 0 {
			urls[i] = strconv.FormatUint(flags&^publish, 10) + ":" + rest
			changes = true
		}
	}
	if !changes {
		return *v, false, nil
	}
	return regfile.NewMulti(name, urls), true, nil
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

// saveWithheld writes both files before a value is changed. The registry file
// goes first: once the state file is there, it is what counts.
func (h *Host) saveWithheld(st withheld) (undo string, err error) {
	k := regfile.Key{Path: `HKEY_LOCAL_MACHINE\` + h.key()}
	for _, v := range st.Values {
		if v.Before == nil {
			k.Values = append(k.Values, regfile.Value{Name: v.Name, Delete: true})
		} else {
			k.Values = append(k.Values, v.Before.value(v.Name))
		}
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

// ChangedError names the values that Release left, because somebody had changed
// them.
type ChangedError struct {
	Names []string
	Kept  string // the file that has the values from before Withhold
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: %v; left as they are", strings.Join(e.Names, ", "), ErrChanged)
}

// Is makes errors.Is(err, [ErrChanged]) work.
func (e *ChangedError) Is(target error) bool { return target == ErrChanged }

// Hint says how to bring back what was there before.
func (e *ChangedError) Hint() string {
	return fmt.Sprintf(`look at them with certutil -getreg CA\%s; reg import "%s" brings back what was there before the restore`, strings.Join(e.Names, `, CA\`), e.Kept)
}

// Release implements [backup.Controller]: it puts back exactly what Withhold saved.
// A value that is no longer as Withhold set it is somebody's decision: it is left,
// and the error, after all else is done, is a [ChangedError]. Released is released
// all the same: a second Release does nothing.
func (h *Host) Release(ctx context.Context) error {
	st, found, err := h.withheld()
	if err != nil || !found {
		return err
	}
	var changed []string
	for _, v := range st.Values {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := h.current(v.Name)
		if err != nil {
			return err
		}
		switch {
		case v.Before.equals(n):
			continue // reg import, or an interrupted Release
		case !v.During.equals(n):
			changed = append(changed, v.Name)
			continue
		case v.Before == nil:
			err = h.sys.remove(h.key(), v.Name)
		default:
			err = h.sys.set(h.key(), v.Before.value(v.Name))
		}
		if err != nil {
			return fmt.Errorf(`HKLM\%s, %s: %w`, h.key(), v.Name, err)
		}
	}
	if err := h.sys.flush(h.key()); err != nil {
		return fmt.Errorf(`HKLM\%s: %w`, h.key(), err)
	}
	if _, err := h.retire(withheldFile); err != nil {
		return err
	}
	// It must not lie about for somebody to undo later changes with.
	kept, err := h.retire(undoFile)
	if len(changed) > 0 {
		return errors.Join(&ChangedError{Names: changed, Kept: kept}, err)
	}
	return err
}

package adcs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/backup"
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

// Withhold implements [backup.Controller]. It closes the request interface
// (InterfaceFlags) and takes the publishing flags from every entry of
// CRLPublicationURLs, with effect from the service's next start. The periods of the
// CRLs stay: the authority may still sign a CRL as it starts, which then stays in
// its database and goes nowhere; and what Windows makes of a period of 0 in a CRL
// that somebody asks for by hand is not documented.
//
// What was there before is saved first, with a file for reg import that brings it
// back without this program. A second Withhold saves nothing again, unless nothing
// is as the first one set it: somebody has let the authority publish, and it is
// withheld anew. If the error came after something was saved, the answer says how to
// undo it.
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
	fresh := !found || st.undone(now)
	if fresh {
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
	if fresh {
		if err := h.retireWithheld(); err != nil {
			return w, err
		}
	}
	undo, err := h.saveWithheld(st)
	if err != nil {
		return w, err
	}
	return describe(st, changed, undo), h.setWithheld(ctx, st, now)
}

// setWithheld sets the values that are not yet so.
func (h *Host) setWithheld(ctx context.Context, st withheld, now map[string]*regfile.Value) error {
	for _, v := range st.Values {
		if err := ctx.Err(); err != nil {
			return err
		}
		if v.During.equals(now[v.Name]) {
			continue
		}
		if err := h.sys.set(h.key(), v.During.value(v.Name)); err != nil {
			return fmt.Errorf(`HKLM\%s, %s: %w`, h.key(), v.Name, err)
		}
	}
	if err := h.sys.flush(h.key()); err != nil {
		return fmt.Errorf(`HKLM\%s: %w`, h.key(), err)
	}
	return nil
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

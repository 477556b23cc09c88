package dcom

import "github.com/certkeep/certkeep/internal/ndr"

// iface returns an object's interface, if it was ever asked for.
func (t *table) iface(o *object, iid ndr.GUID) *iface {
	t.mu.Lock()
	defer t.mu.Unlock()
	return o.ifaces[iid]
}

// use notes that an object was used without a call on it.
func (t *table) use(o *object, who caller) {
	o.lastUse = t.clock.Now()
	t.touch(o, who)
}

// query gives references to interfaces of the object that an IPID belongs to;
// nil stands for one that it does not have.
func (t *table) query(who caller, r queryRequest) ([]*iface, HResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := t.find(r.ipid, who.principal)
	switch {
	case err == EAccessDenied:
		return nil, EAccessDenied
	case err != nil:
		return nil, InvalidObject
	case r.refs == 0 || len(r.iids) == 0:
		return nil, EInvalidArg
	}
	o := f.object
	t.use(o, who)
	faces := make([]*iface, len(r.iids))
	for i, iid := range r.iids {
		if o.class.has(iid) {
			faces[i] = t.addRef(o, iid, r.refs)
		}
	}
	return faces, OK
}

// addRefs is RemAddRef (MS-DCOM section 3.1.1.5.6.1.2). Counts have 64 bits
// here and 32 in requests, so that nobody adds enough to wrap them.
func (t *table) addRefs(who caller, refs []interfaceRef) ([]HResult, HResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	results, outcome := make([]HResult, len(refs)), OK
	for i, r := range refs {
		f, err := t.find(r.ipid, who.principal)
		if err != nil {
			results[i] = ObjectNotReg
			if err == EAccessDenied {
				results[i] = EAccessDenied
			}
			outcome = results[i]
			continue
		}
		t.use(f.object, who)
		f.public += uint64(r.publicRefs)
		f.private += uint64(r.privateRefs)
	}
	return results, outcome
}

// releaseRefs is RemRelease (MS-DCOM section 3.1.1.5.6.1.3). Nobody releases
// more than there is, and what is gone already is no error; another's is.
func (t *table) releaseRefs(who caller, refs []interfaceRef) HResult {
	t.mu.Lock()
	outcome := OK
	var dead []*object
	for _, r := range refs {
		f, err := t.find(r.ipid, who.principal)
		if err != nil {
			if err == EAccessDenied {
				outcome = EAccessDenied
			}
			continue
		}
		t.use(f.object, who)
		f.public -= min(f.public, uint64(r.publicRefs))
		f.private -= min(f.private, uint64(r.privateRefs))
		if !f.object.referenced() {
			if o := t.kill(f.object, ReasonReleased); o != nil {
				dead = append(dead, o)
			}
		}
	}
	t.mu.Unlock()
	closeAll(dead)
	return outcome
}

// referenced reports whether a client holds any interface.
func (o *object) referenced() bool {
	for _, f := range o.ifaces {
		if f.public+f.private > 0 {
			return true
		}
	}
	return false
}

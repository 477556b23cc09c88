package dcom

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
	"pgregory.net/rapid"
)

// What TestTableModel does to the table and to its model.

func pick[T any](t *rapid.T, from []T, label string) T {
	if len(from) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(from).Draw(t, label)
}

func (m *tableModel) conn(t *rapid.T) *modelConn { return pick(t, m.conns, "connection") }

// object also returns those that are gone, and those of others.
func (m *tableModel) object(t *rapid.T) *modelObject { return pick(t, m.objects, "object") }

// face returns the IPID of one of an object's interfaces.
func (m *tableModel) face(t *rapid.T, o *modelObject) (iid, ipid ndr.GUID) {
	iids := slices.SortedFunc(maps.Keys(o.ipids), func(a, b ndr.GUID) int { return slices.Compare(a[:], b[:]) })
	iid = pick(t, iids, "interface")
	return iid, o.ipids[iid]
}

func (m *tableModel) connect(t *rapid.T) {
	if len(m.conns) >= 6 {
		t.Skip("enough")
	}
	ctx, cancel := context.WithCancel(context.Background())
	who := caller{rapid.SampledFrom(modelPrincipals).Draw(t, "principal"), new(dcerpc.Conn), ctx}
	m.conns = append(m.conns, &modelConn{who, cancel})
}

func (m *tableModel) disconnect(t *rapid.T) {
	c := m.conn(t)
	c.cancel()
	m.table.disconnect(c.conn) // what the context's end does, now
	m.conns = slices.DeleteFunc(m.conns, func(x *modelConn) bool { return x == c })
	for _, o := range m.objects {
		if o.gone == 0 && o.conns[c] {
			delete(o.conns, c)
			if len(o.conns) == 0 {
				o.lost = m.now()
			}
		}
	}
}

func (m *tableModel) full(principal string) bool {
	return m.alive("") >= m.limits.Objects || m.alive(principal) >= m.limits.ObjectsPerPrincipal
}

func (m *tableModel) activate(t *rapid.T) {
	c := m.conn(t)
	err := m.table.reserve(c.principal)
	if m.full(c.principal) {
		if err != NotEnoughQuota {
			t.Fatalf("place beyond the limits: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	o := &modelObject{
		principal: c.principal, lastUse: m.now(),
		ipids: map[ndr.GUID]ndr.GUID{}, refs: map[ndr.GUID]modelRefs{}, conns: map[*modelConn]bool{},
	}
	iids := [][]ndr.GUID{{iidBase}, {iidBase, iidMore}, {iidMore, iidMore}}[rapid.IntRange(0, 2).Draw(t, "interfaces")]
	if o.inside, err = m.table.add(c.caller, m.class, o, iids); err != nil {
		t.Fatal(err)
	}
	o.oid = o.inside.oid
	for _, iid := range iids {
		o.ipids[iid] = m.table.iface(o.inside, iid).ipid
		o.refs[iid] = modelRefs{public: o.refs[iid].public + 5}
	}
	m.touch(o, c)
	m.objects = append(m.objects, o)
}

// refuse is an activation that the class refuses.
func (m *tableModel) refuse(t *rapid.T) {
	c := m.conn(t)
	if err := m.table.reserve(c.principal); (err == nil) == m.full(c.principal) {
		t.Fatalf("reserve: %v", err)
	} else if err == nil {
		m.table.unreserve(c.principal)
	}
}

// denied returns the error for a principal that uses an object, or nil.
func denied(o *modelObject, c *modelConn) error {
	switch {
	case o.gone != 0:
		return Disconnected
	case o.principal != c.principal:
		return EAccessDenied
	}
	return nil
}

func (m *tableModel) begin(t *rapid.T) {
	o, c := m.object(t), m.conn(t)
	_, ipid := m.face(t, o)
	f, err := m.table.enter(ipid, c.caller)
	if want := denied(o, c); err != want {
		t.Fatalf("enter: %v, want %v", err, want)
	}
	if err != nil {
		return
	}
	if f.object.servant != o {
		t.Fatal("entered another object")
	}
	o.calls++
	m.touch(o, c)
}

func (m *tableModel) end(t *rapid.T) {
	var busy []*modelObject
	for _, o := range m.objects {
		if o.calls > 0 {
			busy = append(busy, o)
		}
	}
	o := pick(t, busy, "object")
	if alive := m.table.alive(o.inside); alive != (o.gone == 0) {
		t.Fatalf("alive: %v", alive)
	}
	m.table.leave(o.inside)
	o.calls--
	o.lastUse = m.now()
	m.expire(m.now())
}

func (m *tableModel) query(t *rapid.T) {
	o, c := m.object(t), m.conn(t)
	_, ipid := m.face(t, o)
	refs := rapid.Uint32Range(0, 3).Draw(t, "references")
	iids := []ndr.GUID{iidMore, iidOther, IIDUnknown}
	faces, err := m.table.query(c.caller, queryRequest{ipid: ipid, refs: refs, iids: iids})
	want := OK
	switch {
	case o.gone != 0:
		want = InvalidObject
	case o.principal != c.principal:
		want = EAccessDenied
	case refs == 0:
		want = EInvalidArg
	}
	if err != want {
		t.Fatalf("query: %v, want %v", err, want)
	}
	if err != OK {
		return
	}
	if faces[0] == nil || faces[1] != nil || faces[2] == nil {
		t.Fatalf("query: %v", faces)
	}
	for _, i := range []int{0, 2} {
		if had, ok := o.ipids[iids[i]]; ok && had != faces[i].ipid {
			t.Fatal("an interface has two IPIDs")
		}
		o.ipids[iids[i]] = faces[i].ipid
		had := o.refs[iids[i]]
		o.refs[iids[i]] = modelRefs{had.public + uint64(refs), had.private}
	}
	o.lastUse = m.now()
	m.touch(o, c)
}

func (m *tableModel) addRefs(t *rapid.T) {
	o, c := m.object(t), m.conn(t)
	iid, ipid := m.face(t, o)
	public, private := rapid.Uint32().Draw(t, "public"), rapid.Uint32Range(0, 2).Draw(t, "private")
	results, outcome := m.table.addRefs(c.caller, []interfaceRef{{ipid, public, private}, {ipid: ndr.NewGUID(), publicRefs: 1}})
	first := OK
	switch denied(o, c) {
	case Disconnected:
		first = ObjectNotReg
	case EAccessDenied:
		first = EAccessDenied
	default:
		o.refs[iid] = modelRefs{o.refs[iid].public + uint64(public), o.refs[iid].private + uint64(private)}
		o.lastUse = m.now()
		m.touch(o, c)
	}
	if want := []HResult{first, ObjectNotReg}; !slices.Equal(results, want) || outcome != ObjectNotReg {
		t.Fatalf("add: %v, %v, want %v", results, outcome, want)
	}
}

// release gives back some references of up to two interfaces: of one as many as
// there are, or more, or one as Impacket does.
func (m *tableModel) release(t *rapid.T) {
	o, c := m.object(t), m.conn(t)
	var refs []interfaceRef
	left := maps.Clone(o.refs)
	minus := func(had uint64, n uint32) uint64 { return had - min(had, uint64(n)) }
	for range rapid.IntRange(1, 2).Draw(t, "interfaces") {
		iid, ipid := m.face(t, o)
		n := rapid.SampledFrom([]uint32{0, 1, 5, 1<<32 - 1})
		public, private := n.Draw(t, "public"), n.Draw(t, "private")
		refs = append(refs, interfaceRef{ipid, public, private})
		left[iid] = modelRefs{minus(left[iid].public, public), minus(left[iid].private, private)}
		if !referenced(left) {
			break // the object is gone, and the rest is about nothing
		}
	}
	hr := m.table.releaseRefs(c.caller, refs)
	switch err := denied(o, c); err {
	case EAccessDenied:
		if hr != EAccessDenied {
			t.Fatalf("release of another's: %v", hr)
		}
		return
	case nil:
	default:
		if hr != OK {
			t.Fatalf("release of what is gone: %v", hr)
		}
		return
	}
	if hr != OK {
		t.Fatal(hr)
	}
	o.lastUse, o.refs = m.now(), left
	m.touch(o, c)
	if !referenced(left) {
		m.kill(o, ReasonReleased)
	}
}

func referenced(refs map[ndr.GUID]modelRefs) bool {
	for _, n := range refs {
		if n.public+n.private > 0 {
			return true
		}
	}
	return false
}

func (m *tableModel) set(t *rapid.T) (*modelSet, uint64) {
	if n := len(m.oldSets); n > 0 && rapid.IntRange(0, 4).Draw(t, "old set") == 0 {
		return nil, m.oldSets[n-1]
	}
	s := pick(t, m.sets, "set")
	return s, s.id
}

func (m *tableModel) ping(s *modelSet, c *modelConn) bool {
	if s == nil || s.principal != c.principal {
		return false
	}
	s.lastPing = m.now()
	for o := range s.objects {
		o.lastUse = m.now()
		m.touch(o, c)
	}
	return true
}

func (m *tableModel) simplePing(t *rapid.T) {
	c := m.conn(t)
	s, id := m.set(t)
	want := HResult(statusInvalidSet)
	if m.ping(s, c) {
		want = OK
	}
	if hr := m.table.simplePing(id, c.caller); hr != want {
		t.Fatalf("ping: %v, want %v", hr, want)
	}
}

// oids draws objects to be named by a ComplexPing.
func (m *tableModel) oids(t *rapid.T, label string) (objects []*modelObject, oids []uint64) {
	for range rapid.IntRange(0, 3).Draw(t, label) {
		if len(m.objects) == 0 {
			break
		}
		o := rapid.SampledFrom(m.objects).Draw(t, label)
		objects, oids = append(objects, o), append(oids, o.oid)
	}
	return objects, oids
}

func (m *tableModel) change(s *modelSet, c *modelConn, add, del []*modelObject) {
	for _, o := range add {
		if o.gone != 0 || o.principal != c.principal {
			continue
		}
		if !s.objects[o] {
			s.objects[o] = true
			o.sets++
		}
		o.lastUse = s.lastPing
		m.touch(o, c)
	}
	for _, o := range del {
		if s.objects[o] {
			delete(s.objects, o)
			o.sets--
		}
	}
	m.expire(m.now())
}

func knows(c *modelConn, add []*modelObject) (known int, hr HResult) {
	for _, o := range add {
		if denied(o, c) != nil {
			hr = statusInvalidOID
		} else {
			known++
		}
	}
	return known, hr
}

func (m *tableModel) makeSet(t *rapid.T) {
	c := m.conn(t)
	add, oids := m.oids(t, "add")
	sequence := rapid.Uint16().Draw(t, "sequence")
	known, want := knows(c, add)
	var mine, empty []*modelSet
	for _, s := range m.sets {
		if s.principal == c.principal {
			mine = append(mine, s)
			if len(s.objects) == 0 {
				empty = append(empty, s)
			}
		}
	}
	id, hr := m.table.complexPing(pingRequest{sequence: sequence, add: oids}, c.caller)
	switch {
	case known == 0 && want != OK:
	case len(mine) >= m.limits.ObjectsPerPrincipal && len(empty) == 0:
		want = NotEnoughQuota
	default:
		if len(mine) >= m.limits.ObjectsPerPrincipal {
			// One makes way; of those that were pinged last at the same time, any.
			oldest := slices.MinFunc(empty, func(a, b *modelSet) int { return a.lastPing.Compare(b.lastPing) })
			for _, s := range empty {
				if s.lastPing.Equal(oldest.lastPing) && m.table.sets[s.id] == nil {
					oldest = s
				}
			}
			m.dropSet(oldest)
		}
		s := &modelSet{id: id, principal: c.principal, sequence: sequence, objects: map[*modelObject]bool{}, lastPing: m.now()}
		m.sets = append(m.sets, s)
		m.change(s, c, add, nil)
		if id == 0 {
			t.Fatal("set 0")
		}
	}
	if hr != want {
		t.Fatalf("new set: %v, want %v", hr, want)
	}
}

func (m *tableModel) changeSet(t *rapid.T) {
	c := m.conn(t)
	s, id := m.set(t)
	add, addIDs := m.oids(t, "add")
	del, delIDs := m.oids(t, "delete")
	r := pingRequest{set: id, add: addIDs, del: delIDs, sequence: rapid.Uint16().Draw(t, "sequence")}
	got, hr := m.table.complexPing(r, c.caller)
	want := HResult(statusInvalidSet)
	if m.ping(s, c) {
		want = OK
		if step := r.sequence - s.sequence; step < 1<<15 { // else it was overtaken
			s.sequence = r.sequence
			_, want = knows(c, add)
			m.change(s, c, add, del)
		}
	}
	if got != id || hr != want {
		t.Fatalf("change: set %x, %v, want %x, %v", got, hr, id, want)
	}
}

func (m *tableModel) pass(t *rapid.T) {
	seconds := rapid.OneOf(rapid.IntRange(1, 200), rapid.IntRange(200, 1500)).Draw(t, "seconds")
	m.advance(time.Duration(seconds) * time.Second)
}

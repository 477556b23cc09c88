package dcom

import "time"

// pingSet is objects that are pinged together (MS-DCOM section 3.1.2.1). It
// belongs to the principal that made it and has only that principal's objects.
type pingSet struct {
	id        uint64
	principal string
	sequence  uint16
	objects   map[uint64]*object
	lastPing  time.Time
}

// ping is SimplePing, and ComplexPing's beginning.
func (t *table) ping(id uint64, who caller) (*pingSet, HResult) {
	s := t.sets[id]
	if s == nil || s.principal != who.principal {
		return nil, statusInvalidSet // another's set is as good as none
	}
	s.lastPing = t.clock.Now()
	for _, o := range s.objects {
		o.lastUse = s.lastPing
		t.touch(o, who)
	}
	return s, OK
}

func (t *table) simplePing(id uint64, who caller) HResult {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, hr := t.ping(id, who)
	return hr
}

// complexPing makes a set, or pings and changes one. It returns the set's
// identifier. Objects that are unknown, or another's, are named together by
// one error after the others were added.
func (t *table) complexPing(r pingRequest, who caller) (uint64, HResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var s *pingSet
	result := OK
	if r.set != 0 {
		var hr HResult
		if s, hr = t.ping(r.set, who); s == nil {
			return r.set, hr
		}
		// A request that was overtaken is a ping, and changes nothing. The
		// numbers may go round, and there are clients that never count.
		if int16(r.sequence-s.sequence) < 0 {
			return s.id, OK
		}
		s.sequence = r.sequence
	}
	var known []*object
	for _, oid := range r.add {
		if o := t.objects[oid]; o != nil && o.principal == who.principal {
			known = append(known, o)
		} else {
			result = statusInvalidOID
		}
	}
	if s == nil {
		switch {
		case len(known) == 0 && result != OK:
			return 0, result
		case t.closed || !t.placeForSet(who.principal):
			// More sets than objects are of no use to anybody.
			return 0, NotEnoughQuota
		}
		s = &pingSet{
			id: random64(), principal: who.principal, sequence: r.sequence,
			objects: map[uint64]*object{}, lastPing: t.clock.Now(),
		}
		t.sets[s.id] = s
		t.setCount[who.principal]++
	}
	for _, o := range known {
		if s.objects[o.oid] == nil {
			s.objects[o.oid] = o
			o.sets++
		}
		o.lastUse = s.lastPing
		t.touch(o, who)
	}
	for _, oid := range r.del {
		if o := s.objects[oid]; o != nil {
			delete(s.objects, oid)
			o.sets--
		}
	}
	t.schedule()
	return s.id, result
}

// placeForSet reports whether a principal may have one more set. One whose
// objects are all gone makes way: clients that make a set for each object
// leave it behind with that.
func (t *table) placeForSet(principal string) bool {
	if t.setCount[principal] < t.limits.ObjectsPerPrincipal {
		return true
	}
	var empty *pingSet
	for _, s := range t.sets {
		if s.principal == principal && len(s.objects) == 0 && (empty == nil || s.lastPing.Before(empty.lastPing)) {
			empty = s
		}
	}
	if empty == nil {
		return false
	}
	t.dropSet(empty)
	return true
}

// dropSet forgets a set, but not its objects.
func (t *table) dropSet(s *pingSet) {
	delete(t.sets, s.id)
	if t.setCount[s.principal]--; t.setCount[s.principal] == 0 {
		delete(t.setCount, s.principal)
	}
	for _, o := range s.objects {
		o.sets--
	}
}

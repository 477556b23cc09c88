package dcom

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// table holds a server's objects, their interfaces and the ping sets. Nothing
// in it trusts a client: identifiers are random, everything found by one is
// compared with the principal that asks, and all of it is bounded.
//
// An object lives until
//   - its last reference is released, or
//   - all ping sets that had it have expired, and it was not called for as long
//     as a set lives without pings, or
//   - in no set: it was not called for Limits.Unpinged, or for Limits.Grace
//     after the last connection closed that had activated, called or pinged it.
//
// It is not freed while a call is in progress: it can be found no more, and the
// end of the call frees it.
type table struct {
	limits Limits
	clock  Clock

	mu        sync.Mutex
	closed    bool
	objects   map[uint64]*object
	ifaces    map[ndr.GUID]*iface
	sets      map[uint64]*pingSet
	conns     map[*dcerpc.Conn]*connection
	principal map[string]int // objects, and places reserved for them
	total     int            // the sum of it
	setCount  map[string]int

	wake    time.Time // when the timer is due, zero when none is set
	stop    func()
	expired sync.WaitGroup // objects that are being closed by it
}

// caller is who calls, and on which connection.
type caller struct {
	principal string
	conn      *dcerpc.Conn    // not its ID: resolver and exporter may have servers of their own
	ctx       context.Context // of the connection
}

// object is one activated servant.
type object struct {
	oid       uint64
	principal string
	class     *Class
	servant   Servant
	turn      chan struct{} // holds a token while a call is running

	// Under the table's mutex.
	ifaces  map[ndr.GUID]*iface       // by IID
	conns   map[*dcerpc.Conn]struct{} // open ones that touched it
	sets    int                       // ping sets that have it
	lastUse time.Time                 // the end of a call, or a ping
	lost    time.Time                 // when conns became empty
	calls   int                       // in progress, or waiting for their turn
	dead    bool
	reason  Reason
}

// iface is one interface of an object that a client has references to.
type iface struct {
	object          *object
	iid, ipid       ndr.GUID
	public, private uint64
}

// connection is an open connection that objects hang on.
type connection struct {
	objects map[*object]struct{}
	stop    func() bool
}

func newTable(limits Limits, clock Clock) *table {
	return &table{
		limits: limits, clock: clock,
		objects: map[uint64]*object{}, ifaces: map[ndr.GUID]*iface{},
		sets: map[uint64]*pingSet{}, conns: map[*dcerpc.Conn]*connection{},
		principal: map[string]int{}, setCount: map[string]int{},
	}
}

// random64 returns an identifier that cannot be guessed and is not zero.
func random64() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails
		if v := binary.LittleEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}

// reserve takes a place for an object of this principal; add uses it up, or
// unreserve gives it back.
func (t *table) reserve(principal string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return Disconnected
	case t.total >= t.limits.Objects || t.principal[principal] >= t.limits.ObjectsPerPrincipal:
		return NotEnoughQuota
	}
	t.principal[principal]++
	t.total++
	return nil
}

func (t *table) unreserve(principal string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(principal)
}

func (t *table) release(principal string) {
	t.total--
	if t.principal[principal]--; t.principal[principal] == 0 {
		delete(t.principal, principal)
	}
}

// add registers an object with references to these interfaces, in the place
// that was reserved. It fails when the server was closed meanwhile.
func (t *table) add(who caller, class *Class, servant Servant, iids []ndr.GUID) (*object, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, Disconnected
	}
	o := &object{
		oid: random64(), principal: who.principal, class: class, servant: servant,
		turn: make(chan struct{}, 1), ifaces: map[ndr.GUID]*iface{}, conns: map[*dcerpc.Conn]struct{}{},
		lastUse: t.clock.Now(),
	}
	t.objects[o.oid] = o
	for _, iid := range iids {
		t.addRef(o, iid, publicRefs)
	}
	t.touch(o, who)
	t.schedule()
	return o, nil
}

// addRef gives n references to an interface that the object's class has.
func (t *table) addRef(o *object, iid ndr.GUID, n uint32) *iface {
	f := o.ifaces[iid]
	if f == nil {
		f = &iface{object: o, iid: iid, ipid: ndr.NewGUID()}
		o.ifaces[iid] = f
		t.ifaces[f.ipid] = f
	}
	f.public += uint64(n)
	return f
}

// find returns the interface behind an IPID that a client names, if it is
// that principal's.
func (t *table) find(ipid ndr.GUID, principal string) (*iface, error) {
	f := t.ifaces[ipid]
	switch {
	case f == nil:
		return nil, Disconnected
	case f.object.principal != principal:
		return nil, EAccessDenied
	}
	return f, nil
}

// enter begins a call; leave must end it.
func (t *table) enter(ipid ndr.GUID, who caller) (*iface, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := t.find(ipid, who.principal)
	if err != nil {
		return nil, err
	}
	f.object.calls++
	t.touch(f.object, who)
	return f, nil
}

// alive reports whether the object was not freed while a call waited for its
// turn.
func (t *table) alive(o *object) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !o.dead
}

func (t *table) leave(o *object) {
	t.mu.Lock()
	o.calls--
	o.lastUse = t.clock.Now()
	last := o.dead && o.calls == 0
	if !o.dead && o.sets == 0 && o.calls == 0 {
		at, _ := t.expires(o)
		t.arm(at)
	}
	t.mu.Unlock()
	if last {
		o.servant.Closed(o.reason)
	}
}

// touch ties an object's life to a connection.
func (t *table) touch(o *object, who caller) {
	who.conn.Keep()
	c := t.conns[who.conn]
	if c == nil {
		c = &connection{objects: map[*object]struct{}{}}
		c.stop = context.AfterFunc(who.ctx, func() { t.disconnect(who.conn) })
		t.conns[who.conn] = c
	}
	c.objects[o] = struct{}{}
	o.conns[who.conn] = struct{}{}
}

func (t *table) disconnect(conn *dcerpc.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.conns[conn]
	if c == nil {
		return
	}
	delete(t.conns, conn)
	for o := range c.objects {
		if delete(o.conns, conn); len(o.conns) == 0 {
			o.lost = t.clock.Now()
		}
	}
	t.schedule()
}

// kill takes an object out of everything. It returns the object when the caller
// has to close the servant, after unlocking; else nil.
func (t *table) kill(o *object, why Reason) *object {
	o.dead, o.reason = true, why
	delete(t.objects, o.oid)
	for _, f := range o.ifaces {
		delete(t.ifaces, f.ipid)
	}
	for conn := range o.conns {
		c := t.conns[conn]
		delete(c.objects, o)
		if len(c.objects) == 0 {
			c.stop()
			delete(t.conns, conn)
		}
	}
	for _, s := range t.sets {
		delete(s.objects, o.oid)
	}
	t.release(o.principal)
	if o.calls > 0 {
		return nil
	}
	return o
}

// close frees everything, and waits until what had expired before is closed.
func (t *table) close() {
	t.mu.Lock()
	t.closed = true
	if t.stop != nil {
		t.stop()
		t.stop, t.wake = nil, time.Time{}
	}
	var dead []*object
	for _, o := range t.objects {
		if o := t.kill(o, ReasonServerClosed); o != nil {
			dead = append(dead, o)
		}
	}
	clear(t.sets)
	clear(t.setCount)
	t.mu.Unlock()
	closeAll(dead)
	t.expired.Wait()
}

func closeAll(dead []*object) {
	for _, o := range dead {
		o.servant.Closed(o.reason)
	}
}

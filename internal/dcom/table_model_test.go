package dcom

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcom/dcomtest"
	"github.com/certkeep/certkeep/internal/ndr"
	"pgregory.net/rapid"
)

// modelObject is what the model knows of an object, and the table's servant.
type modelObject struct {
	oid       uint64
	principal string
	ipids     map[ndr.GUID]ndr.GUID // by IID
	refs      map[ndr.GUID]modelRefs
	conns     map[*modelConn]bool
	sets      int
	lastUse   time.Time
	lost      time.Time
	calls     int
	gone      Reason // 0: alive

	closed []Reason
	inside *object // of the table, for calls in progress
}

func (o *modelObject) Call(context.Context, *Call, *ndr.Decoder, *ndr.Encoder) error { return nil }
func (o *modelObject) Closed(why Reason)                                             { o.closed = append(o.closed, why) }

type modelRefs struct{ public, private uint64 }

type modelConn struct {
	caller
	cancel context.CancelFunc
}

type modelSet struct {
	id        uint64
	principal string
	sequence  uint16
	objects   map[*modelObject]bool
	lastPing  time.Time
}

// tableModel does what table does, without timers: it looks at everything
// whenever something may have expired.
type tableModel struct {
	table  *table
	clock  *dcomtest.Clock
	limits Limits
	class  *Class

	objects []*modelObject // also those that are gone
	sets    []*modelSet
	conns   []*modelConn
	oldSets []uint64
}

var modelPrincipals = []string{"alice", "bob"}

func (m *tableModel) now() time.Time { return m.clock.Now() }

func (m *tableModel) alive(principal string) (n int) {
	for _, o := range m.objects {
		if o.gone == 0 && (principal == "" || o.principal == principal) {
			n++
		}
	}
	return n
}

func (m *tableModel) touch(o *modelObject, c *modelConn) { o.conns[c] = true }

func (m *tableModel) kill(o *modelObject, why Reason) {
	o.gone = why
	for _, s := range m.sets {
		delete(s.objects, o)
	}
}

func (m *tableModel) dropSet(s *modelSet) {
	for o := range s.objects {
		o.sets--
	}
	m.sets = slices.DeleteFunc(m.sets, func(x *modelSet) bool { return x == s })
	m.oldSets = append(m.oldSets, s.id)
}

// deadline returns when an object expires that is neither pinged nor called.
func (m *tableModel) deadline(o *modelObject) (time.Time, Reason) {
	at, why := o.lastUse.Add(m.limits.Unpinged), ReasonIdle
	if len(o.conns) == 0 {
		since := o.lastUse
		if o.lost.After(since) {
			since = o.lost
		}
		if lost := since.Add(m.limits.Grace); lost.Before(at) {
			at, why = lost, ReasonDisconnected
		}
	}
	return at, why
}

// expire does what is due at a time, and returns when the next thing is.
func (m *tableModel) expire(now time.Time) (next time.Time) {
	timeout := 3 * m.limits.PingPeriod
	for _, s := range slices.Clone(m.sets) {
		if now.Before(s.lastPing.Add(timeout)) {
			continue
		}
		m.dropSet(s)
		for o := range s.objects {
			if o.gone == 0 && o.sets == 0 && o.calls == 0 && !now.Before(o.lastUse.Add(timeout)) {
				m.kill(o, ReasonPingExpired)
			}
		}
	}
	consider := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, o := range m.objects {
		if o.gone != 0 || o.sets != 0 || o.calls != 0 {
			continue
		}
		if at, why := m.deadline(o); now.Before(at) {
			consider(at)
		} else {
			m.kill(o, why)
		}
	}
	for _, s := range m.sets {
		consider(s.lastPing.Add(timeout))
	}
	return next
}

func (m *tableModel) advance(d time.Duration) {
	start := m.now()
	m.clock.Advance(d)
	for now := start; ; {
		next := m.expire(now)
		if next.IsZero() || next.After(start.Add(d)) {
			return
		}
		now = next
	}
}

// check compares the table with the model.
func (m *tableModel) check(t *rapid.T) {
	for i, o := range m.objects {
		var want []Reason
		if o.gone != 0 && o.calls == 0 {
			want = []Reason{o.gone}
		}
		if !slices.Equal(o.closed, want) {
			t.Fatalf("object %d of %s: closed %v, want %v", i, o.principal, o.closed, want)
		}
	}
	tb := m.table
	tb.mu.Lock()
	defer tb.mu.Unlock()
	oids, ipids, conns := map[uint64]bool{}, 0, map[*modelConn]bool{}
	for _, o := range m.objects {
		if o.gone != 0 {
			continue
		}
		oids[o.oid] = true
		ipids += len(o.ipids)
		for c := range o.conns {
			conns[c] = true
		}
		for iid, n := range o.refs {
			if f := tb.ifaces[o.ipids[iid]]; f == nil || f.public != n.public || f.private != n.private {
				t.Fatalf("interface %v has references %+v, want %+v", iid, f, n)
			}
		}
	}
	if len(tb.objects) != len(oids) || len(tb.ifaces) != ipids || len(tb.conns) != len(conns) {
		t.Fatalf("table has %d objects with %d interfaces on %d connections, want %d, %d, %d",
			len(tb.objects), len(tb.ifaces), len(tb.conns), len(oids), ipids, len(conns))
	}
	for oid := range oids {
		if tb.objects[oid] == nil {
			t.Fatalf("object %x is missing", oid)
		}
	}
	perPrincipal, sets := map[string]int{}, map[string]int{}
	for _, p := range modelPrincipals {
		if n := m.alive(p); n > 0 {
			perPrincipal[p] = n
		}
	}
	if tb.total != m.alive("") || !maps.Equal(tb.principal, perPrincipal) {
		t.Fatalf("places taken: %d, %v, want %d, %v", tb.total, tb.principal, m.alive(""), perPrincipal)
	}
	for _, s := range m.sets {
		sets[s.principal]++
		got := tb.sets[s.id]
		if got == nil || got.sequence != s.sequence || len(got.objects) != len(s.objects) {
			t.Fatalf("ping set %x is %+v, want %+v", s.id, got, s)
		}
		for o := range s.objects {
			if got.objects[o.oid] == nil {
				t.Fatalf("ping set %x lacks %x", s.id, o.oid)
			}
		}
	}
	if len(tb.sets) != len(m.sets) || !maps.Equal(tb.setCount, sets) {
		t.Fatalf("%d ping sets, %v, want %d, %v", len(tb.sets), tb.setCount, len(m.sets), sets)
	}
}

// TestTableModel has two principals do to the table what they may do, and what
// they may not, and compares what comes of it with the model.
func TestTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minutes := func(label string, from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from, to).Draw(t, label)) * time.Minute
		}
		m := &tableModel{clock: dcomtest.NewClock(), class: &Class{IIDs: []ndr.GUID{iidBase, iidMore}}}
		m.limits = Limits{
			Objects: rapid.IntRange(1, 5).Draw(t, "objects"), ObjectsPerPrincipal: rapid.IntRange(1, 3).Draw(t, "per principal"),
			PingPeriod: minutes("ping period", 1, 3), Unpinged: minutes("unpinged", 2, 20), Grace: minutes("grace", 1, 3),
		}
		m.table = newTable(m.limits, m.clock)
		t.Repeat(map[string]func(*rapid.T){
			"":           m.check,
			"connect":    m.connect,
			"disconnect": m.disconnect,
			"activate":   m.activate,
			"refuse":     m.refuse,
			"begin call": m.begin,
			"end call":   m.end,
			"query":      m.query,
			"add refs":   m.addRefs,
			"release":    m.release,
			"ping":       m.simplePing,
			"make set":   m.makeSet,
			"change set": m.changeSet,
			"time":       m.pass,
			"long call": func(t *rapid.T) {
				m.begin(t)
				m.pass(t)
				m.check(t)
				m.end(t)
				m.pass(t)
			},
		})
		// In the end, everything is closed, once.
		m.table.close()
		for _, o := range m.objects {
			if o.gone == 0 {
				o.gone = ReasonServerClosed
			}
			for ; o.calls > 0; o.calls-- {
				m.table.leave(o.inside)
			}
			if !slices.Equal(o.closed, []Reason{o.gone}) {
				t.Fatalf("closed %v, want %v", o.closed, o.gone)
			}
		}
		if n := m.clock.Timers(); n > 1 {
			t.Fatalf("%d timers are left", n)
		}
	})
}

package dcerpc

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/need"
)

// heapInUse returns the bytes of objects that are reachable.
func heapInUse() int {
	runtime.GC()
	runtime.GC() // what finalizers and pools kept in the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestPerConnection makes each of some connections hold all that it can: the
// space of a large response, a large request but for its last byte, and
// fragments that were read ahead. The server's memory grows by no more than
// Limits.PerConnection says, and by no less than what is in it.
func TestPerConnection(t *testing.T) {
	limits, conns := Limits{RequestBytes: 1 << 20, ResponseBytes: 1 << 20, MaxFragment: 65535}, 8
	if need.Heavy() {
		limits, conns = Limits{MaxFragment: 65535}, 12
	} else {
		t.Log("few connections with small limits; more with CERTKEEP_TEST_HEAVY=1")
	}
	s := startServer(t, limits)
	limits = limits.withDefaults()
	if l := limits; l.PerConnection() < l.RequestBytes+l.ResponseBytes+readBufferMax+batch {
		t.Fatalf("%d bytes cannot be true", l.PerConnection())
	}
	bind := bindTo(ptypeBind, 1, pres(0, echoSyntax))
	binary.LittleEndian.PutUint16(bind[16:], maxPDU)
	binary.LittleEndian.PutUint16(bind[18:], maxPDU)
	var peers []*peer
	for range conns {
		peers = append(peers, s.raw(t))
	}
	for _, p := range peers { // buffers of the test's side are there from the start
		p.r.buf = make([]byte, readBufferMax)
	}
	before := heapInUse()
	for _, p := range peers {
		p.SetDeadline(time.Now().Add(patience))
		p.sec = &security{id: 1, typ: AuthKerberos, level: LevelPrivacy, ctx: newFake(2)}
		token, _, _ := p.sec.ctx.Step(t.Context(), nil)
		p.send(withToken(append([]byte{}, bind...), p.sec, token))
		h, pdu := p.recv()
		p.sec.signHeader = h.flags&flagHeaderSign != 0
		_, v, err := splitVerifier(h, pdu, headerSize)
		if err == nil {
			_, _, err = p.sec.ctx.Step(t.Context(), v.token)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.id = 1
		fragments := func(opnum uint16, stub []byte) [][]byte {
			p.id++
			return pdus(message{ptype: ptypeRequest, callID: p.id, opnum: opnum, stub: stub}, maxPDU, p.sec)
		}
		p.send(fragments(opBig, binary.LittleEndian.AppendUint32(nil, uint32(limits.ResponseBytes)))...)
		if n := len(p.response()); n != limits.ResponseBytes {
			t.Fatalf("response of %d bytes", n)
		}
		all := fragments(opEcho, make([]byte, limits.RequestBytes))
		last := len(all) - 1
		p.send(all[:last]...)
		p.send(all[last][:len(all[last])-1])
	}
	// The server has read all that when the one byte that is left is answered;
	// until then nothing tells, so that the others wait while one goes on.
	want := conns * (limits.RequestBytes + limits.ResponseBytes)
	most := conns * (limits.PerConnection() + 16<<10) // goroutine, context, maps: 16 KiB
	grown := heapInUse() - before
	for range 100 {
		if grown >= want {
			break
		}
		runtime.Gosched()
		grown = heapInUse() - before
	}
	t.Logf("%d connections: %d bytes each, at most %d", conns, grown/conns, limits.PerConnection())
	if grown < want || grown > most {
		t.Errorf("%d connections hold %d bytes, want %d to %d", conns, grown, want, most)
	}
	runtime.KeepAlive(peers)
}

// TestRequestGrowth counts what a request holds while it arrives, the old space
// included: never more than twice what came, or twice the limit.
func TestRequestGrowth(t *testing.T) {
	for _, limit := range []int{100, keepRequest, 100_000, 4 << 20} {
		for _, part := range []int{1, 1408, 5776} {
			if limit/part > 100_000 {
				continue
			}
			var q request
			for len(q.stub)+part <= limit {
				old := cap(q.buf)
				q.add(make([]byte, part), limit)
				held := cap(q.buf)
				if held != old {
					held += old
				}
				if cap(q.buf) > limit || cap(q.buf) > 2*len(q.stub) || held > 2*limit {
					t.Fatalf("%d bytes of at most %d: space of %d, %d with the old one", len(q.stub), limit, cap(q.buf), held)
				}
			}
			if q.drop(); cap(q.buf) > keepRequest || q.stub != nil || q.active {
				t.Errorf("keeps %d bytes", cap(q.buf))
			}
		}
	}
}

// A client without a logon makes the server hold little, whatever it sends.
func TestUnauthenticatedMemory(t *testing.T) {
	s := startServer(t, Limits{})
	const conns = 16
	var peers []*peer
	for range conns {
		p := s.raw(t)
		p.r.buf = make([]byte, readBufferMin)
		peers = append(peers, p)
	}
	before := heapInUse()
	for _, p := range peers {
		p.bind(pres(0, echoSyntax))
		all := p.request(opEcho, make([]byte, 64<<10+1))
		p.send(all[:len(all)-1]...)
		p.send(all[len(all)-1][:headerSize])
	}
	most := conns * (2*64<<10 + readBufferMax + readBufferMax/2 + 16<<10)
	if grown := heapInUse() - before; grown > most {
		t.Errorf("%d connections hold %d bytes, at most %d are right", conns, grown, most)
	}
	runtime.KeepAlive(peers)
}

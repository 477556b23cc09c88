package certdll

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/certadm"
)

// fakeDLL is Certadm.dll over any Service, with the rules of C: it counts what it
// allocates and what is freed, knows which handles are alive, and minds who calls
// what when. connect stands for what the library does with a server's name.
type fakeDLL struct {
	connect func(server string) (certadm.Service, error)
	absent  []string // exports that this library has not

	// before is called before each function, under its exported name, and may wait.
	before func(export string)
	// twist changes what a function that returns a list is about to return.
	twist func(export string, raw []byte, size uint32, null bool) ([]byte, uint32, bool)
	// count changes the number of bytes that a read says, size the file's.
	count func(n uint32) uint32
	size  func(int64) int64
	// prepared changes what BackupPrepare is about to return.
	prepared func(h handle, hr certadm.HRESULT) (handle, certadm.HRESULT)

	mu       sync.Mutex
	next     uintptr
	sessions map[handle]*fakeSession
	buffers  map[buffer][]byte
	freed    map[buffer]int
	problems []string
	calls    []string
	released bool
	running  int // calls in progress
}

type fakeSession struct {
	svc    certadm.Service
	b      certadm.Backup
	r      certadm.Restore
	f      certadm.BackupFile
	thread int
	busy   bool
}

func newFake(connect func(server string) (certadm.Service, error)) *fakeDLL {
	return &fakeDLL{connect: connect, sessions: make(map[handle]*fakeSession), buffers: make(map[buffer][]byte), freed: make(map[buffer]int)}
}

// client is a client of the library, which is looked at when the test ends.
func (d *fakeDLL) client(t testing.TB) *Client {
	t.Helper()
	c := newClient(d, "ca1", Options{NoPrivileges: true})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		d.check(t)
	})
	return c
}

// check fails the test if anything was leaked, freed twice, or called out of turn.
func (d *fakeDLL) check(t testing.TB) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.problems {
		t.Error(p)
	}
	for b := range d.buffers {
		if n := d.freed[b]; n != 1 {
			t.Errorf("buffer %d was freed %d times", b, n)
		}
	}
	for h := range d.sessions {
		t.Errorf("session %d was not ended", h)
	}
	if !d.released {
		t.Error("the library was not freed")
	}
}

func (d *fakeDLL) problem(s string) { d.problems = append(d.problems, s) }

// called returns how often a function was called.
func (d *fakeDLL) called(export string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, c := range d.calls {
		if c == export {
			n++
		}
	}
	return n
}

// enter notes a call; h is 0 for one without a session.
func (d *fakeDLL) enter(export string, h handle) (s *fakeSession, leave func(), hr certadm.HRESULT) {
	d.mu.Lock()
	d.calls = append(d.calls, export)
	if d.released {
		d.problem(export + " was called in a library that was freed")
	}
	d.running++
	if h != 0 {
		s = d.sessions[h]
		switch {
		case s == nil:
			d.problem(export + " was called with a handle that is not alive")
			hr = certadm.HrInvalidHandle
		case s.busy:
			d.problem(export + " was called while another call of its session ran")
		case s.thread != threadID():
			d.problem(export + " was called on another thread than the session's")
		}
		if s != nil {
			s.busy = true
		}
	}
	d.mu.Unlock()
	if d.before != nil {
		d.before(export)
	}
	return s, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.running--
		if s != nil {
			s.busy = false
		}
	}, hr
}

// alloc is malloc.
func (d *fakeDLL) alloc(raw []byte) buffer {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	b := buffer(d.next)
	d.buffers[b] = slices.Clone(raw)
	return b
}

func (d *fakeDLL) free(b buffer) {
	_, leave, _ := d.enter(expFree, 0)
	defer leave()
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ours := d.buffers[b]; !ours && b != 0 {
		d.problem("a pointer was freed that was never returned")
	}
	d.freed[b]++
}

func (d *fakeDLL) contents(b buffer, n uint32) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	raw, ours := d.buffers[b]
	if !ours || d.freed[b] > 0 || int(n) > len(raw) {
		d.problem("memory was read that is not the list's")
		return make([]byte, n)
	}
	return slices.Clone(raw[:n])
}

func (d *fakeDLL) has(export string) bool { return !slices.Contains(d.absent, export) }

func (d *fakeDLL) release() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.released || d.running > 0 {
		d.problem("the library was freed twice, or while it ran")
	}
	d.released = true
	return nil
}

func (d *fakeDLL) isServerOnline(server string) (bool, certadm.HRESULT) {
	_, leave, _ := d.enter(expOnline, 0)
	defer leave()
	svc, err := d.connect(server)
	if err != nil {
		return false, certadm.CodeOf(err)
	}
	defer svc.Close()
	on, err := svc.IsServerOnline(context.Background())
	return on, certadm.CodeOf(err)
}

func (d *fakeDLL) serverControl(server string, flags uint32) (buffer, uint32, certadm.HRESULT) {
	_, leave, _ := d.enter(expControl, 0)
	defer leave()
	svc, err := d.connect(server)
	if err != nil {
		return 0, 0, certadm.CodeOf(err)
	}
	defer svc.Close()
	out, err := svc.ServerControl(context.Background(), certadm.Control(flags))
	return d.returns(expControl, out, err)
}

// returns hands bytes out as C does.
func (d *fakeDLL) returns(export string, raw []byte, err error) (buffer, uint32, certadm.HRESULT) {
	if err != nil {
		return 0, 0, certadm.CodeOf(err)
	}
	size, null := uint32(len(raw)), len(raw) == 0
	if d.twist != nil {
		raw, size, null = d.twist(export, raw, size, null)
	}
	if null {
		return 0, size, certadm.SOK
	}
	return d.alloc(raw), size, certadm.SOK
}

func (d *fakeDLL) register(s *fakeSession) handle {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	s.thread = threadID()
	d.sessions[handle(d.next)] = s
	return handle(d.next)
}

func (d *fakeDLL) backupPrepare(server string, grbitJet, flags uint32) (handle, certadm.HRESULT) {
	_, leave, _ := d.enter(expPrepare, 0)
	defer leave()
	if grbitJet != 0 {
		return 0, certadm.EInvalidArg
	}
	svc, err := d.connect(server)
	if err != nil {
		return 0, certadm.CodeOf(err)
	}
	b, err := svc.BackupPrepare(context.Background(), certadm.BackupType(flags))
	if err != nil {
		svc.Close()
		return 0, certadm.CodeOf(err)
	}
	h := d.register(&fakeSession{svc: svc, b: b})
	if d.prepared != nil {
		return d.prepared(h, certadm.SOK)
	}
	return h, certadm.SOK
}

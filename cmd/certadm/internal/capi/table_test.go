package capi

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/certadm"
)

// fakeBackup is a session whose calls can be held.
type fakeBackup struct {
	certadm.Backup
	hold    chan struct{} // TruncateLogs waits for it
	entered chan struct{} // and says here that it does
	inside  atomic.Int32
	most    atomic.Int32
	ended   atomic.Int32
	closed  atomic.Int32
	late    atomic.Int32 // calls after the end
}

func (f *fakeBackup) TruncateLogs(context.Context) error {
	f.most.Store(max(f.most.Load(), f.inside.Add(1)))
	defer f.inside.Add(-1)
	f.late.Add(f.ended.Load())
	if f.hold != nil {
		f.entered <- struct{}{}
		<-f.hold
	}
	return nil
}

func (f *fakeBackup) End(context.Context) error {
	if f.inside.Load() != 0 {
		return errors.New("a call is under way")
	}
	f.ended.Add(1)
	return nil
}

func (f *fakeBackup) Close() error { f.closed.Add(1); return nil }

func newLibrary() *Library { return New(func(string) string { return "" }) }

func (l *Library) add(f *fakeBackup) Handle {
	return l.contexts.add(&session{kind: forBackup, conn: f, backup: f})
}

// End waits for the call under way, and after it no other is made.
func TestEndWaits(t *testing.T) {
	l, f := newLibrary(), &fakeBackup{hold: make(chan struct{}), entered: make(chan struct{})}
	h := l.add(f)
	results := make(chan certadm.HRESULT, 3)
	go func() { results <- l.TruncateLogs(h) }()
	<-f.entered
	ended := make(chan certadm.HRESULT, 1)
	go func() { ended <- l.BackupEnd(h) }()
	// The handle is gone at once, while the call goes on.
	for _, err := l.contexts.find(fnClose, h, forBackup); err == nil; _, err = l.contexts.find(fnClose, h, forBackup) {
		runtime.Gosched()
	}
	if code := l.BackupEnd(h); code != certadm.HrInvalidHandle {
		t.Errorf("a second End: %v", code)
	}
	if f.ended.Load() != 0 {
		t.Error("the session ended under the call")
	}
	close(f.hold)
	if code := <-results; code != certadm.SOK {
		t.Errorf("the call under way: %v", code)
	}
	if code := <-ended; code != certadm.SOK {
		t.Errorf("End: %v", code)
	}
	if f.ended.Load() != 1 || f.closed.Load() != 1 {
		t.Errorf("ended %d times, closed %d times", f.ended.Load(), f.closed.Load())
	}
}

// Calls of many threads in one context are made one at a time, exactly one End ends
// it, and a call that waited for that is not made any more.
func TestSerialized(t *testing.T) {
	for range 50 {
		serialized(t)
	}
}

func serialized(t *testing.T) {
	l, f := newLibrary(), &fakeBackup{}
	h := l.add(f)
	var wg sync.WaitGroup
	var ok, ends atomic.Int32
	for i := range 8 {
		wg.Go(func() {
			for range 200 - i { // they do not end at the same time
				switch code := l.TruncateLogs(h); code {
				case certadm.SOK:
					ok.Add(1)
				case certadm.HrInvalidHandle:
				default:
					t.Errorf("%v", code)
				}
			}
			if i%2 == 0 && l.BackupEnd(h) == certadm.SOK {
				ends.Add(1)
			}
		})
	}
	wg.Wait()
	if f.most.Load() != 1 || ends.Load() != 1 || f.ended.Load() != 1 || ok.Load() < 190 || f.late.Load() != 0 {
		t.Errorf("%d calls at a time, %d calls, %d of them after the end, %d ends of which %d arrived", f.most.Load(), ok.Load(), f.late.Load(), ends.Load(), f.ended.Load())
	}
}

// Handles are not 0, not used twice, and nobody else's.
func TestHandles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLibrary()
		live, seen := map[Handle]*fakeBackup{}, map[Handle]bool{0: true}
		t.Repeat(map[string]func(*rapid.T){
			"prepare": func(t *rapid.T) {
				f := &fakeBackup{}
				h := l.add(f)
				if seen[h] {
					t.Fatalf("%#x again", h)
				}
				live[h], seen[h] = f, true
			},
			"end": func(t *rapid.T) {
				for h, f := range live {
					if code := l.BackupEnd(h); code != certadm.SOK || f.ended.Load() != 1 {
						t.Fatalf("%#x: %v", h, code)
					}
					delete(live, h)
					return
				}
			},
			"strange": func(t *rapid.T) {
				h := Handle(rapid.Uint64().Draw(t, "handle"))
				if live[h] == nil {
					for _, code := range []certadm.HRESULT{l.BackupEnd(h), l.RestoreEnd(h), l.TruncateLogs(h)} {
						if code != certadm.HrInvalidHandle {
							t.Fatalf("%#x: %v", h, code)
						}
					}
				}
			},
			"wrong kind": func(t *rapid.T) {
				for h := range live {
					if code := l.RestoreEnd(h); code != certadm.HrInvalidHandle {
						t.Fatalf("%#x: %v", h, code)
					}
				}
			},
		})
	})
}

// fakeFile fails in the middle, as a connection does that is lost: the cause looks
// like the end of the file, and is not.
type fakeFile struct {
	certadm.BackupFile
	data []byte
	err  error
}

func (f *fakeFile) Read(p []byte) (int, error) {
	n := copy(p, f.data)
	if f.data = f.data[n:]; n == 0 {
		return 0, f.err
	}
	return min(n, 3), nil
}

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		err  error
		n    int
		code certadm.HRESULT
	}{
		{io.EOF, 3, certadm.SOK},
		{&certadm.Error{Op: fnRead, Code: certadm.RPCServerUnavailable, Err: io.ErrUnexpectedEOF}, 0, certadm.RPCServerUnavailable},
		{io.ErrNoProgress, 0, certadm.EFail},
		{certadm.HRESULT(1), 0, certadm.EFail}, // S_FALSE, which is no failure to C
	} {
		l := newLibrary()
		h := l.contexts.add(&session{kind: forBackup, file: &fakeFile{data: []byte("abc"), err: tt.err}})
		if n, code := l.Read(h, make([]byte, 10)); n != tt.n || code != tt.code {
			t.Errorf("%v: %d, %v", tt.err, n, code)
		}
	}
}

// A panic in a call is an answer like another.
func TestPanic(t *testing.T) {
	l := newLibrary()
	h := l.contexts.add(&session{kind: forBackup}) // has no backup
	if code := l.TruncateLogs(h); code != certadm.EUnexpected {
		t.Errorf("%v", code)
	}
	if _, code := l.DatabaseNames(h); code != certadm.EUnexpected { // the context is not locked for ever
		t.Errorf("%v", code)
	}
}

package capi

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/certkeep/certkeep/certadm"
)

// Handle is a context as C programs hold it (HCSBC). It is a number, although C
// knows it as a pointer: a Go pointer may not stay with C, and what a program
// passes need not be one.
type Handle uintptr

// kind is what a context is for.
type kind int

const (
	forBackup kind = 1 << iota
	forRestore
)

func (k kind) String() string {
	switch k {
	case forBackup:
		return "a backup context"
	case forRestore:
		return "a restore context"
	}
	return "a context"
}

// session is a context.
type session struct {
	kind   kind
	server string // as the program named it

	mu      sync.Mutex // held during a call
	over    bool
	conn    io.Closer
	backup  certadm.Backup     // if kind is forBackup
	file    certadm.BackupFile // the open file, if any
	restore certadm.Restore    // if kind is forRestore
}

// table holds the contexts.
type table struct {
	mu   sync.Mutex
	last Handle
	m    map[Handle]*session
}

// add gives a session its number. The numbers begin somewhere and have gaps, so
// that one made up by mistake is none; they only grow, so that none comes again.
func (t *table) add(s *session) Handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[Handle]*session)
		t.last = Handle(1<<20 + rand.Uint32N(1<<28))
	}
	t.last += 1 + Handle(rand.Uint32N(1<<12))
	t.m[t.last] = s
	return t.last
}

// find returns the context of one of these kinds that a handle stands for.
func (t *table) find(fn string, h Handle, kinds kind) (*session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.get(fn, h, kinds)
}

// remove is find for the last time.
func (t *table) remove(fn string, h Handle, k kind) (*session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.get(fn, h, k)
	if err == nil {
		delete(t.m, h)
	}
	return s, err
}

func (t *table) get(fn string, h Handle, kinds kind) (*session, error) {
	s := t.m[h]
	switch {
	case h == 0:
		return nil, badHandle(fn, "the handle is NULL")
	case s == nil:
		return nil, badHandle(fn, "the handle is no context's, or the context has ended")
	case s.kind&kinds == 0:
		return nil, badHandle(fn, "the handle is "+s.kind.String()+"'s, this call takes "+kinds.String())
	}
	return s, nil
}

func badHandle(fn, why string) error {
	return &certadm.Error{Op: fn, Code: certadm.HrInvalidHandle, Err: errors.New(why)}
}

// in makes a call in a context, when the one under way is done.
func (l *Library) in(fn, about string, h Handle, kinds kind, do func(*session) error) certadm.HRESULT {
	return l.call(fn, about, func() error {
		s, err := l.contexts.find(fn, h, kinds)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.over { // it ended while this call waited
			return badHandle(fn, "the context has ended")
		}
		return do(s)
	})
}

// end ends a context: once, whatever comes of it.
func (l *Library) end(fn string, h Handle, k kind, do func(*session) error) certadm.HRESULT {
	return l.call(fn, "", func() error {
		s, err := l.contexts.remove(fn, h, k)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.over = true
		defer s.conn.Close() // what was done is done: its error changes nothing
		return do(s)
	})
}

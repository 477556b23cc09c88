package certdll

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/certkeep/certkeep/certadm"
)

// libraryName is the library's file name.
const libraryName = "certadm.dll"

// take copies what the library allocated, and frees it.
func (c *Client) take(b buffer, size uint32) ([]byte, error) {
	if b == 0 {
		if size != 0 {
			return nil, bad("the library says that there are %d bytes, at no address", size)
		}
		return nil, nil
	}
	defer c.procs.free(b)
	if size > certadm.MaxListBytes {
		return nil, bad("the library returns %d bytes, at most %d are taken", size, certadm.MaxListBytes)
	}
	if size == 0 {
		return nil, nil
	}
	return c.procs.contents(b, size), nil
}

// lister is one of the functions that return a list.
type lister func(handle) (buffer, uint32, certadm.HRESULT)

// bytes calls a function that returns a list, on the session's thread.
func (s *session) bytes(fn lister) ([]byte, error) {
	b, size, hr := fn(s.h)
	if err := result(hr); err != nil {
		return nil, err // b, whatever it is, is not ours
	}
	return s.c.take(b, size)
}

// list makes a call that returns a tagged list.
func (s *session) list(ctx context.Context, op string, fn lister) (certadm.FileList, error) {
	var l certadm.FileList
	err := s.call(ctx, op, "", func() error {
		raw, err := s.bytes(fn)
		if err != nil {
			return err
		}
		if l, err = certadm.DecodeList(raw); err != nil {
			return err
		}
		for _, e := range l {
			if err := printable(e.Path); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// strings makes a call that returns a list without tags.
func (s *session) strings(ctx context.Context, op string, fn lister) ([]string, error) {
	var l []string
	err := s.call(ctx, op, "", func() error {
		raw, err := s.bytes(fn)
		if err != nil {
			return err
		}
		if l, err = certadm.DecodeStrings(raw); err != nil {
			return err
		}
		for _, name := range l {
			if err := printable(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// locations makes the call that both kinds of session have.
func (s *session) locations(ctx context.Context) (certadm.FileList, error) {
	l, err := s.list(ctx, certadm.FnRestoreGetDatabaseLocations, s.c.procs.databaseLocations)
	if err != nil {
		return nil, err
	}
	s.c.learn(l)
	return l, nil
}

// printable refuses names with control characters, which no file of Windows has:
// errors and logs show names, perhaps on a terminal.
func printable(name string) error {
	if strings.ContainsFunc(name, unicode.IsControl) {
		return bad("the name %.100q has control characters", name)
	}
	return nil
}

// validString refuses what cannot become a NUL-terminated string of WCHARs, or is
// longer than any name of Windows.
func validString(s string) error {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return errors.New("has a NUL in it")
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case len(s) > 3*certadm.MaxNameUnits:
		return fmt.Errorf("has %d bytes", len(s))
	}
	return nil
}

func shorten(name string) string {
	const most = 300
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

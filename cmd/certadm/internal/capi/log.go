package capi

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/hint"
)

// failureLog writes what an HRESULT cannot say to a file: a line for each call
// that failed. There are no secrets in errors.
type failureLog struct{ mu sync.Mutex }

// maxLine bounds a line, in bytes: a server may have sent what is in it.
const maxLine = 4 << 10

// write appends a line to the file of that name, if there is one. That it cannot
// is nobody's to hear: the call failed already.
func (l *failureLog) write(name, fn, about string, err error, code certadm.HRESULT) {
	if name == "" {
		return
	}
	line := fmt.Sprintf("%s %d %s", time.Now().UTC().Format(time.RFC3339), os.Getpid(), fn)
	if about != "" {
		line += fmt.Sprintf(" %q", shorten(about))
	}
	line += fmt.Sprintf(": %v: %s", code, text(err))
	if hint := hint.Of(err); hint != "" {
		line += "; hint: " + hint
	}
	line = oneLine(line)

	l.mu.Lock()
	defer l.mu.Unlock()
	f, openErr := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if openErr != nil {
		return
	}
	defer f.Close()
	f.WriteString(line + "\n")
}

// text is the error without what the line has already.
func text(err error) string {
	var e *certadm.Error
	if errors.As(err, &e) && e == err {
		s := e.Path
		if e.Err != nil {
			if s != "" {
				s += ": "
			}
			s += e.Err.Error()
		}
		return s
	}
	return err.Error()
}

// oneLine keeps an entry to its line, whatever a server put into an error.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "…"
	}
	return s
}

package capi

import (
	"fmt"
	"runtime/debug"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/certkeep/certkeep/certadm"
)

// ReadString reads a string of WCHARs that ends with a NUL. It is false if that
// does not come within the length of Windows' longest path, or if the string has
// half a surrogate pair, which Go's strings cannot hold.
func ReadString(p unsafe.Pointer) (string, bool) {
	var units []uint16
	for i := 0; ; i++ {
		u := *(*uint16)(unsafe.Add(p, 2*i))
		if u == 0 {
			break
		}
		if i == certadm.MaxNameUnits {
			return "", false
		}
		units = append(units, u)
	}
	for i := 0; i < len(units); i++ {
		if r := rune(units[i]); utf16.IsSurrogate(r) {
			if i+1 == len(units) || utf16.DecodeRune(r, rune(units[i+1])) == utf8.RuneError {
				return "", false
			}
			i++
		}
	}
	return string(utf16.Decode(units)), true
}

// Fail is the answer to a call that failed outside of this package.
func (l *Library) Fail(fn string, err error) certadm.HRESULT {
	return l.call(fn, "", func() error { return err })
}

// Panicked writes a panic to the log.
func (l *Library) Panicked(fn string, v any) {
	l.log.write(l.getenv(EnvLog), fn, "", fmt.Errorf("panic: %v\n%s", v, debug.Stack()), certadm.EUnexpected)
}

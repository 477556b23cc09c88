package certadm

import "fmt"

// The bits of the two families: the ESE facility is 0x800, an error has
// severity 3 and a warning severity 2, and the low 16 bits are the number.
const (
	eseError   HRESULT = 0xC8000000
	eseWarning HRESULT = 0x88000000
	eseFamily  HRESULT = 0xFFFF0000
	win32      HRESULT = 0x80070000
)

// ESE returns the HRESULT of an ESE (JET) result: errors are negative,
// warnings positive, 0 is success. A number that the 16 bits of the code cannot
// hold is [HrError].
func ESE(n int) HRESULT {
	switch {
	case n == 0:
		return SOK
	case n < 0 && n >= -0xFFFF:
		return eseError | HRESULT(-n)
	case n > 0 && n <= 0xFFFF:
		return eseWarning | HRESULT(n)
	}
	return HrError
}

// ESE returns the ESE (JET) number that h stands for, negative for an error and
// positive for a warning; false if h is of another family.
func (h HRESULT) ESE() (int, bool) {
	n := int(h &^ eseFamily)
	switch {
	case n == 0:
		return 0, false
	case h&eseFamily == eseError:
		return -n, true
	case h&eseFamily == eseWarning:
		return n, true
	}
	return 0, false
}

// FromWin32 is HRESULT_FROM_WIN32: the HRESULT of a Win32 error number. A value
// that is an HRESULT already, having the high bit set, is returned as it is, and
// 0 is success.
func FromWin32(code uint32) HRESULT {
	if code == 0 || code&0x80000000 != 0 {
		return HRESULT(code)
	}
	return win32 | HRESULT(code&0xFFFF)
}

// Win32 returns the Win32 error number in h, or false if it holds none.
func (h HRESULT) Win32() (uint32, bool) {
	if h&0xFFFF0000 != win32 {
		return 0, false
	}
	return uint32(h & 0xFFFF), true
}

// Name returns the name of h in the public headers: "E_ACCESSDENIED",
// "hrInvalidHandle", "JET_errMissingFullBackup". It is empty for a code that
// has none here.
func (h HRESULT) Name() string {
	if n, ok := h.ESE(); ok {
		return jetNames[n]
	}
	return codeNames[h]
}

// String returns h in hexadecimal and what is known of it:
//
//	0x80070005 (E_ACCESSDENIED)
//	0xC8000230 (ESE -560 JET_errMissingFullBackup)
//	0xC8000999 (ESE -2457)
//	0x80041234
func (h HRESULT) String() string {
	name := h.Name()
	if n, ok := h.ESE(); ok {
		if name != "" {
			name = " " + name
		}
		return fmt.Sprintf("0x%08X (ESE %d%s)", uint32(h), n, name)
	}
	if name == "" {
		return fmt.Sprintf("0x%08X", uint32(h))
	}
	return fmt.Sprintf("0x%08X (%s)", uint32(h), name)
}

package certdll

import (
	"runtime"
	"unicode/utf16"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/certkeep/certkeep/certadm"
)

// library is a Certadm.dll that is loaded. Pointers are turned into uintptr in the
// argument lists of Proc.Call, which keeps what they point to alive, and in its
// place, for the call.
type library struct {
	dll   *windows.DLL
	procs map[string]*windows.Proc // by exported name
}

func hresult(r1, _ uintptr, _ error) certadm.HRESULT { return certadm.HRESULT(uint32(r1)) }

// wide makes a NUL-terminated string of WCHARs.
func wide(s string) unsafe.Pointer {
	return unsafe.Pointer(&append(utf16.Encode([]rune(s)), 0)[0])
}

// wideOrNull is NULL for an empty string.
func wideOrNull(s string) unsafe.Pointer {
	if s == "" {
		return nil
	}
	return wide(s)
}

func (l *library) has(export string) bool { return l.procs[export] != nil }
func (l *library) release() error         { return l.dll.Release() }

func (l *library) free(b buffer) { l.procs[expFree].Call(uintptr(b)) }

func (l *library) contents(b buffer, n uint32) []byte {
	p := *(*unsafe.Pointer)(unsafe.Pointer(&b)) // memory of C's, which Go does not move
	return append([]byte(nil), unsafe.Slice((*byte)(p), n)...)
}

func (l *library) isServerOnline(server string) (bool, certadm.HRESULT) {
	var online int32 // BOOL
	hr := hresult(l.procs[expOnline].Call(uintptr(wide(server)), uintptr(unsafe.Pointer(&online))))
	return online != 0, hr
}

func (l *library) backupPrepare(server string, grbitJet, flags uint32) (handle, certadm.HRESULT) {
	var h handle
	hr := hresult(l.procs[expPrepare].Call(uintptr(wide(server)), uintptr(grbitJet), uintptr(flags), uintptr(unsafe.Pointer(&h))))
	return h, hr
}

// list calls one of the functions that return a list.
func (l *library) list(export string, h handle) (buffer, uint32, certadm.HRESULT) {
	var (
		b    buffer
		size uint32
	)
	hr := hresult(l.procs[export].Call(uintptr(h), uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&size))))
	return b, size, hr
}

func (l *library) databaseLocations(h handle) (buffer, uint32, certadm.HRESULT) {
	return l.list(expLocations, h)
}

func (l *library) databaseNames(h handle) (buffer, uint32, certadm.HRESULT) {
	return l.list(expNames, h)
}

func (l *library) backupLogs(h handle) (buffer, uint32, certadm.HRESULT) {
	return l.list(expLogs, h)
}

func (l *library) dynamicFiles(h handle) (buffer, uint32, certadm.HRESULT) {
	return l.list(expDynamic, h)
}

func (l *library) openFile(h handle, name string, readHint uint32) (int64, certadm.HRESULT) {
	var size int64 // LARGE_INTEGER
	hr := hresult(l.procs[expOpen].Call(uintptr(h), uintptr(wide(name)), uintptr(readHint), uintptr(unsafe.Pointer(&size))))
	return size, hr
}

func (l *library) read(h handle, p []byte) (uint32, certadm.HRESULT) {
	var n uint32
	hr := hresult(l.procs[expRead].Call(uintptr(h), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(uint32(len(p))), uintptr(unsafe.Pointer(&n))))
	return n, hr
}

func (l *library) closeFile(h handle) certadm.HRESULT    { return l.simple(expClose, h) }
func (l *library) truncateLogs(h handle) certadm.HRESULT { return l.simple(expTruncate, h) }
func (l *library) backupEnd(h handle) certadm.HRESULT    { return l.simple(expEnd, h) }
func (l *library) restoreEnd(h handle) certadm.HRESULT   { return l.simple(expRestoreEnd, h) }

func (l *library) simple(export string, h handle) certadm.HRESULT {
	return hresult(l.procs[export].Call(uintptr(h)))
}

func (l *library) serverControl(server string, flags uint32) (buffer, uint32, certadm.HRESULT) {
	var (
		b    buffer
		size uint32
	)
	hr := hresult(l.procs[expControl].Call(uintptr(wide(server)), uintptr(flags), uintptr(unsafe.Pointer(&size)), uintptr(unsafe.Pointer(&b))))
	return b, size, hr
}

func (l *library) restorePrepare(server string, flags uint32) (handle, certadm.HRESULT) {
	var h handle
	hr := hresult(l.procs[expRestorePrepare].Call(uintptr(wide(server)), uintptr(flags), uintptr(unsafe.Pointer(&h))))
	return h, hr
}

func (l *library) restoreRegister(h handle, r certadm.Registration) certadm.HRESULT {
	return l.register(expRegister, h, r)
}

func (l *library) restoreRegisterThroughFile(h handle, r certadm.Registration) certadm.HRESULT {
	return l.register(expRegisterFile, h, r)
}

// rstmap is CSEDB_RSTMAPW.
type rstmap struct{ database, newDatabase unsafe.Pointer }

func (l *library) register(export string, h handle, r certadm.Registration) certadm.HRESULT {
	maps := make([]rstmap, len(r.Map))
	for i, m := range r.Map {
		maps[i] = rstmap{wide(m.Database), wide(m.NewDatabase)}
	}
	hr := hresult(l.procs[export].Call(uintptr(h), uintptr(wideOrNull(r.CheckpointPath)), uintptr(wideOrNull(r.LogPath)),
		uintptr(unsafe.Pointer(first(maps))), uintptr(len(maps)), uintptr(wideOrNull(r.BackupLogPath)), uintptr(r.LowLog), uintptr(r.HighLog)))
	runtime.KeepAlive(maps) // and with it the strings
	return hr
}

// first is NULL for no entries.
func first(maps []rstmap) *rstmap {
	if len(maps) == 0 {
		return nil
	}
	return &maps[0]
}

func (l *library) restoreRegisterComplete(h handle, state certadm.HRESULT) certadm.HRESULT {
	return hresult(l.procs[expRegisterComplete].Call(uintptr(h), uintptr(uint32(state))))
}

//go:build cgo

package main

/*
#include <stdlib.h>
#define CERTBCLI_HCSBC uintptr_t
#define CertSrvBackupFree certadmBackupFreeDeclared
#include "certbcli.h"
#undef CertSrvBackupFree
typedef WCHAR const *certadmString;
*/
import "C"

import (
	"runtime/debug"
	"unsafe"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/cmd/certadm/internal/capi"
)

//export CertSrvBackupPrepareW
func CertSrvBackupPrepareW(pwszServerName C.certadmString, grbitJet, dwBackupFlags C.ULONG, phbc *C.HCSBC) (hr C.HRESULT) {
	const fn = "CertSrvBackupPrepareW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	return prepare(fn, library.BackupPrepare, pwszServerName, dwBackupFlags, phbc)
}

// prepare makes a context for a server, of either kind.
func prepare(fn string, of func(string, uint32) (capi.Handle, certadm.HRESULT), pwszServerName C.certadmString, flags C.ULONG, phbc *C.HCSBC) C.HRESULT {
	if phbc == nil {
		return result(library.Refuse(fn, nullOutput))
	}
	*phbc = 0
	server, ok := str(pwszServerName)
	if !ok {
		return result(library.Refuse(fn, badString))
	}
	h, code := of(server, uint32(flags))
	*phbc = C.HCSBC(h)
	return result(code)
}

//export CertSrvRestoreGetDatabaseLocationsW
func CertSrvRestoreGetDatabaseLocationsW(hbc C.HCSBC, ppwszzDatabaseLocationList **C.WCHAR, pcbSize *C.DWORD) (hr C.HRESULT) {
	const fn = "CertSrvRestoreGetDatabaseLocationsW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	return list(fn, ppwszzDatabaseLocationList, pcbSize, func() ([]byte, certadm.HRESULT) { return library.DatabaseLocations(handle(hbc)) })
}

//export CertSrvBackupGetDatabaseNamesW
func CertSrvBackupGetDatabaseNamesW(hbc C.HCSBC, ppwszzAttachmentInformation **C.WCHAR, pcbSize *C.DWORD) (hr C.HRESULT) {
	const fn = "CertSrvBackupGetDatabaseNamesW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	return list(fn, ppwszzAttachmentInformation, pcbSize, func() ([]byte, certadm.HRESULT) { return library.DatabaseNames(handle(hbc)) })
}

//export CertSrvBackupGetBackupLogsW
func CertSrvBackupGetBackupLogsW(hbc C.HCSBC, ppwszzBackupLogFiles **C.WCHAR, pcbSize *C.DWORD) (hr C.HRESULT) {
	const fn = "CertSrvBackupGetBackupLogsW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	return list(fn, ppwszzBackupLogFiles, pcbSize, func() ([]byte, certadm.HRESULT) { return library.BackupLogs(handle(hbc)) })
}

//export CertSrvBackupGetDynamicFileListW
func CertSrvBackupGetDynamicFileListW(hbc C.HCSBC, ppwszzFileList **C.WCHAR, pcbSize *C.DWORD) (hr C.HRESULT) {
	const fn = "CertSrvBackupGetDynamicFileListW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	return list(fn, ppwszzFileList, pcbSize, func() ([]byte, certadm.HRESULT) { return library.DynamicFiles(handle(hbc)) })
}

// list returns a list to a program. An empty one has the size 0, and is a pointer
// to its final NULs all the same: programs walk a list to those without a look
// at the size.
func list(fn string, pp **C.WCHAR, pcb *C.DWORD, get func() ([]byte, certadm.HRESULT)) C.HRESULT {
	if pp != nil {
		*pp = nil
	}
	if pcb != nil {
		*pcb = 0
	}
	if pp == nil || pcb == nil {
		return result(library.Refuse(fn, nullOutput))
	}
	b, code := get()
	if code != certadm.SOK {
		return result(code)
	}
	const finalNULs = 4 // bytes
	p := allocate(b, finalNULs)
	if p == nil {
		return result(outOfMemory(fn))
	}
	*pp, *pcb = (*C.WCHAR)(p), C.DWORD(len(b))
	return result(code)
}

//export CertSrvBackupOpenFileW
func CertSrvBackupOpenFileW(hbc C.HCSBC, pwszAttachmentName C.certadmString, cbReadHintSize C.DWORD, pliFileSize *C.LARGE_INTEGER) (hr C.HRESULT) {
	const fn = "CertSrvBackupOpenFileW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	if pliFileSize == nil {
		return result(library.Refuse(fn, nullOutput))
	}
	size := (*int64)(unsafe.Pointer(pliFileSize)) // a union to C: QuadPart
	*size = 0
	name, ok := str(pwszAttachmentName)
	if !ok {
		return result(library.Refuse(fn, badString))
	}
	n, code := library.OpenFile(handle(hbc), name, uint32(cbReadHintSize))
	*size = n
	return result(code)
}

//export CertSrvBackupRead
func CertSrvBackupRead(hbc C.HCSBC, pvBuffer unsafe.Pointer, cbBuffer C.DWORD, pcbRead *C.DWORD) (hr C.HRESULT) {
	const fn = "CertSrvBackupRead"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	if pcbRead == nil {
		return result(library.Refuse(fn, nullOutput))
	}
	*pcbRead = 0
	if pvBuffer == nil && cbBuffer > 0 {
		return result(library.Refuse(fn, "the buffer is NULL"))
	}
	n, code := library.Read(handle(hbc), unsafe.Slice((*byte)(pvBuffer), int(cbBuffer)))
	*pcbRead = C.DWORD(n)
	return result(code)
}

//export CertSrvBackupClose
func CertSrvBackupClose(hbc C.HCSBC) (hr C.HRESULT) {
	defer guard("CertSrvBackupClose", &hr, debug.SetPanicOnFault(true))
	return result(library.CloseFile(handle(hbc)))
}

//export CertSrvBackupTruncateLogs
func CertSrvBackupTruncateLogs(hbc C.HCSBC) (hr C.HRESULT) {
	defer guard("CertSrvBackupTruncateLogs", &hr, debug.SetPanicOnFault(true))
	return result(library.TruncateLogs(handle(hbc)))
}

//export CertSrvBackupEnd
func CertSrvBackupEnd(hbc C.HCSBC) (hr C.HRESULT) {
	defer guard("CertSrvBackupEnd", &hr, debug.SetPanicOnFault(true))
	return result(library.BackupEnd(handle(hbc)))
}

// CertSrvBackupFree has no result, so that what is not to be freed is left alone.
//
//export CertSrvBackupFree
func CertSrvBackupFree(pv C.uintptr_t) {
	var hr C.HRESULT
	defer guard("CertSrvBackupFree", &hr, debug.SetPanicOnFault(true))
	free(uintptr(pv))
}

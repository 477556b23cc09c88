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

import "runtime/debug"

//export CertSrvIsServerOnlineW
func CertSrvIsServerOnlineW(pwszServerName C.certadmString, pfServerOnline *C.BOOL) (hr C.HRESULT) {
	const fn = "CertSrvIsServerOnlineW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	if pfServerOnline == nil {
		return result(library.Refuse(fn, nullOutput))
	}
	*pfServerOnline = 0
	server, ok := str(pwszServerName)
	if !ok {
		return result(library.Refuse(fn, badString))
	}
	online, code := library.IsServerOnline(server)
	if online {
		*pfServerOnline = 1
	}
	return result(code)
}

//export CertSrvServerControlW
func CertSrvServerControlW(pwszServerName C.certadmString, dwControlFlags C.DWORD, pcbOut *C.DWORD, ppbOut **C.BYTE) (hr C.HRESULT) {
	const fn = "CertSrvServerControlW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	// Both outputs may be NULL.
	if pcbOut != nil {
		*pcbOut = 0
	}
	if ppbOut != nil {
		*ppbOut = nil
	}
	server, ok := str(pwszServerName)
	if !ok {
		return result(library.Refuse(fn, badString))
	}
	out, code := library.ServerControl(server, uint32(dwControlFlags))
	if len(out) == 0 || pcbOut == nil || ppbOut == nil {
		return result(code)
	}
	p := allocate(out, 0)
	if p == nil {
		return result(outOfMemory(fn))
	}
	*ppbOut, *pcbOut = (*C.BYTE)(p), C.DWORD(len(out))
	return result(code)
}

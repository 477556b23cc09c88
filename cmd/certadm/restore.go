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

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/cmd/certadm/internal/capi"
)

//export CertSrvRestorePrepareW
func CertSrvRestorePrepareW(pwszServerName C.certadmString, dwRestoreFlags C.ULONG, phbc *C.HCSBC) (hr C.HRESULT) {
	const fn = "CertSrvRestorePrepareW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	return prepare(fn, library.RestorePrepare, pwszServerName, dwRestoreFlags, phbc)
}

//export CertSrvRestoreRegisterW
func CertSrvRestoreRegisterW(hbc C.HCSBC, pwszCheckPointFilePath, pwszLogPath C.certadmString,
	rgrstmap *C.CSEDB_RSTMAPW, crstmap C.LONG, pwszBackupLogPath C.certadmString, genLow, genHigh C.ULONG) (hr C.HRESULT) {
	const fn = "CertSrvRestoreRegisterW"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	return register(fn, library.Register, hbc, pwszCheckPointFilePath, pwszLogPath, rgrstmap, crstmap, pwszBackupLogPath, genLow, genHigh)
}

//export CertSrvRestoreRegisterThroughFile
func CertSrvRestoreRegisterThroughFile(hbc C.HCSBC, pwszCheckPointFilePath, pwszLogPath C.certadmString,
	rgrstmap *C.CSEDB_RSTMAPW, crstmap C.LONG, pwszBackupLogPath C.certadmString, genLow, genHigh C.ULONG) (hr C.HRESULT) {
	const fn = "CertSrvRestoreRegisterThroughFile"
	defer guard(fn, &hr, debug.SetPanicOnFault(true))
	return register(fn, library.RegisterThroughFile, hbc, pwszCheckPointFilePath, pwszLogPath, rgrstmap, crstmap, pwszBackupLogPath, genLow, genHigh)
}

func register(fn string, do func(capi.Handle, certadm.Registration) certadm.HRESULT, hbc C.HCSBC, checkpoint, logs C.certadmString,
	maps *C.CSEDB_RSTMAPW, count C.LONG, backupLogs C.certadmString, low, high C.ULONG) C.HRESULT {
	r := certadm.Registration{LowLog: uint32(low), HighLog: uint32(high)}
	var ok [5]bool
	r.CheckpointPath, ok[0] = optional(checkpoint)
	r.LogPath, ok[1] = optional(logs)
	r.BackupLogPath, ok[2] = optional(backupLogs)
	ok[3], ok[4] = true, true
	switch {
	case count == 1 && maps != nil: // a full set
		var m certadm.RestoreMapping
		m.Database, ok[3] = optional(maps.pwszDatabaseName)
		m.NewDatabase, ok[4] = optional(maps.pwszNewDatabaseName)
		r.Map = []certadm.RestoreMapping{m}
	case count == 0 && maps == nil: // an incremental one
	default:
		return result(library.Refuse(fn, "a full set has one entry in its map, an incremental one no map and the count 0"))
	}
	if ok != [5]bool{true, true, true, true, true} {
		return result(library.Refuse(fn, "a path is not UTF-16, or longer than 32767 characters"))
	}
	return result(do(handle(hbc), r))
}

//export CertSrvRestoreRegisterComplete
func CertSrvRestoreRegisterComplete(hbc C.HCSBC, hrRestoreState C.HRESULT) (hr C.HRESULT) {
	defer guard("CertSrvRestoreRegisterComplete", &hr, debug.SetPanicOnFault(true))
	return result(library.RegisterComplete(handle(hbc), certadm.HRESULT(uint32(hrRestoreState))))
}

//export CertSrvRestoreEnd
func CertSrvRestoreEnd(hbc C.HCSBC) (hr C.HRESULT) {
	defer guard("CertSrvRestoreEnd", &hr, debug.SetPanicOnFault(true))
	return result(library.RestoreEnd(handle(hbc)))
}

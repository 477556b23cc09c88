/*
 * certbcli.h: backup and restore of Certificate Services, for programs that
 * use certkeep's libcertadm.so or certadm.dll. Written from Microsoft's
 * documentation of Certadm.dll (learn.microsoft.com, "certbcli.h header");
 * names, types and values are those of the documentation.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * On Windows the compiler's own certbcli.h may be used as well.
 *
 * WCHAR has 16 bits on every system, which is not so of wchar_t outside Windows:
 * write string literals as u"CA1", not as L"CA1". wcslen and its kin do not take
 * a WCHAR string there. C needs C11, C++ needs C++11.
 *
 * A program that fetches the functions by name declares pointers to them by the
 * FNCERTSRV types:
 *
 *     FNCERTSRVBACKUPEND *end = (FNCERTSRVBACKUPEND *)dlsym(lib, "CertSrvBackupEnd");
 *
 * There is no type for CertSrvRestoreRegisterThroughFile: its is
 * FNCERTSRVRESTOREREGISTERW.
 */
#ifndef CERTKEEP_CERTBCLI_H
#define CERTKEEP_CERTBCLI_H

#ifdef _WIN32

#include <windows.h>

#else /* what windows.h has */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
typedef char16_t WCHAR;
#else
typedef uint16_t WCHAR; /* the type of a character in u"" */
#endif
typedef uint8_t BYTE;
typedef int BOOL;
typedef int32_t LONG;
typedef uint32_t ULONG;
typedef uint32_t DWORD;
typedef int32_t HRESULT; /* negative: a failure */

/* A file's size. LowPart and HighPart are in the order of little-endian machines. */
typedef union _LARGE_INTEGER {
	struct {
		DWORD LowPart;
		LONG HighPart;
	} u;
	int64_t QuadPart;
} LARGE_INTEGER;

#ifndef VOID
#define VOID void
#endif
#ifndef WINAPI
#define WINAPI
#endif
#ifndef TRUE
#define TRUE 1
#define FALSE 0
#endif
#ifndef S_OK
#define S_OK ((HRESULT)0)
#endif
#ifndef SUCCEEDED
#define SUCCEEDED(hr) ((HRESULT)(hr) >= 0)
#define FAILED(hr) ((HRESULT)(hr) < 0)
#endif

#endif /* _WIN32 */

#ifdef __cplusplus
extern "C" {
#endif

/* CertSrvBackupPrepareW: dwBackupFlags */
#define CSBACKUP_TYPE_FULL 0x00000001      /* databases and logs */
#define CSBACKUP_TYPE_LOGS_ONLY 0x00000002 /* an incremental backup */
#define CSBACKUP_TYPE_MASK 0x00000003
#define CSBACKUP_DISABLE_INCREMENTAL 0xffffffff

/* CertSrvRestorePrepareW: dwRestoreFlags; only the first is documented */
#define CSRESTORE_TYPE_FULL 0x00000001
#define CSRESTORE_TYPE_ONLINE 0x00000002
#define CSRESTORE_TYPE_CATCHUP 0x00000004
#define CSRESTORE_TYPE_MASK 0x00000005

/* CertSrvServerControlW: dwControlFlags */
#define CSCONTROL_SHUTDOWN 0x00000001
#define CSCONTROL_SUSPEND 0x00000002
#define CSCONTROL_RESTART 0x00000003

/* The WCHAR before each name of a tagged list. */
typedef WCHAR CSBFT;

#define CSBFT_DIRECTORY 0x80          /* a flag in the others */
#define CSBFT_DATABASE_DIRECTORY 0x40 /* likewise */
#define CSBFT_LOG_DIRECTORY 0x20      /* likewise */

#define CSBFT_LOG ((CSBFT)0x21)                /* '!', a log */
#define CSBFT_PATCH_FILE ((CSBFT)0x25)         /* '%', not since Server 2003 */
#define CSBFT_CERTSERVER_DATABASE ((CSBFT)0x44) /* 'D', a database */
#define CSBFT_LOG_DIR ((CSBFT)0x82)
#define CSBFT_CHECKPOINT_DIR ((CSBFT)0x83)
#define CSBFT_UNKNOWN ((CSBFT)0x0f)

#define szBACKUPANNOTATION "Cert Server Backup Interface"
#define szRESTOREANNOTATION "Cert Server Restore Interface"

/*
 * A backup context, or a restore context. It is a number, and points to nothing.
 * (The library's own build declares it as one.)
 */
#ifndef CERTBCLI_HCSBC
#define CERTBCLI_HCSBC void *
#endif
typedef CERTBCLI_HCSBC HCSBC;

/* Where a database was at the backup, and where it is now. */
#ifndef CSEDB_RSTMAP
typedef struct tagCSEDB_RSTMAPW {
	WCHAR *pwszDatabaseName;
	WCHAR *pwszNewDatabaseName;
} CSEDB_RSTMAPW;
#define CSEDB_RSTMAP CSEDB_RSTMAPW
#endif

#define CertSrvIsServerOnline CertSrvIsServerOnlineW
#define CertSrvBackupPrepare CertSrvBackupPrepareW
#define CertSrvBackupGetDatabaseNames CertSrvBackupGetDatabaseNamesW
#define CertSrvBackupOpenFile CertSrvBackupOpenFileW
#define CertSrvBackupGetBackupLogs CertSrvBackupGetBackupLogsW
#define CertSrvBackupGetDynamicFileList CertSrvBackupGetDynamicFileListW
#define CertSrvRestoreGetDatabaseLocations CertSrvRestoreGetDatabaseLocationsW
#define CertSrvRestorePrepare CertSrvRestorePrepareW
#define CertSrvRestoreRegister CertSrvRestoreRegisterW
#define CertSrvServerControl CertSrvServerControlW

/* The service: a server's name is a machine's, or machine\CA name. */
typedef HRESULT(WINAPI FNCERTSRVISSERVERONLINEW)(WCHAR const *pwszServerName, BOOL *pfServerOnline);
typedef HRESULT(WINAPI FNCERTSRVSERVERCONTROLW)(WCHAR const *pwszServerName, DWORD dwControlFlags, DWORD *pcbOut, BYTE **ppbOut);

/* A backup, in the order of its steps. Sizes of lists are in bytes. */
typedef HRESULT(WINAPI FNCERTSRVBACKUPPREPAREW)(WCHAR const *pwszServerName, ULONG grbitJet, ULONG dwBackupFlags, HCSBC *phbc);
typedef HRESULT(WINAPI FNCERTSRVRESTOREGETDATABASELOCATIONSW)(HCSBC hbc, WCHAR **ppwszzDatabaseLocationList, DWORD *pcbSize);
typedef HRESULT(WINAPI FNCERTSRVBACKUPGETDATABASENAMESW)(HCSBC hbc, WCHAR **ppwszzAttachmentInformation, DWORD *pcbSize);
typedef HRESULT(WINAPI FNCERTSRVBACKUPOPENFILEW)(HCSBC hbc, WCHAR const *pwszAttachmentName, DWORD cbReadHintSize, LARGE_INTEGER *pliFileSize);
typedef HRESULT(WINAPI FNCERTSRVBACKUPREAD)(HCSBC hbc, VOID *pvBuffer, DWORD cbBuffer, DWORD *pcbRead);
typedef HRESULT(WINAPI FNCERTSRVBACKUPCLOSE)(HCSBC hbc);
typedef HRESULT(WINAPI FNCERTSRVBACKUPGETBACKUPLOGSW)(HCSBC hbc, WCHAR **ppwszzBackupLogFiles, DWORD *pcbSize);
typedef HRESULT(WINAPI FNCERTSRVBACKUPTRUNCATELOGS)(HCSBC hbc);
typedef HRESULT(WINAPI FNCERTSRVBACKUPGETDYNAMICFILELISTW)(HCSBC hbc, WCHAR **ppwszzFileList, DWORD *pcbSize);
typedef HRESULT(WINAPI FNCERTSRVBACKUPEND)(HCSBC hbc);
typedef VOID(WINAPI FNCERTSRVBACKUPFREE)(VOID *pv);

/* A restore. */
typedef HRESULT(WINAPI FNCERTSRVRESTOREPREPAREW)(WCHAR const *pwszServerName, ULONG dwRestoreFlags, HCSBC *phbc);
typedef HRESULT(WINAPI FNCERTSRVRESTOREREGISTERW)(HCSBC hbc, WCHAR const *pwszCheckPointFilePath, WCHAR const *pwszLogPath,
	CSEDB_RSTMAPW rgrstmap[], LONG crstmap, WCHAR const *pwszBackupLogPath, ULONG genLow, ULONG genHigh);
typedef HRESULT(WINAPI FNCERTSRVRESTOREREGISTERCOMPLETE)(HCSBC hbc, HRESULT hrRestoreState);
typedef HRESULT(WINAPI FNCERTSRVRESTOREEND)(HCSBC hbc);

/* The functions themselves, for programs that are linked with the library. */
FNCERTSRVISSERVERONLINEW CertSrvIsServerOnlineW;
FNCERTSRVSERVERCONTROLW CertSrvServerControlW;
FNCERTSRVBACKUPPREPAREW CertSrvBackupPrepareW;
FNCERTSRVRESTOREGETDATABASELOCATIONSW CertSrvRestoreGetDatabaseLocationsW;
FNCERTSRVBACKUPGETDATABASENAMESW CertSrvBackupGetDatabaseNamesW;
FNCERTSRVBACKUPOPENFILEW CertSrvBackupOpenFileW;
FNCERTSRVBACKUPREAD CertSrvBackupRead;
FNCERTSRVBACKUPCLOSE CertSrvBackupClose;
FNCERTSRVBACKUPGETBACKUPLOGSW CertSrvBackupGetBackupLogsW;
FNCERTSRVBACKUPTRUNCATELOGS CertSrvBackupTruncateLogs;
FNCERTSRVBACKUPGETDYNAMICFILELISTW CertSrvBackupGetDynamicFileListW;
FNCERTSRVBACKUPEND CertSrvBackupEnd;
FNCERTSRVBACKUPFREE CertSrvBackupFree;
FNCERTSRVRESTOREPREPAREW CertSrvRestorePrepareW;
FNCERTSRVRESTOREREGISTERW CertSrvRestoreRegisterW;
FNCERTSRVRESTOREREGISTERW CertSrvRestoreRegisterThroughFile;
FNCERTSRVRESTOREREGISTERCOMPLETE CertSrvRestoreRegisterComplete;
FNCERTSRVRESTOREEND CertSrvRestoreEnd;

#ifdef __cplusplus
}
#endif

#endif

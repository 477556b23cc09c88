/*
 * procs.h: Certadm.dll's functions by name, on Windows and elsewhere. On Windows
 * this takes the compiler's own certbcli.h, elsewhere certkeep's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PROCS_H
#define PROCS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>

#include <certbcli.h>
#else
#include "../certbcli.h"
#include <dlfcn.h>
#endif

/* The functions that the procedures need, and where they come from. */
struct procs {
	void *library;
	FNCERTSRVISSERVERONLINEW *IsServerOnline;
	FNCERTSRVSERVERCONTROLW *ServerControl;
	FNCERTSRVBACKUPPREPAREW *BackupPrepare;
	FNCERTSRVRESTOREGETDATABASELOCATIONSW *RestoreGetDatabaseLocations;
	FNCERTSRVBACKUPGETDATABASENAMESW *BackupGetDatabaseNames;
	FNCERTSRVBACKUPOPENFILEW *BackupOpenFile;
	FNCERTSRVBACKUPREAD *BackupRead;
	FNCERTSRVBACKUPCLOSE *BackupClose;
	FNCERTSRVBACKUPGETBACKUPLOGSW *BackupGetBackupLogs;
	FNCERTSRVBACKUPTRUNCATELOGS *BackupTruncateLogs;
	FNCERTSRVBACKUPGETDYNAMICFILELISTW *BackupGetDynamicFileList;
	FNCERTSRVBACKUPEND *BackupEnd;
	FNCERTSRVBACKUPFREE *BackupFree;
	FNCERTSRVRESTOREPREPAREW *RestorePrepare;
	FNCERTSRVRESTOREREGISTERW *RestoreRegister;
	FNCERTSRVRESTOREREGISTERW *RestoreRegisterThroughFile;
	FNCERTSRVRESTOREREGISTERCOMPLETE *RestoreRegisterComplete;
	FNCERTSRVRESTOREEND *RestoreEnd;
};

static inline void *procs_symbol(void *library, const char *name)
{
#ifdef _WIN32
	void *p = (void *)(ULONG_PTR)GetProcAddress((HMODULE)library, name);
#else
	void *p = dlsym(library, name);
#endif
	if (p == NULL)
		fprintf(stderr, "the library has no %s\n", name);
	return p;
}

/* Step 1 and 2 of both procedures. Returns 0 if all functions are there. */
static inline int procs_load(struct procs *p, const char *path)
{
	/* A pointer to a function and one to data have the same form wherever there are
	 * dlsym and GetProcAddress, but ISO C has no conversion between them. */
	const struct {
		const char *name;
		void *to;
	} all[] = {
		{"CertSrvIsServerOnlineW", &p->IsServerOnline},
		{"CertSrvServerControlW", &p->ServerControl},
		{"CertSrvBackupPrepareW", &p->BackupPrepare},
		{"CertSrvRestoreGetDatabaseLocationsW", &p->RestoreGetDatabaseLocations},
		{"CertSrvBackupGetDatabaseNamesW", &p->BackupGetDatabaseNames},
		{"CertSrvBackupOpenFileW", &p->BackupOpenFile},
		{"CertSrvBackupRead", &p->BackupRead},
		{"CertSrvBackupClose", &p->BackupClose},
		{"CertSrvBackupGetBackupLogsW", &p->BackupGetBackupLogs},
		{"CertSrvBackupTruncateLogs", &p->BackupTruncateLogs},
		{"CertSrvBackupGetDynamicFileListW", &p->BackupGetDynamicFileList},
		{"CertSrvBackupEnd", &p->BackupEnd},
		{"CertSrvBackupFree", &p->BackupFree},
		{"CertSrvRestorePrepareW", &p->RestorePrepare},
		{"CertSrvRestoreRegisterW", &p->RestoreRegister},
		{"CertSrvRestoreRegisterThroughFile", &p->RestoreRegisterThroughFile},
		{"CertSrvRestoreRegisterComplete", &p->RestoreRegisterComplete},
		{"CertSrvRestoreEnd", &p->RestoreEnd},
	};
	size_t i;

	memset(p, 0, sizeof *p);
#ifdef _WIN32
	p->library = LoadLibraryA(path);
	if (p->library == NULL) {
		fprintf(stderr, "LoadLibrary %s: error %lu\n", path, (unsigned long)GetLastError());
		return -1;
	}
#else
	p->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (p->library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return -1;
	}
#endif
	for (i = 0; i < sizeof all / sizeof all[0]; i++) {
		void *f = procs_symbol(p->library, all[i].name);
		if (f == NULL)
			return -1;
		memcpy(all[i].to, &f, sizeof f);
	}
	return 0;
}

/* The last step. Returns 0 if the library was given back. */
static inline int procs_unload(struct procs *p)
{
	void *library = p->library;

	memset(p, 0, sizeof *p);
#ifdef _WIN32
	return FreeLibrary((HMODULE)library) ? 0 : -1;
#else
	return dlclose(library);
#endif
}

/* Enables a privilege that the account holds, which Certadm.dll leaves to its
 * caller. Returns 0 if the account does not hold it; certkeep's library needs none. */
static inline int procs_privilege(const char *name)
{
#ifdef _WIN32
	TOKEN_PRIVILEGES p;
	HANDLE token;
	int enabled = 0;

	p.PrivilegeCount = 1;
	p.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token))
		return 0;
	if (LookupPrivilegeValueA(NULL, name, &p.Privileges[0].Luid))
		enabled = AdjustTokenPrivileges(token, FALSE, &p, 0, NULL, NULL) && GetLastError() == ERROR_SUCCESS;
	CloseHandle(token);
	return enabled;
#else
	(void)name;
	return 1;
#endif
}

/* The length of a string in WCHARs; wcslen is of another type but on Windows. */
static inline size_t wide_length(const WCHAR *s)
{
	size_t n = 0;

	while (s[n] != 0)
		n++;
	return n;
}

/* A string of this system as WCHARs, to be freed; NULL if it cannot be one. */
static inline WCHAR *wide(const char *s)
{
	size_t n = strlen(s), used = 0;
	WCHAR *w = (WCHAR *)calloc(n + 1, sizeof(WCHAR));

	if (w == NULL)
		return NULL;
#ifdef _WIN32
	used = (size_t)MultiByteToWideChar(CP_ACP, MB_ERR_INVALID_CHARS, s, (int)n, w, (int)n);
	if (n > 0 && used == 0) {
		free(w);
		return NULL;
	}
#else
	while (*s != 0) { /* UTF-8; the library refuses what is not UTF-16 then */
		const unsigned char *u = (const unsigned char *)s;
		unsigned long c = u[0];
		int more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1, i;

		if (more > 0)
			c &= 0x3fu >> more;
		for (i = 1; i <= more; i++) {
			if ((u[i] & 0xc0) != 0x80) {
				free(w);
				return NULL;
			}
			c = c << 6 | (u[i] & 0x3f);
		}
		s += 1 + more;
		if (c >= 0x10000) {
			w[used++] = (WCHAR)(0xd800 + ((c - 0x10000) >> 10));
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		w[used++] = (WCHAR)c;
	}
#endif
	w[used] = 0;
	return w;
}

/* WCHARs as a string of this system, to be freed. */
static inline char *narrow(const WCHAR *w)
{
	size_t n = wide_length(w), used = 0;
	char *s = (char *)calloc(3 * n + 1, 1);

	if (s == NULL)
		return NULL;
#ifdef _WIN32
	used = (size_t)WideCharToMultiByte(CP_ACP, 0, w, (int)n, s, (int)(3 * n), NULL, NULL);
#else
	while (*w != 0) {
		unsigned long c = *w++;

		if (c >= 0xd800 && c < 0xdc00 && *w >= 0xdc00 && *w < 0xe000)
			c = 0x10000 + ((c - 0xd800) << 10) + (*w++ - 0xdc00u);
		if (c < 0x80) {
			s[used++] = (char)c;
			continue;
		}
		if (c >= 0x10000) {
			s[used++] = (char)(0xf0 | c >> 18);
			s[used++] = (char)(0x80 | (c >> 12 & 0x3f));
		} else if (c >= 0x800) {
			s[used++] = (char)(0xe0 | c >> 12);
		} else {
			s[used++] = (char)(0xc0 | c >> 6);
		}
		if (c >= 0x800)
			s[used++] = (char)(0x80 | (c >> 6 & 0x3f));
		s[used++] = (char)(0x80 | (c & 0x3f));
	}
#endif
	s[used] = 0;
	return s;
}

/* The last element of a UNC name, or a path. */
static inline const char *base_name(const char *path)
{
	const char *p, *base = path;

	for (p = path; *p != 0; p++)
		if (*p == '\\' || *p == '/')
			base = p + 1;
	return base;
}

/* A path of two parts, to be freed. */
static inline char *join(const char *dir, const char *name)
{
	size_t n = strlen(dir) + strlen(name) + 2;
	char *path = (char *)malloc(n);

	if (path != NULL)
		snprintf(path, n, "%s/%s", dir, name);
	return path;
}

#endif

/* A Certadm.dll without restore functions, which counts what it hands out. */
#include <windows.h>
#include <certbcli.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __declspec(dllexport)

static LONG outstanding, sessions;

static HRESULT hand_out(WCHAR **out, DWORD *size, const WCHAR *list, size_t units)
{
	*out = malloc(units * sizeof *list);
	memcpy(*out, list, units * sizeof *list);
	*size = (DWORD)(units * sizeof *list);
	InterlockedIncrement(&outstanding);
	return S_OK;
}

EXPORT HRESULT WINAPI CertSrvIsServerOnlineW(const WCHAR *server, WINBOOL *online)
{
	*online = server[0] == 'o' && server[1] == 'n' && server[2] == 0;
	return S_OK;
}

EXPORT HRESULT WINAPI CertSrvBackupPrepareW(const WCHAR *server, ULONG grbit, ULONG flags, HCSBC *h)
{
	if (!server || grbit != 0 || flags != CSBACKUP_TYPE_FULL)
		return E_INVALIDARG;
	*h = (HCSBC)0x1234;
	sessions++;
	return S_OK;
}

EXPORT HRESULT WINAPI CertSrvRestoreGetDatabaseLocationsW(HCSBC h, WCHAR **out, DWORD *size)
{
	static const WCHAR list[] = L"D\\\\SRV\\C$\\!00dc.edb\0";
	return h == (HCSBC)0x1234 ? hand_out(out, size, list, sizeof list / sizeof *list) : E_HANDLE;
}

EXPORT HRESULT WINAPI CertSrvBackupGetDatabaseNamesW(HCSBC h, WCHAR **out, DWORD *size)
{
	return CertSrvRestoreGetDatabaseLocationsW(h, out, size);
}

EXPORT HRESULT WINAPI CertSrvBackupGetBackupLogsW(HCSBC h, WCHAR **out, DWORD *size)
{
	static const WCHAR list[] = L"!unterminated";
	return h == (HCSBC)0x1234 ? hand_out(out, size, list, 3) : E_HANDLE;
}

EXPORT HRESULT WINAPI CertSrvBackupGetDynamicFileListW(HCSBC h, WCHAR **out, DWORD *size)
{
	*out = NULL;
	*size = 0;
	return h == (HCSBC)0x1234 ? S_OK : E_HANDLE;
}

EXPORT HRESULT WINAPI CertSrvBackupOpenFileW(HCSBC h, const WCHAR *name, DWORD hint, LARGE_INTEGER *size)
{
	if (h != (HCSBC)0x1234 || wcscmp(name, L"\x20ac") != 0 || hint != 0x12345)
		return E_INVALIDARG;
	size->QuadPart = 0x123456789aLL;
	return S_OK;
}

EXPORT HRESULT WINAPI CertSrvBackupRead(HCSBC h, void *p, DWORD cb, DWORD *n)
{
	if (h != (HCSBC)0x1234)
		return E_HANDLE;
	memset(p, 0x5a, cb);
	*n = cb;
	return S_OK;
}

EXPORT HRESULT WINAPI CertSrvBackupClose(HCSBC h) { return h == (HCSBC)0x1234 ? S_OK : E_HANDLE; }

EXPORT HRESULT WINAPI CertSrvBackupTruncateLogs(HCSBC h) { return h == (HCSBC)0x1234 ? S_OK : E_HANDLE; }

EXPORT HRESULT WINAPI CertSrvBackupEnd(HCSBC h)
{
	sessions--;
	if (outstanding != 0)
		return HRESULT_FROM_WIN32(ERROR_BUSY); /* something was not freed */
	return h == (HCSBC)0x1234 && sessions == 0 ? S_OK : E_HANDLE;
}

EXPORT void WINAPI CertSrvBackupFree(void *p)
{
	if (p)
		InterlockedDecrement(&outstanding);
	free(p);
}

EXPORT HRESULT WINAPI CertSrvServerControlW(const WCHAR *server, DWORD flags, DWORD *size, BYTE **out)
{
	(void)server;
	(void)out;
	*size = 0;
	return flags == CSCONTROL_SUSPEND ? S_OK : E_INVALIDARG;
}

/*
 * misuse.c: what a program must not do, and what comes of it: an error, and never
 * a crash.
 *
 *     misuse LIBRARY SERVER RESTORABLE
 *
 * SERVER is an authority that runs, RESTORABLE one that is stopped.
 */
#include "../examples/procs.h"

#ifndef _WIN32
#include <pthread.h>
#endif

#define INVALID_HANDLE ((HRESULT)0xC7FF0003)
#define INVALID_ARGUMENT ((HRESULT)0x80070057)
#define OUT_OF_SEQUENCE ((HRESULT)0x8000FFFF)
#define UNEXPECTED OUT_OF_SEQUENCE

static struct procs certadm;
static int checks, wrong;

static void want(const char *what, HRESULT got, HRESULT expected)
{
	checks++;
	if (got != expected) {
		printf("wrong: %s: 0x%08lX, not 0x%08lX\n", what, (unsigned long)(ULONG)got, (unsigned long)(ULONG)expected);
		wrong++;
	}
}

static void want_true(const char *what, int ok)
{
	checks++;
	if (!ok) {
		printf("wrong: %s\n", what);
		wrong++;
	}
}

/* Every call in a backup context that is none. */
static void dead_backup(const char *why, HCSBC h)
{
	WCHAR *list = (WCHAR *)&list, name[] = {'x', 0};
	DWORD n = 7;
	LARGE_INTEGER size;
	char buffer[16];

	printf("backup calls with %s\n", why);
	want("GetDatabaseNames", certadm.BackupGetDatabaseNames(h, &list, &n), INVALID_HANDLE);
	want_true("the list is NULL and empty", list == NULL && n == 0);
	want("GetBackupLogs", certadm.BackupGetBackupLogs(h, &list, &n), INVALID_HANDLE);
	want("GetDynamicFileList", certadm.BackupGetDynamicFileList(h, &list, &n), INVALID_HANDLE);
	size.QuadPart = 7;
	want("OpenFile", certadm.BackupOpenFile(h, name, 0, &size), INVALID_HANDLE);
	want_true("the size is 0", size.QuadPart == 0);
	n = 7;
	want("Read", certadm.BackupRead(h, buffer, sizeof buffer, &n), INVALID_HANDLE);
	want_true("nothing was read", n == 0);
	want("Close", certadm.BackupClose(h), INVALID_HANDLE);
	want("TruncateLogs", certadm.BackupTruncateLogs(h), INVALID_HANDLE);
	want("BackupEnd", certadm.BackupEnd(h), INVALID_HANDLE);
}

static void dead_restore(const char *why, HCSBC h)
{
	printf("restore calls with %s\n", why);
	want("RestoreRegister", certadm.RestoreRegister(h, NULL, NULL, NULL, 0, NULL, 1, 1), INVALID_HANDLE);
	want("RestoreRegisterThroughFile", certadm.RestoreRegisterThroughFile(h, NULL, NULL, NULL, 0, NULL, 1, 1), INVALID_HANDLE);
	want("RestoreRegisterComplete", certadm.RestoreRegisterComplete(h, S_OK), INVALID_HANDLE);
	want("RestoreEnd", certadm.RestoreEnd(h), INVALID_HANDLE);
}

static void dead_both(const char *why, HCSBC h)
{
	WCHAR *list = NULL;
	DWORD n;

	dead_backup(why, h);
	dead_restore(why, h);
	want("GetDatabaseLocations", certadm.RestoreGetDatabaseLocations(h, &list, &n), INVALID_HANDLE);
}

static void null_outputs(const WCHAR *server, HCSBC h)
{
	WCHAR *list = (WCHAR *)&list, name[] = {'x', 0};
	DWORD n;
	char buffer[16];
	LARGE_INTEGER size;

	printf("outputs that are NULL\n");
	want("IsServerOnline", certadm.IsServerOnline(server, NULL), INVALID_ARGUMENT);
	want("BackupPrepare", certadm.BackupPrepare(server, 0, 1, NULL), INVALID_ARGUMENT);
	want("RestorePrepare", certadm.RestorePrepare(server, 1, NULL), INVALID_ARGUMENT);
	want("GetDatabaseNames without a list", certadm.BackupGetDatabaseNames(h, NULL, &n), INVALID_ARGUMENT);
	want("GetDatabaseNames without a size", certadm.BackupGetDatabaseNames(h, &list, NULL), INVALID_ARGUMENT);
	want_true("the list is NULL", list == NULL);
	want("OpenFile without a size", certadm.BackupOpenFile(h, name, 0, NULL), INVALID_ARGUMENT);
	want("OpenFile without a name", certadm.BackupOpenFile(h, NULL, 0, &size), INVALID_ARGUMENT);
	want("Read without a count", certadm.BackupRead(h, buffer, sizeof buffer, NULL), INVALID_ARGUMENT);
	want("Read without a buffer", certadm.BackupRead(h, NULL, 16, &n), INVALID_ARGUMENT);
}

static void names(void)
{
	static WCHAR longer[40000];
	WCHAR empty[] = {0}, half[] = {'C', 0xd800, 'A', 0}, slashes[] = {'\\', '\\', 0}, local[] = {'l', 'o', 'c', 'a', 'l', ':', 0};
	BOOL online = TRUE;
	HCSBC h = (HCSBC)&h;
	size_t i;

	printf("names that are none\n");
	for (i = 0; i + 1 < sizeof longer / sizeof longer[0]; i++)
		longer[i] = 'A';
	want("IsServerOnline(NULL)", certadm.IsServerOnline(NULL, &online), INVALID_ARGUMENT);
	want_true("it is not online", !online);
	want("BackupPrepare(NULL)", certadm.BackupPrepare(NULL, 0, 1, &h), INVALID_ARGUMENT);
	want_true("the handle is NULL", h == NULL);
	want("an empty name", certadm.IsServerOnline(empty, &online), INVALID_ARGUMENT);
	want("two backslashes", certadm.IsServerOnline(slashes, &online), INVALID_ARGUMENT);
	want("half a surrogate pair", certadm.IsServerOnline(half, &online), INVALID_ARGUMENT);
	want("40000 characters", certadm.IsServerOnline(longer, &online), INVALID_ARGUMENT);
	want("local:", certadm.IsServerOnline(local, &online), INVALID_ARGUMENT);
}

/* Addresses where nothing is: no page, and none that could be one. */
static void wild(const WCHAR *server)
{
	static const long long constant[2] = {1, 1};
	static const unsigned long long at[] = {16, 0x414141410000, 0x4141414141414140};
	HCSBC h = NULL;
	WCHAR *list = NULL;
	DWORD n = 0;
	LARGE_INTEGER size;
	BOOL online;
	size_t i;

	printf("addresses where nothing is\n");
	want("BackupPrepare", certadm.BackupPrepare(server, 0, CSBACKUP_TYPE_FULL, &h), S_OK);
	want("GetDatabaseNames", certadm.BackupGetDatabaseNames(h, &list, &n), S_OK);
	if (list == NULL)
		return;
	for (i = 0; i < sizeof at / sizeof at[0]; i++) {
		void *p = (void *)(size_t)at[i];

		want("a name", certadm.IsServerOnline((WCHAR *)p, &online), UNEXPECTED);
		want("an output of IsServerOnline", certadm.IsServerOnline(server, (BOOL *)p), UNEXPECTED);
		want("an output of BackupPrepare", certadm.BackupPrepare(server, 0, CSBACKUP_TYPE_FULL, (HCSBC *)p), UNEXPECTED);
		want("an output of RestorePrepare", certadm.RestorePrepare(server, CSRESTORE_TYPE_FULL, (HCSBC *)p), UNEXPECTED);
		want("a list", certadm.BackupGetDatabaseNames(h, (WCHAR **)p, &n), UNEXPECTED);
		want("a file's name", certadm.BackupOpenFile(h, (WCHAR *)p, 0, &size), UNEXPECTED);
		want("a map", certadm.RestoreRegister(h, NULL, NULL, (CSEDB_RSTMAPW *)p, 1, NULL, 1, 1), UNEXPECTED);
		want("OpenFile", certadm.BackupOpenFile(h, list + 1, 0, &size), S_OK);
		want("a buffer", certadm.BackupRead(h, p, 16, &n), UNEXPECTED);
		want_true("nothing was read", n == 0);
		want("the context goes on", certadm.BackupClose(h), S_OK);
		certadm.BackupFree(p);
	}
	want("a constant for an output", certadm.IsServerOnline(server, (BOOL *)constant), UNEXPECTED);
	want("a constant for a buffer", certadm.BackupOpenFile(h, list + 1, 0, &size), S_OK);
	want("a constant for a buffer", certadm.BackupRead(h, (void *)constant, sizeof constant, &n), UNEXPECTED);
	want("the context goes on", certadm.BackupClose(h), S_OK);
	certadm.BackupFree(list);
	want("BackupEnd", certadm.BackupEnd(h), S_OK);
}

static void session(const WCHAR *server)
{
	HCSBC h = NULL;
	WCHAR *list = NULL, *again = NULL;
	DWORD n = 0, m = 0;
	LARGE_INTEGER size, other;
	char buffer[16];

	want("BackupPrepare of type 3", certadm.BackupPrepare(server, 0, 3, &h), INVALID_ARGUMENT);
	want("BackupPrepare", certadm.BackupPrepare(server, 0, CSBACKUP_TYPE_FULL, &h), S_OK);
	null_outputs(server, h);
	dead_restore("a backup context", h);

	printf("files\n");
	want("Read without a file", certadm.BackupRead(h, buffer, sizeof buffer, &n), OUT_OF_SEQUENCE);
	want("Close without a file", certadm.BackupClose(h), OUT_OF_SEQUENCE);
	want("GetDatabaseNames", certadm.BackupGetDatabaseNames(h, &list, &n), S_OK);
	want_true("the list is there", list != NULL && n > 4);
	want("GetDatabaseNames again", certadm.BackupGetDatabaseNames(h, &again, &m), S_OK);
	want_true("it is the same, in other memory", again != list && m == n && memcmp(list, again, n) == 0);
	if (list == NULL)
		return;
	want_true("a name with its tag is refused", FAILED(certadm.BackupOpenFile(h, list, 0, &size)));
	want("OpenFile", certadm.BackupOpenFile(h, list + 1, 0, &size), S_OK);
	want("OpenFile with a file open", certadm.BackupOpenFile(h, list + 1, 0, &other), OUT_OF_SEQUENCE);
	want("Read of nothing", certadm.BackupRead(h, NULL, 0, &n), S_OK);
	want("Read", certadm.BackupRead(h, buffer, 1, &n), S_OK);
	want_true("one byte", n == 1);
	want("TruncateLogs with a file open", certadm.BackupTruncateLogs(h), OUT_OF_SEQUENCE);
	want("Close", certadm.BackupClose(h), S_OK);
	want("Read after Close", certadm.BackupRead(h, buffer, sizeof buffer, &n), OUT_OF_SEQUENCE);
	want("Close after Close", certadm.BackupClose(h), OUT_OF_SEQUENCE);

	printf("free\n");
	certadm.BackupFree(NULL);
	certadm.BackupFree(list + 1); /* inside of a list */
	certadm.BackupFree(buffer);
	certadm.BackupFree((void *)1);
	certadm.BackupFree((void *)~(size_t)0);
	want_true("the list is as it was", memcmp(list, again, m) == 0);
	certadm.BackupFree(list);
	certadm.BackupFree(list);
	certadm.BackupFree(again);
	certadm.BackupFree(again);

	want("BackupEnd", certadm.BackupEnd(h), S_OK);
	dead_both("a context that has ended", h);
}

static void restore_session(const WCHAR *server, const WCHAR *running)
{
	HCSBC h = NULL;
	CSEDB_RSTMAPW map[2] = {{NULL, NULL}, {NULL, NULL}};
	WCHAR *list = NULL;
	DWORD n;

	want("RestorePrepare of type 2", certadm.RestorePrepare(server, CSRESTORE_TYPE_ONLINE, &h), INVALID_ARGUMENT);
	want_true("RestorePrepare of a service that runs", FAILED(certadm.RestorePrepare(running, 1, &h)) && h == NULL);
	want("RestorePrepare", certadm.RestorePrepare(server, CSRESTORE_TYPE_FULL, &h), S_OK);
	dead_backup("a restore context", h);
	want("locations of a service that is stopped", certadm.RestoreGetDatabaseLocations(h, &list, &n), (HRESULT)0x80070426);
	want("a map without its count", certadm.RestoreRegister(h, NULL, NULL, map, 0, NULL, 1, 1), INVALID_ARGUMENT);
	want("a count without its map", certadm.RestoreRegister(h, NULL, NULL, NULL, 1, NULL, 1, 1), INVALID_ARGUMENT);
	want("two entries", certadm.RestoreRegister(h, NULL, NULL, map, 2, NULL, 1, 1), INVALID_ARGUMENT);
	want("a negative count", certadm.RestoreRegister(h, NULL, NULL, map, -1, NULL, 1, 1), INVALID_ARGUMENT);
	want("names that are NULL", certadm.RestoreRegister(h, NULL, NULL, map, 1, NULL, 1, 1), INVALID_ARGUMENT);
	want("generation 0", certadm.RestoreRegister(h, NULL, NULL, NULL, 0, NULL, 0, 1), INVALID_ARGUMENT);
	want("RegisterComplete without Register", certadm.RestoreRegisterComplete(h, S_OK), OUT_OF_SEQUENCE);
	want("RestoreEnd", certadm.RestoreEnd(h), S_OK);
	dead_both("a restore context that has ended", h);
}

/* Two threads in one context, which one of them ends under the other's hands. */

static HCSBC shared;
static int reads, ended, others;

static void read_on(int one)
{
	char buffer[4];
	DWORD n;
	int i;

	for (i = 0; i < 2000; i++) {
		HRESULT hr = certadm.BackupRead(shared, buffer, sizeof buffer, &n);
		if (hr == S_OK && n == sizeof buffer)
			__atomic_fetch_add(&reads, 1, __ATOMIC_SEQ_CST);
		else if (hr == INVALID_HANDLE)
			__atomic_fetch_add(&ended, 1, __ATOMIC_SEQ_CST);
		else
			__atomic_fetch_add(&others, 1, __ATOMIC_SEQ_CST);
		if (one && i == 1000)
			certadm.BackupEnd(shared); /* a file is open: what it says is not the question */
	}
}

#ifdef _WIN32
static DWORD WINAPI other_thread(void *unused)
{
	(void)unused;
	read_on(0);
	return 0;
}
#else
static void *other_thread(void *unused)
{
	read_on(0);
	return unused;
}
#endif

static void threads(const WCHAR *server)
{
	WCHAR *list = NULL;
	DWORD n;
	LARGE_INTEGER size;
#ifdef _WIN32
	HANDLE t;
#else
	pthread_t t;
#endif

	printf("two threads in one context\n");
	want("BackupPrepare", certadm.BackupPrepare(server, 0, CSBACKUP_TYPE_FULL, &shared), S_OK);
	want("GetDatabaseNames", certadm.BackupGetDatabaseNames(shared, &list, &n), S_OK);
	if (list == NULL)
		return;
	want("OpenFile", certadm.BackupOpenFile(shared, list + 1, 0, &size), S_OK);
	want_true("the database has enough for this", size.QuadPart >= 2 * 2000 * 4);
	certadm.BackupFree(list);
#ifdef _WIN32
	t = CreateThread(NULL, 0, other_thread, NULL, 0, NULL);
	want_true("CreateThread", t != NULL);
	read_on(1);
	WaitForSingleObject(t, INFINITE);
	CloseHandle(t);
#else
	want_true("pthread_create", pthread_create(&t, NULL, other_thread, NULL) == 0);
	read_on(1);
	pthread_join(t, NULL);
#endif
	want_true("both read, until the end", reads > 1000 && ended >= 999 && others == 0);
	dead_both("a context that a thread has ended", shared);
}

int main(int argc, char **argv)
{
	WCHAR *server, *restorable;
	int here;

	if (argc != 4)
		return 2;
	server = wide(argv[2]);
	restorable = wide(argv[3]);
	if (server == NULL || restorable == NULL || procs_load(&certadm, argv[1]) != 0)
		return 2;
	dead_both("NULL", NULL);
	dead_both("a small number", (HCSBC)1);
	dead_both("a large number", (HCSBC)~(size_t)0);
	dead_both("an address of the stack", &here);
	dead_both("an address of the heap", server);
	dead_both("an address in Go's heap", (HCSBC)(size_t)0xc000000000);
	names();
	wild(server);
	session(server);
	restore_session(restorable, server);
	threads(server);
	free(server);
	free(restorable);
	if (procs_unload(&certadm) != 0)
		return 2;
	printf("%d checks, %d wrong\n", checks, wrong);
	return wrong != 0;
}

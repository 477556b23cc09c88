/*
 * host.c: makes calls of the library that a test asks for on the standard input.
 *
 *     host LIBRARY
 *
 * A call is a line: its name, and its arguments with one space before each.
 * Strings are UTF-16LE in hexadecimal digits after an "x", or "-" for NULL; numbers
 * are hexadecimal; handles are numbers. The answer is a line with the HRESULT and
 * another number, and where that is a number of bytes those bytes follow it.
 */
#include "../examples/procs.h"

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

#ifdef __linux__
#include <sys/auxv.h>
#endif

static struct procs certadm;
static char *rest; /* of the line */

static char *word(void)
{
	char *w = rest, *p;

	if (w == NULL)
		exit(3);
	p = strchr(w, ' ');
	rest = NULL;
	if (p != NULL) {
		*p = 0;
		rest = p + 1;
	}
	return w;
}

static unsigned long long number(void) { return strtoull(word(), NULL, 16); }

static HCSBC handle(void) { return (HCSBC)(size_t)number(); }

static unsigned digit(char c) { return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10); }

/* A string argument, to be freed. */
static WCHAR *string(void)
{
	const char *w = word();
	size_t n, i;
	WCHAR *s;

	if (strcmp(w, "-") == 0)
		return NULL;
	n = strlen(++w) / 4;
	/* no more than it needs, so that reading beyond its end is seen */
	s = (WCHAR *)malloc((n + 1) * sizeof(WCHAR));
	if (s == NULL)
		exit(3);
	for (i = 0; i < n; i++, w += 4)
		s[i] = (WCHAR)(digit(w[0]) << 4 | digit(w[1]) | digit(w[2]) << 12 | digit(w[3]) << 8);
	s[n] = 0;
	return s;
}

static void answer(HRESULT hr, unsigned long long n) { printf("%lx %llx\n", (unsigned long)(ULONG)hr, n); }

static void bytes(const void *data, size_t n)
{
	if (n > 0 && fwrite(data, 1, n, stdout) != n)
		exit(3);
}

typedef HRESULT(WINAPI list_function)(HCSBC, WCHAR **, DWORD *);

/* The answer has what a program that walks the list would see, final NULs
 * included, if the size says that there is any of it. */
static void list(list_function *get)
{
	HCSBC h = handle();
	WCHAR *l = (WCHAR *)&l;
	DWORD n = 7;
	HRESULT hr = get(h, &l, &n);

	if ((l == NULL) != (hr != S_OK) || (l == NULL && n != 0) || (l != NULL && n == 0 && *l != 0))
		exit(4);
	answer(hr, n);
	bytes(l, n);
	certadm.BackupFree(l);
	certadm.BackupFree(l); /* harmless */
}

static void online(void)
{
	WCHAR *server = string();
	BOOL is = TRUE;
	HRESULT hr = certadm.IsServerOnline(server, &is);

	answer(hr, (unsigned long long)is);
	free(server);
}

static void control(void)
{
	WCHAR *server = string();
	DWORD flags = (DWORD)number(), n = 7;
	BYTE *out = (BYTE *)&out;
	HRESULT hr = certadm.ServerControl(server, flags, &n, &out);

	if ((out == NULL) != (n == 0))
		exit(4);
	answer(hr, n);
	bytes(out, n);
	certadm.BackupFree(out);
	free(server);
}

static void prepare(void)
{
	WCHAR *server = string();
	ULONG flags = (ULONG)number();
	HCSBC h = &h;
	HRESULT hr = certadm.BackupPrepare(server, 0, flags, &h);

	answer(hr, (size_t)h);
	free(server);
}

static void restore(void)
{
	WCHAR *server = string();
	ULONG flags = (ULONG)number();
	HCSBC h = &h;
	HRESULT hr = certadm.RestorePrepare(server, flags, &h);

	answer(hr, (size_t)h);
	free(server);
}

static void open_file(void)
{
	HCSBC h = handle();
	WCHAR *name = string();
	LARGE_INTEGER size;
	HRESULT hr;

	size.QuadPart = 7;
	hr = certadm.BackupOpenFile(h, name, (DWORD)number(), &size);
	answer(hr, (unsigned long long)size.QuadPart);
	free(name);
}

static void read_file(void)
{
	HCSBC h = handle();
	DWORD size = (DWORD)number(), n = 7;
	/* no more than is asked for, and never none */
	void *buffer = malloc(size == 0 ? 1 : size);
	HRESULT hr;

	if (buffer == NULL)
		exit(3);
	hr = certadm.BackupRead(h, buffer, size, &n);
	if (n > size)
		exit(4);
	answer(hr, n);
	bytes(buffer, n);
	free(buffer);
}

static void reg(FNCERTSRVRESTOREREGISTERW *register_set)
{
	HCSBC h = handle();
	WCHAR *checkpoint = string(), *logs = string(), *backup_logs = string();
	ULONG low = (ULONG)number(), high = (ULONG)number();
	LONG count = (LONG)number(), i;
	CSEDB_RSTMAPW *map = count == 0 ? NULL : (CSEDB_RSTMAPW *)calloc((size_t)count, sizeof *map);

	for (i = 0; i < count; i++) {
		map[i].pwszDatabaseName = string();
		map[i].pwszNewDatabaseName = string();
	}
	answer(register_set(h, checkpoint, logs, map, count, backup_logs, low, high), 0);
	for (i = 0; i < count; i++) {
		free(map[i].pwszDatabaseName);
		free(map[i].pwszNewDatabaseName);
	}
	free(map);
	free(checkpoint);
	free(logs);
	free(backup_logs);
}

/* Sets a variable of the environment, after the library was loaded. */
static void set_variable(void)
{
	WCHAR *wide_name = string(), *wide_value = string();
	char *name = narrow(wide_name), *value = narrow(wide_value);

#ifdef _WIN32
	answer(_putenv_s(name, value), 0);
#else
	answer(setenv(name, value, 1), 0);
#endif
	free(wide_name);
	free(wide_value);
	free(name);
	free(value);
}

/* Whether the process has more rights than who started it. */
static void secure(void)
{
#ifdef __linux__
	answer(0, getauxval(AT_SECURE));
#else
	answer((HRESULT)0x80004001, 0);
#endif
}

static void call(void)
{
	const char *name = word();

	if (strcmp(name, "setenv") == 0) {
		set_variable();
	} else if (strcmp(name, "secure") == 0) {
		secure();
	} else if (strcmp(name, "online") == 0) {
		online();
	} else if (strcmp(name, "control") == 0) {
		control();
	} else if (strcmp(name, "prepare") == 0) {
		prepare();
	} else if (strcmp(name, "locations") == 0) {
		list(certadm.RestoreGetDatabaseLocations);
	} else if (strcmp(name, "names") == 0) {
		list(certadm.BackupGetDatabaseNames);
	} else if (strcmp(name, "logs") == 0) {
		list(certadm.BackupGetBackupLogs);
	} else if (strcmp(name, "dynamic") == 0) {
		list(certadm.BackupGetDynamicFileList);
	} else if (strcmp(name, "open") == 0) {
		open_file();
	} else if (strcmp(name, "read") == 0) {
		read_file();
	} else if (strcmp(name, "close") == 0) {
		answer(certadm.BackupClose(handle()), 0);
	} else if (strcmp(name, "truncate") == 0) {
		answer(certadm.BackupTruncateLogs(handle()), 0);
	} else if (strcmp(name, "end") == 0) {
		answer(certadm.BackupEnd(handle()), 0);
	} else if (strcmp(name, "restore") == 0) {
		restore();
	} else if (strcmp(name, "register") == 0) {
		reg(certadm.RestoreRegister);
	} else if (strcmp(name, "registerfile") == 0) {
		reg(certadm.RestoreRegisterThroughFile);
	} else if (strcmp(name, "complete") == 0) {
		HCSBC h = handle();
		answer(certadm.RestoreRegisterComplete(h, (HRESULT)(ULONG)number()), 0);
	} else if (strcmp(name, "restoreend") == 0) {
		answer(certadm.RestoreEnd(handle()), 0);
	} else {
		fprintf(stderr, "no call %s\n", name);
		exit(3);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static char line[1 << 20];

	if (argc != 2)
		return 2;
#ifdef _WIN32
	_setmode(_fileno(stdin), _O_BINARY);
	_setmode(_fileno(stdout), _O_BINARY);
#endif
	if (procs_load(&certadm, argv[1]) != 0)
		return 2;
	while (fgets(line, sizeof line, stdin) != NULL) {
		size_t n = strlen(line);

		if (n == 0 || line[n - 1] != '\n')
			return 3;
		line[n - 1] = 0;
		rest = line;
		call();
	}
	/* The library stays loaded: the process's end is what ends its sessions. */
	return 0;
}

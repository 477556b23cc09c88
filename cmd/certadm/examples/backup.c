/*
 * backup.c: the sixteen steps of Microsoft's page "Backing Up Certificate
 * Services", on Windows and elsewhere.
 *
 *     backup LIBRARY SERVER DIR [full|incremental] [keep-log]
 *
 * DIR is made, in the form that certutil gives it: DIR/DataBase has the database,
 * the logs and certbkxp.dat. It is only a backup if the program's last line says
 * "complete" and its exit status is 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "procs.h"

#include <errno.h>

#ifdef _WIN32
#include <direct.h>
#include <io.h>
#define MAKE_DIRECTORY(path) _mkdir(path)
#define SYNC(file) _commit(_fileno(file))
#else
#include <sys/stat.h>
#include <unistd.h>
#define MAKE_DIRECTORY(path) mkdir(path, 0700)
#define SYNC(file) fsync(fileno(file))
#endif

#define BUFFER 524288 /* as in Microsoft's sample */

static struct procs certadm;

/* failed says which function failed, and returns what its result is to be. */
static int failed(const char *function, HRESULT hr)
{
	fprintf(stderr, "%s: 0x%08lX\n", function, (unsigned long)(ULONG)hr);
	return -1;
}

static int failed_file(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return -1;
}

/* Writes a new file; it is on the disk when this succeeds. */
static int save(const char *path, const void *data, size_t size)
{
	FILE *f = fopen(path, "wbx");
	int ok;

	if (f == NULL)
		return failed_file(path);
	ok = (size == 0 || fwrite(data, 1, size, f) == size) && fflush(f) == 0 && SYNC(f) == 0;
	ok &= fclose(f) == 0;
	return ok ? 0 : failed_file(path);
}

/* Steps 7 to 9 for one file. */
static int copy_open_file(HCSBC hbc, const char *path, long long size)
{
	static unsigned char buffer[BUFFER];
	long long total = 0;
	DWORD read;
	HRESULT hr;
	int ok = 1;
	FILE *f = fopen(path, "wbx");

	if (f == NULL)
		return failed_file(path);
	do { /* step 8: a short read is the end of the file */
		hr = certadm.BackupRead(hbc, buffer, sizeof buffer, &read);
		if (FAILED(hr)) {
			fclose(f);
			return failed("CertSrvBackupRead", hr);
		}
		ok = read == 0 || fwrite(buffer, 1, read, f) == read;
		total += read;
	} while (ok && read == sizeof buffer);
	ok = ok && fflush(f) == 0 && SYNC(f) == 0;
	ok &= fclose(f) == 0;
	if (!ok)
		return failed_file(path);
	if (total != size) {
		fprintf(stderr, "%s: %lld bytes were announced, %lld came\n", path, size, total);
		return -1;
	}
	return 0;
}

static int copy_file(HCSBC hbc, const WCHAR *name, const char *dir)
{
	LARGE_INTEGER size;
	char *shown = narrow(name), *path = shown == NULL ? NULL : join(dir, base_name(shown));
	int result = -1;
	HRESULT hr;

	if (path != NULL) {
		hr = certadm.BackupOpenFile(hbc, name, BUFFER, &size); /* step 7 */
		if (FAILED(hr)) {
			failed("CertSrvBackupOpenFileW", hr);
		} else {
			printf("   %s, %lld bytes\n", shown, (long long)size.QuadPart);
			result = copy_open_file(hbc, path, (long long)size.QuadPart);
			hr = certadm.BackupClose(hbc); /* step 9, also after a failure */
			if (FAILED(hr))
				result = failed("CertSrvBackupClose", hr);
		}
	}
	free(shown);
	free(path);
	return result;
}

/* Copies every file of a tagged list. */
static int copy_list(HCSBC hbc, const WCHAR *list, const char *dir, int *count)
{
	for (; *list != 0; list += wide_length(list) + 1) {
		if (copy_file(hbc, list + 1, dir) != 0) /* the tag is one WCHAR */
			return -1;
		++*count;
	}
	return 0;
}

/* What a session is to do, and what it did. */
struct job {
	char *database; /* the directory */
	int full, keep_log;
	WCHAR *locations, *names, *logs, *dynamic;
	int files;
};

/* Steps 5 to 13. */
static int copy_everything(HCSBC hbc, struct job *j)
{
	const WCHAR *p;
	DWORD size;
	HRESULT hr;
	char *path;
	int result;

	if (j->full) {
		hr = certadm.RestoreGetDatabaseLocations(hbc, &j->locations, &size); /* step 5 */
		if (FAILED(hr))
			return failed("CertSrvRestoreGetDatabaseLocationsW", hr);
		path = join(j->database, "certbkxp.dat");
		result = path == NULL ? -1 : save(path, j->locations, size);
		free(path);
		if (result != 0)
			return -1;
		printf(" 5 restore map: %lu bytes\n", (unsigned long)size);

		hr = certadm.BackupGetDatabaseNames(hbc, &j->names, &size); /* step 6 */
		if (FAILED(hr))
			return failed("CertSrvBackupGetDatabaseNamesW", hr);
		printf(" 6 databases\n");
		if (copy_list(hbc, j->names, j->database, &j->files) != 0)
			return -1;
	}
	hr = certadm.BackupGetBackupLogs(hbc, &j->logs, &size); /* step 10 */
	if (FAILED(hr))
		return failed("CertSrvBackupGetBackupLogsW", hr);
	printf("10 logs\n");
	if (copy_list(hbc, j->logs, j->database, &j->files) != 0)
		return -1;

	if (!j->keep_log) {
		hr = certadm.BackupTruncateLogs(hbc); /* step 11: everything is on the disk */
		if (FAILED(hr))
			return failed("CertSrvBackupTruncateLogs", hr);
		printf("11 logs truncated\n");
	}
	hr = certadm.BackupGetDynamicFileList(hbc, &j->dynamic, &size); /* step 12 */
	if (FAILED(hr))
		return failed("CertSrvBackupGetDynamicFileListW", hr);
	printf("12 dynamic files, to be copied by other means (step 13)\n");
	for (p = j->dynamic; *p != 0; p += wide_length(p) + 1) { /* no tags here */
		char *shown = narrow(p);
		printf("   %s\n", shown == NULL ? "?" : shown);
		free(shown);
	}
	return 0;
}

/* Steps 3 to 15. */
static int back_up(const WCHAR *server, struct job *j)
{
	BOOL online = FALSE;
	HCSBC hbc = NULL;
	HRESULT hr;
	int result;

	hr = certadm.IsServerOnline(server, &online); /* step 3 */
	if (FAILED(hr))
		return failed("CertSrvIsServerOnlineW", hr);
	if (!online) {
		fprintf(stderr, "the service is suspended\n");
		return -1;
	}
	printf(" 3 online\n");

	hr = certadm.BackupPrepare(server, 0, j->full ? CSBACKUP_TYPE_FULL : CSBACKUP_TYPE_LOGS_ONLY, &hbc); /* step 4 */
	if (FAILED(hr))
		return failed("CertSrvBackupPrepareW", hr);
	printf(" 4 session of a%s backup\n", j->full ? " full" : "n incremental");

	result = copy_everything(hbc, j);

	hr = certadm.BackupEnd(hbc); /* step 14, also after a failure */
	if (FAILED(hr))
		result = failed("CertSrvBackupEnd", hr);
	else
		printf("14 session ended\n");

	certadm.BackupFree(j->locations); /* step 15; NULL is harmless */
	certadm.BackupFree(j->names);
	certadm.BackupFree(j->logs);
	certadm.BackupFree(j->dynamic);
	printf("15 lists freed\n");
	return result;
}

int main(int argc, char **argv)
{
	struct job j = {NULL, 1, 0, NULL, NULL, NULL, NULL, 0};
	WCHAR *server;
	int i, result = -1;

	if (argc < 4) {
		fprintf(stderr, "usage: backup LIBRARY SERVER DIR [full|incremental] [keep-log]\n");
		return 2;
	}
	for (i = 4; i < argc; i++) {
		j.full = strcmp(argv[i], "incremental") == 0 ? 0 : j.full;
		j.keep_log |= strcmp(argv[i], "keep-log") == 0;
	}
	if (procs_load(&certadm, argv[1]) != 0)
		return 1;
	printf(" 1 library loaded\n 2 functions found\n");
	if (!procs_privilege("SeBackupPrivilege"))
		printf("   the account does not hold SeBackupPrivilege\n");

	server = wide(argv[2]);
	j.database = join(argv[3], "DataBase");
	if (server == NULL || j.database == NULL)
		fprintf(stderr, "no memory, or SERVER is not text\n");
	else if ((MAKE_DIRECTORY(argv[3]) != 0 && errno != EEXIST) || MAKE_DIRECTORY(j.database) != 0)
		failed_file(j.database);
	else
		result = back_up(server, &j);
	free(server);
	free(j.database);

	if (procs_unload(&certadm) != 0) {
		fprintf(stderr, "the library could not be unloaded\n");
		result = -1;
	} else {
		printf("16 library unloaded\n");
	}
	if (result != 0) {
		printf("NOT a backup\n");
		return 1;
	}
	printf("complete: %d files\n", j.files);
	return 0;
}

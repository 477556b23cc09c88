/*
 * restore.c: the steps of Microsoft's page "Restoring Certificate Services from
 * Backup", on Windows and elsewhere. The service must be stopped.
 *
 *     restore LIBRARY SERVER DATABASE LOGDIR SET...
 *
 * SERVER is the authority: ca:DIR with certkeep. DATABASE and LOGDIR are the local
 * paths of its database file and its log directory. The first SET is a full one,
 * the others are its incremental ones: folders as backup.c makes them.
 *
 * What is in the way is renamed, not deleted: NAME becomes NAME.aside.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "procs.h"

#include <dirent.h>
#include <errno.h>

static struct procs certadm;

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

static int has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n > m && strcmp(s + n - m, suffix) == 0;
}

/* Reads a whole file, which is small; the result is to be freed. */
static void *load(const char *path, size_t *size)
{
	const size_t most = 1 << 20;
	FILE *f = fopen(path, "rb");
	/* zeros after it, so that a list that is cut off has an end, too */
	char *data = (char *)calloc(1, most + 4);

	if (f == NULL || data == NULL || ((*size = fread(data, 1, most, f)) == most) || ferror(f)) {
		failed_file(path);
		free(data);
		data = NULL;
	}
	if (f != NULL)
		fclose(f);
	return data;
}

static int copy(const char *from, const char *to)
{
	static unsigned char buffer[65536];
	FILE *in = fopen(from, "rb"), *out;
	size_t n;
	int ok;

	if (in == NULL)
		return failed_file(from);
	out = fopen(to, "wb");
	if (out == NULL) {
		failed_file(to);
		fclose(in);
		return -1;
	}
	do
		n = fread(buffer, 1, sizeof buffer, in);
	while (fwrite(buffer, 1, n, out) == n && n == sizeof buffer);
	ok = !ferror(in) && !ferror(out);
	fclose(in);
	ok &= fclose(out) == 0;
	return ok ? 0 : failed_file(to);
}

/* Renames a file out of the way, if it is there. */
static int set_aside(const char *path)
{
	size_t n = strlen(path) + sizeof ".aside";
	char *to = (char *)malloc(n);
	int result = 0;

	if (to == NULL)
		return -1;
	snprintf(to, n, "%s.aside", path);
	if (rename(path, to) != 0 && errno != ENOENT)
		result = failed_file(path);
	free(to);
	return result;
}

/* Calls each for the files of a directory that have a suffix. */
static int each_file(const char *dir, const char *suffix, int (*each)(const char *path, void *data), void *data)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int result = 0;

	if (d == NULL)
		return failed_file(dir);
	while (result == 0 && (e = readdir(d)) != NULL) {
		char *path;

		if (e->d_name[0] == '.' || !has_suffix(e->d_name, suffix))
			continue;
		path = join(dir, e->d_name);
		result = path == NULL ? -1 : each(path, data);
		free(path);
	}
	closedir(d);
	return result;
}

static int aside_each(const char *path, void *data)
{
	(void)data;
	return set_aside(path);
}

/* What is found in a set. */
struct set {
	const char *logdir; /* where its logs are copied to */
	ULONG low, high;    /* generations */
	char *database;     /* its file; NULL in an incremental set */
};

static int copy_log(const char *path, void *data)
{
	struct set *s = (struct set *)data;
	const char *name = base_name(path);
	char *to, *end;
	ULONG gen;
	int result;

	/* three characters, five hexadecimal digits, .log */
	gen = strlen(name) == 12 ? (ULONG)strtoul(name + 3, &end, 16) : 0;
	if (gen == 0 || end != name + 8) {
		fprintf(stderr, "%s: no log's name\n", path);
		return -1;
	}
	if (s->low == 0 || gen < s->low)
		s->low = gen;
	if (gen > s->high)
		s->high = gen;
	to = join(s->logdir, name);
	result = to == NULL ? -1 : copy(path, to);
	free(to);
	return result;
}

static int find_database(const char *path, void *data)
{
	struct set *s = (struct set *)data;
	const char *name = base_name(path);

	if (strcmp(name, "certbkxp.dat") == 0 || has_suffix(name, ".log"))
		return 0;
	if (s->database != NULL) {
		fprintf(stderr, "%s: a second database\n", path);
		return -1;
	}
	s->database = (char *)malloc(strlen(path) + 1);
	if (s->database == NULL)
		return -1;
	strcpy(s->database, path);
	return 0;
}

/* The name that has this tag in a list; NULL if there is none. */
static WCHAR *tagged(WCHAR *list, WCHAR tag)
{
	for (; *list != 0; list += wide_length(list) + 1)
		if (*list == tag)
			return list + 1;
	return NULL;
}

#define ACCESS_DENIED ((HRESULT)0x80070005)

/* CertSrvRestoreRegister is for local administrators, ThroughFile for others who
 * hold SeRestorePrivilege. */
static int register_set(const char *name, FNCERTSRVRESTOREREGISTERW *function, HCSBC hbc, WCHAR *locations, const struct set *s,
	CSEDB_RSTMAPW *map, HRESULT *hr)
{
	*hr = function(hbc, tagged(locations, CSBFT_CHECKPOINT_DIR), tagged(locations, CSBFT_LOG_DIR), map, map == NULL ? 0 : 1, NULL,
		s->low, s->high);
	if (FAILED(*hr))
		return failed(name, *hr);
	printf("   registered by %s\n", name);
	return 0;
}

/* Steps 7 to 11 for one set. */
static int restore_set(HCSBC hbc, WCHAR *locations, const char *database, const char *logdir, const char *dir, int full)
{
	struct set s = {logdir, 0, 0, NULL};
	char *files = join(dir, "DataBase");
	CSEDB_RSTMAPW map;
	HRESULT hr;
	int result = -1;

	if (files == NULL)
		return -1;
	if (each_file(files, "", find_database, &s) != 0)
		goto done;
	if ((s.database != NULL) != full) {
		fprintf(stderr, "%s: the first set has to be a full one, and the others incremental ones\n", dir);
		goto done;
	}
	if (full && (set_aside(database) != 0 || each_file(logdir, ".log", aside_each, NULL) != 0)) /* step 7 */
		goto done;
	if (full && copy(s.database, database) != 0) /* step 8 */
		goto done;
	if (each_file(files, ".log", copy_log, &s) != 0)
		goto done;
	printf("   %s: logs %05lx to %05lx\n", dir, (unsigned long)s.low, (unsigned long)s.high);

	map.pwszDatabaseName = map.pwszNewDatabaseName = tagged(locations, CSBFT_CERTSERVER_DATABASE); /* step 6 */
	/* step 9 */
	if (register_set("CertSrvRestoreRegisterW", certadm.RestoreRegister, hbc, locations, &s, full ? &map : NULL, &hr) != 0 &&
	    (hr != ACCESS_DENIED || register_set("CertSrvRestoreRegisterThroughFile", certadm.RestoreRegisterThroughFile, hbc, locations, &s,
		full ? &map : NULL, &hr) != 0))
		goto done;
	hr = certadm.RestoreRegisterComplete(hbc, S_OK); /* step 10 */
	if (FAILED(hr)) {
		failed("CertSrvRestoreRegisterComplete", hr);
		goto done;
	}
	result = 0;
done:
	free(s.database);
	free(files);
	return result;
}

/* Steps 3 to 13. */
static int restore(const WCHAR *server, int argc, char **argv)
{
	const char *database = argv[3], *logdir = argv[4];
	char *path = join(argv[5], "DataBase/certbkxp.dat");
	WCHAR *locations;
	size_t size = 0;
	BOOL online = FALSE;
	HCSBC hbc = NULL;
	HRESULT hr;
	int i, result = 0;

	hr = certadm.IsServerOnline(server, &online); /* step 3: a failure says that it is not */
	if (SUCCEEDED(hr)) {
		fprintf(stderr, "the service runs: stop it first\n");
		free(path);
		return -1;
	}
	printf(" 3 offline: 0x%08lX\n", (unsigned long)(ULONG)hr);

	locations = path == NULL ? NULL : (WCHAR *)load(path, &size); /* step 5 */
	free(path);
	if (locations == NULL)
		return -1;
	if (tagged(locations, CSBFT_CERTSERVER_DATABASE) == NULL) {
		fprintf(stderr, "certbkxp.dat names no database\n");
		free(locations);
		return -1;
	}
	hr = certadm.RestorePrepare(server, CSRESTORE_TYPE_FULL, &hbc); /* step 4 */
	if (FAILED(hr)) {
		free(locations);
		return failed("CertSrvRestorePrepareW", hr);
	}
	printf(" 4 restore session\n");
	for (i = 5; result == 0 && i < argc; i++)
		result = restore_set(hbc, locations, database, logdir, argv[i], i == 5);
	if (result == 0)
		printf("12 copy the dynamic files back by other means\n");
	else
		certadm.RestoreRegisterComplete(hbc, (HRESULT)0x80004005); /* takes back what is registered, if anything */
	hr = certadm.RestoreEnd(hbc); /* step 13 */
	if (FAILED(hr))
		result = failed("CertSrvRestoreEnd", hr);
	free(locations);
	return result;
}

int main(int argc, char **argv)
{
	WCHAR *server;
	int result;

	if (argc < 6) {
		fprintf(stderr, "usage: restore LIBRARY SERVER DATABASE LOGDIR SET...\n");
		return 2;
	}
	if (procs_load(&certadm, argv[1]) != 0) /* steps 1 and 2 */
		return 1;
	if (!procs_privilege("SeRestorePrivilege"))
		printf("   the account does not hold SeRestorePrivilege\n");
	server = wide(argv[2]);
	result = server == NULL ? -1 : restore(server, argc, argv);
	free(server);
	if (procs_unload(&certadm) != 0)
		result = -1;
	if (result != 0) {
		printf("NOT restored\n");
		return 1;
	}
	printf("registered: %d sets; start the service, which recovers, and take a full backup\n", argc - 5);
	return 0;
}

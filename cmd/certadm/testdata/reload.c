/*
 * reload.c: loads the library, calls it, and gives it back, three times.
 *
 *     reload LIBRARY SERVER
 */
#include "../examples/procs.h"

/* Says whether the library is loaded, without loading it. */
static int still_there(const char *path)
{
#ifdef _WIN32
	return GetModuleHandleA(path) != NULL;
#else
	void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);

	return library != NULL && dlclose(library) == 0;
#endif
}

int main(int argc, char **argv)
{
	struct procs p;
	WCHAR *server;
	int i;

	if (argc != 3 || (server = wide(argv[2])) == NULL)
		return 2;
	for (i = 1; i <= 3; i++) {
		BOOL online = FALSE;
		HCSBC hbc = NULL;
		HRESULT hr;

		if (procs_load(&p, argv[1]) != 0)
			return 1;
		hr = p.IsServerOnline(server, &online);
		if (FAILED(hr) || !online) {
			fprintf(stderr, "round %d: IsServerOnline: 0x%08lX\n", i, (unsigned long)(ULONG)hr);
			return 1;
		}
		hr = p.BackupPrepare(server, 0, CSBACKUP_TYPE_FULL, &hbc);
		if (FAILED(hr) || FAILED(hr = p.BackupEnd(hbc))) {
			fprintf(stderr, "round %d: backup session: 0x%08lX\n", i, (unsigned long)(ULONG)hr);
			return 1;
		}
		if (procs_unload(&p) != 0) {
			fprintf(stderr, "round %d: unload\n", i);
			return 1;
		}
		if (!still_there(argv[1])) {
			fprintf(stderr, "round %d: the library was unloaded, with a Go runtime in it\n", i);
			return 1;
		}
		printf("round %d: online\n", i);
		fflush(stdout);
	}
	free(server);
	return 0;
}

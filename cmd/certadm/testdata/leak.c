/*
 * leak.c: forgets to free a list, so that a test sees that this is found.
 *
 *     leak LIBRARY SERVER
 */
#include "../examples/procs.h"

int main(int argc, char **argv)
{
	struct procs p;
	HCSBC hbc = NULL;
	WCHAR *server, *list = NULL;
	DWORD size = 0;

	if (argc != 3 || (server = wide(argv[2])) == NULL || procs_load(&p, argv[1]) != 0)
		return 2;
	if (p.BackupPrepare(server, 0, CSBACKUP_TYPE_FULL, &hbc) != S_OK || p.BackupGetDatabaseNames(hbc, &list, &size) != S_OK)
		return 2;
	printf("a list of %lu bytes is forgotten\n", (unsigned long)size);
	list = NULL;
	p.BackupEnd(hbc);
	free(server);
	return procs_unload(&p) == 0 ? 0 : 2;
}

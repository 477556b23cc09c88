/*
 * agree.c: compiles for Windows if our certbcli.h and the compiler's have the same
 * functions, types and values. OURS is the header to compare.
 */
#include <windows.h>

/* What the compiler's header declares gets other names. Its structure keeps its own:
 * ours is not defined after it, and both have functions that take it. */
#define HCSBC theirs_HCSBC
#define CSBFT theirs_CSBFT
#define FUNCTIONS(_) \
	_(ISSERVERONLINEW, IsServerOnlineW) \
	_(SERVERCONTROLW, ServerControlW) \
	_(BACKUPPREPAREW, BackupPrepareW) \
	_(RESTOREGETDATABASELOCATIONSW, RestoreGetDatabaseLocationsW) \
	_(BACKUPGETDATABASENAMESW, BackupGetDatabaseNamesW) \
	_(BACKUPOPENFILEW, BackupOpenFileW) \
	_(BACKUPREAD, BackupRead) \
	_(BACKUPCLOSE, BackupClose) \
	_(BACKUPGETBACKUPLOGSW, BackupGetBackupLogsW) \
	_(BACKUPTRUNCATELOGS, BackupTruncateLogs) \
	_(BACKUPGETDYNAMICFILELISTW, BackupGetDynamicFileListW) \
	_(BACKUPEND, BackupEnd) \
	_(BACKUPFREE, BackupFree) \
	_(RESTOREPREPAREW, RestorePrepareW) \
	_(RESTOREREGISTERW, RestoreRegisterW) \
	_(RESTOREREGISTERW, RestoreRegisterThroughFile) \
	_(RESTOREREGISTERCOMPLETE, RestoreRegisterComplete) \
	_(RESTOREEND, RestoreEnd)

#include <certbcli.h>
#ifdef CERTKEEP_CERTBCLI_H
#error "this is our header, not the compiler's"
#endif

#define KEEP_TYPE(type, name) \
	typedef FNCERTSRV##type theirs_type_##name; \
	typedef __typeof__(CertSrv##name) theirs_function_##name;
FUNCTIONS(KEEP_TYPE)

enum theirs {
	theirs_CSBACKUP_TYPE_FULL = CSBACKUP_TYPE_FULL,
	theirs_CSBACKUP_TYPE_LOGS_ONLY = CSBACKUP_TYPE_LOGS_ONLY,
	theirs_CSBACKUP_TYPE_MASK = CSBACKUP_TYPE_MASK,
	theirs_CSRESTORE_TYPE_FULL = CSRESTORE_TYPE_FULL,
	theirs_CSRESTORE_TYPE_ONLINE = CSRESTORE_TYPE_ONLINE,
	theirs_CSRESTORE_TYPE_CATCHUP = CSRESTORE_TYPE_CATCHUP,
	theirs_CSRESTORE_TYPE_MASK = CSRESTORE_TYPE_MASK,
	theirs_CSCONTROL_SHUTDOWN = CSCONTROL_SHUTDOWN,
	theirs_CSCONTROL_SUSPEND = CSCONTROL_SUSPEND,
	theirs_CSCONTROL_RESTART = CSCONTROL_RESTART,
	theirs_CSBFT_DIRECTORY = CSBFT_DIRECTORY,
	theirs_CSBFT_DATABASE_DIRECTORY = CSBFT_DATABASE_DIRECTORY,
	theirs_CSBFT_LOG_DIRECTORY = CSBFT_LOG_DIRECTORY,
	theirs_CSBFT_LOG = CSBFT_LOG,
	theirs_CSBFT_LOG_DIR = CSBFT_LOG_DIR,
	theirs_CSBFT_CHECKPOINT_DIR = CSBFT_CHECKPOINT_DIR,
	theirs_CSBFT_CERTSERVER_DATABASE = CSBFT_CERTSERVER_DATABASE,
	theirs_CSBFT_PATCH_FILE = CSBFT_PATCH_FILE,
	theirs_CSBFT_UNKNOWN = CSBFT_UNKNOWN,
};
static const unsigned theirs_disable = CSBACKUP_DISABLE_INCREMENTAL;
enum { theirs_disable_is_all_ones = CSBACKUP_DISABLE_INCREMENTAL == 0xffffffff };
static const char theirs_backup[] = szBACKUPANNOTATION, theirs_restore[] = szRESTOREANNOTATION;
enum { theirs_backup_length = sizeof theirs_backup, theirs_restore_length = sizeof theirs_restore };

#undef HCSBC
#undef CSBFT
#undef CSBACKUP_TYPE_FULL
#undef CSBACKUP_TYPE_LOGS_ONLY
#undef CSBACKUP_TYPE_MASK
#undef CSBACKUP_DISABLE_INCREMENTAL
#undef CSRESTORE_TYPE_FULL
#undef CSRESTORE_TYPE_ONLINE
#undef CSRESTORE_TYPE_CATCHUP
#undef CSRESTORE_TYPE_MASK
#undef CSCONTROL_SHUTDOWN
#undef CSCONTROL_SUSPEND
#undef CSCONTROL_RESTART
#undef CSBFT_DIRECTORY
#undef CSBFT_DATABASE_DIRECTORY
#undef CSBFT_LOG_DIRECTORY
#undef CSBFT_LOG
#undef CSBFT_LOG_DIR
#undef CSBFT_CHECKPOINT_DIR
#undef CSBFT_CERTSERVER_DATABASE
#undef CSBFT_PATCH_FILE
#undef CSBFT_UNKNOWN
#undef szBACKUPANNOTATION
#undef szRESTOREANNOTATION

#ifndef OURS
#define OURS "../certbcli.h"
#endif
#include OURS
#ifndef CERTKEEP_CERTBCLI_H
#error "this is not our header"
#endif

#define SAME_TYPE(type, name) \
	_Static_assert(__builtin_types_compatible_p(FNCERTSRV##type, theirs_type_##name), "FNCERTSRV" #type); \
	_Static_assert(__builtin_types_compatible_p(__typeof__(CertSrv##name), theirs_function_##name), "CertSrv" #name);
FUNCTIONS(SAME_TYPE)

_Static_assert(__builtin_types_compatible_p(HCSBC, theirs_HCSBC), "HCSBC");
_Static_assert(__builtin_types_compatible_p(CSBFT, theirs_CSBFT), "CSBFT");

#define SAME_VALUE(name) _Static_assert(name == theirs_##name, #name)
SAME_VALUE(CSBACKUP_TYPE_FULL);
SAME_VALUE(CSBACKUP_TYPE_LOGS_ONLY);
SAME_VALUE(CSBACKUP_TYPE_MASK);
SAME_VALUE(CSRESTORE_TYPE_FULL);
SAME_VALUE(CSRESTORE_TYPE_ONLINE);
SAME_VALUE(CSRESTORE_TYPE_CATCHUP);
SAME_VALUE(CSRESTORE_TYPE_MASK);
SAME_VALUE(CSCONTROL_SHUTDOWN);
SAME_VALUE(CSCONTROL_SUSPEND);
SAME_VALUE(CSCONTROL_RESTART);
SAME_VALUE(CSBFT_DIRECTORY);
SAME_VALUE(CSBFT_DATABASE_DIRECTORY);
SAME_VALUE(CSBFT_LOG_DIRECTORY);
SAME_VALUE(CSBFT_LOG);
SAME_VALUE(CSBFT_LOG_DIR);
SAME_VALUE(CSBFT_CHECKPOINT_DIR);
SAME_VALUE(CSBFT_CERTSERVER_DATABASE);
SAME_VALUE(CSBFT_PATCH_FILE);
SAME_VALUE(CSBFT_UNKNOWN);
_Static_assert(CSBACKUP_DISABLE_INCREMENTAL == 0xffffffff && theirs_disable_is_all_ones, "CSBACKUP_DISABLE_INCREMENTAL");
_Static_assert(sizeof szBACKUPANNOTATION == theirs_backup_length && sizeof szRESTOREANNOTATION == theirs_restore_length, "annotations");

/* so that nothing is unused */
const void *const used[] = {&theirs_disable, theirs_backup, theirs_restore};

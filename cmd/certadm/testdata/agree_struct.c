/*
 * agree_struct.c: as agree.c, for the structure of the restore map.
 */
#include <stddef.h>
#include <windows.h>

#define tagCSEDB_RSTMAPW theirs_tag
#define CSEDB_RSTMAPW theirs_CSEDB_RSTMAPW
#include <certbcli.h>
#undef tagCSEDB_RSTMAPW
#undef CSEDB_RSTMAPW
#undef CSEDB_RSTMAP

/* Only the structure is looked at here; the rest of both headers is in agree.c. */
struct theirs_members {
	theirs_CSEDB_RSTMAPW map;
};

#undef CSBFT_LOG
#undef CSBFT_LOG_DIR
#undef CSBFT_CHECKPOINT_DIR
#undef CSBFT_CERTSERVER_DATABASE
#undef CSBFT_PATCH_FILE
#undef CSBFT_UNKNOWN
#undef CSCONTROL_SHUTDOWN
#undef CSCONTROL_SUSPEND
#undef CSCONTROL_RESTART
#define CertSrvIsServerOnlineW ours_1
#define CertSrvServerControlW ours_2
#define CertSrvBackupPrepareW ours_3
#define CertSrvRestoreGetDatabaseLocationsW ours_4
#define CertSrvBackupGetDatabaseNamesW ours_5
#define CertSrvBackupOpenFileW ours_6
#define CertSrvBackupRead ours_7
#define CertSrvBackupClose ours_8
#define CertSrvBackupGetBackupLogsW ours_9
#define CertSrvBackupTruncateLogs ours_10
#define CertSrvBackupGetDynamicFileListW ours_11
#define CertSrvBackupEnd ours_12
#define CertSrvBackupFree ours_13
#define CertSrvRestorePrepareW ours_14
#define CertSrvRestoreRegisterW ours_15
#define CertSrvRestoreRegisterThroughFile ours_16
#define CertSrvRestoreRegisterComplete ours_17
#define CertSrvRestoreEnd ours_18
#define FNCERTSRVRESTOREREGISTERW ours_type
#include "../certbcli.h"

_Static_assert(sizeof(CSEDB_RSTMAPW) == sizeof(theirs_CSEDB_RSTMAPW), "size");
_Static_assert(offsetof(CSEDB_RSTMAPW, pwszDatabaseName) == offsetof(theirs_CSEDB_RSTMAPW, pwszDatabaseName), "pwszDatabaseName");
_Static_assert(offsetof(CSEDB_RSTMAPW, pwszNewDatabaseName) == offsetof(theirs_CSEDB_RSTMAPW, pwszNewDatabaseName), "pwszNewDatabaseName");
_Static_assert(__builtin_types_compatible_p(__typeof__(((CSEDB_RSTMAPW *)0)->pwszDatabaseName), __typeof__(((theirs_CSEDB_RSTMAPW *)0)->pwszDatabaseName)), "type");
_Static_assert(__builtin_types_compatible_p(__typeof__(((CSEDB_RSTMAPW *)0)->pwszNewDatabaseName), __typeof__(((theirs_CSEDB_RSTMAPW *)0)->pwszNewDatabaseName)), "type");

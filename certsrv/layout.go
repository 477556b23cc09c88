package certsrv

import (
	"path/filepath"
)

// The directory of an authority. Everything certsrv keeps is below it; the
// names are relative to it and use slashes.
const (
	configName    = "config.json"
	accountsName  = "accounts.json"
	auditName     = "audit.log"
	privateDir    = "private"
	keyName       = "private/ca.key"
	localName     = "private/local.json"
	databaseDir   = "database"
	logDir        = "log"
	systemDir     = "system"
	publishedDir  = "published"
	asideDir      = "aside"
	asideLogsDir  = "aside/logs"
	asideOldDir   = "aside/displaced"
	serviceLock   = "system/service.lock"
	serviceName   = "system/service.json"
	statusName    = "system/backups.json"
	pendingName   = "system/restore.json"
	gapName       = "system/gap.json"
	databaseExt   = ".db"
	crlExt        = ".crl"
	crtExt        = ".crt"
	dirMode       = 0o700
	fileMode      = 0o600
	publishedMode = 0o644
)

// protected are the entries of the directory that a restore may never name as
// the place of a database: whoever holds the restore privilege alone must not
// reach keys, accounts or the records of what was done. Lower case, because
// some file systems do not tell case apart.
var protected = map[string]bool{
	configName: true, accountsName: true, auditName: true, privateDir: true, systemDir: true,
	publishedDir: true, asideDir: true, logDir: true,
}

// layout turns the names above into paths of one authority.
type layout struct{ dir string }

func (l layout) path(name string) string {
	return filepath.Join(l.dir, filepath.FromSlash(name))
}

// walOf and shmOf are SQLite's companions of a database file.
func walOf(database string) string { return database + "-wal" }
func shmOf(database string) string { return database + "-shm" }

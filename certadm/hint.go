package certadm

import "strings"

// HintFor is what the user can do about a code, whoever returned it; "" if there is
// nothing to say without knowing more.
func HintFor(code HRESULT) string {
	switch code {
	case HrMissingFullBackup:
		return "take a full backup first"
	case HrInvalidBackup:
		return "circular logging keeps no logs for an incremental backup: take a full backup, or turn circular logging off"
	case HrBackupInProgress:
		return "another backup of this authority is running: try again when it has ended"
	case ErrorServiceNotActive:
		return "start Certificate Services there (net start CertSvc)"
	case HrRestoreMapExists, HrRestoreInProgress:
		return "a restore is registered already: start the service, which carries it out, or complete it as failed"
	}
	return ""
}

// EngineOf tells an authority's engine, as [Identity] names it, by the extension of
// its database's name; "" if that says nothing.
func EngineOf(l FileList) string {
	name, _ := l.Find(FileDatabase)
	name = strings.ToLower(BaseName(name))
	switch {
	case strings.HasSuffix(name, ".edb"):
		return "ese"
	case strings.HasSuffix(name, ".db"):
		return "sqlite"
	}
	return ""
}

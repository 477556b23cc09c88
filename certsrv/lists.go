package certsrv

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/sqlitelog"
)

// locations is the restore map.
func (s *Server) locations() certadm.FileList {
	c := s.config()
	return certadm.FileList{
		{Type: certadm.FileDatabase, Path: c.uncName(c.Database)},
		{Type: certadm.FileLogDir, Path: c.uncName(logDir)},
		{Type: certadm.FileCheckpointDir, Path: c.uncName(systemDir)},
	}
}

// Locations is the restore map of the authority, whether or not the service
// runs; [certadm.Locations] needs a running one.
func (s *Server) Locations() certadm.FileList { return s.locations() }

// dynamicFiles are the published files and the configuration: what the
// authority needs besides the database, except for secrets, accounts and the
// audit log.
func (s *Server) dynamicFiles() ([]string, error) {
	c := s.config()
	entries, err := s.fsys.ReadDir(s.at.path(publishedDir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if isRegular(e) && (ext == crlExt || ext == crtExt) {
			names = append(names, c.uncName(publishedDir+"/"+e.Name()))
		}
	}
	// CRLs first: they are what changes.
	slices.SortStableFunc(names, func(a, b string) int { return isCRT(a) - isCRT(b) })
	return append(names, c.uncName(configName)), nil
}

func isCRT(name string) int {
	if strings.HasSuffix(strings.ToLower(name), crtExt) {
		return 1
	}
	return 0
}

// logName is the UNC name of a closed generation.
func (s *Server) logName(gen uint32) string {
	return s.config().uncName(logDir + "/" + sqlitelog.LogName(gen))
}

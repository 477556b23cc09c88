package certadm

import "fmt"

// LocationsFile is the name of the file that keeps the database locations with
// a full backup (certsrv.h, wszDBBACKUPCERTBACKDAT). It holds the bytes that
// CertSrvRestoreGetDatabaseLocations returned and nothing else: no header, no
// byte order mark.
const LocationsFile = "certbkxp.dat"

// RestoreMap is what a restore has to know of where things were: the entries of
// [Backup.DatabaseLocations] by their tags.
type RestoreMap struct {
	Database      string // FileDatabase: the database file
	LogDir        string // FileLogDir
	CheckpointDir string // FileCheckpointDir
}

// RestoreMap looks the locations up by tag; their order does not matter. Each
// of the three must be there exactly once; entries with other tags are passed
// over.
func (l FileList) RestoreMap() (RestoreMap, error) {
	var m RestoreMap
	for _, want := range []struct {
		t    FileType
		what string
		path *string
	}{
		{FileDatabase, "database", &m.Database},
		{FileLogDir, "log directory", &m.LogDir},
		{FileCheckpointDir, "checkpoint directory", &m.CheckpointDir},
	} {
		n := 0
		for _, e := range l {
			if e.Type == want.t {
				*want.path = e.Path
				n++
			}
		}
		if n != 1 {
			return RestoreMap{}, malformed(-1, "%d entries for the %s (tag %#x), there must be one", n, want.what, uint16(want.t))
		}
		if *want.path == "" {
			return RestoreMap{}, malformed(-1, "the entry for the %s is empty", want.what)
		}
	}
	return m, nil
}

// EncodeLocations returns the contents of certbkxp.dat: the list as
// [EncodeList] has it, refused if it is no restore map.
func EncodeLocations(l FileList) ([]byte, error) {
	if _, err := l.RestoreMap(); err != nil {
		return nil, fmt.Errorf("%s: %w", LocationsFile, err)
	}
	b, err := EncodeList(l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", LocationsFile, err)
	}
	return b, nil
}

// DecodeLocations reads the contents of certbkxp.dat. The entries keep their
// order, so that [EncodeLocations] gives the same bytes again; use
// [FileList.RestoreMap] to look at them.
func DecodeLocations(b []byte) (FileList, error) {
	l, err := DecodeList(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", LocationsFile, err)
	}
	if _, err := l.RestoreMap(); err != nil {
		return nil, fmt.Errorf("%s: %w", LocationsFile, err)
	}
	return l, nil
}

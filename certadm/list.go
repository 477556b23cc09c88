package certadm

// FileType is the tag WCHAR before a name in a list (CSBFT).
type FileType uint16

const (
	FileLog           FileType = 0x21 // CSBFT_LOG '!'
	FilePatch         FileType = 0x25 // CSBFT_PATCH_FILE '%', not produced since Server 2003
	FileDatabase      FileType = 0x44 // CSBFT_CERTSERVER_DATABASE 'D'
	FileLogDir        FileType = 0x82 // CSBFT_LOG_DIR
	FileCheckpointDir FileType = 0x83 // CSBFT_CHECKPOINT_DIR
	FileUnknown       FileType = 0x0F // CSBFT_UNKNOWN

	FlagDirectory         FileType = 0x80 // CSBFT_DIRECTORY
	FlagDatabaseDirectory FileType = 0x40 // CSBFT_DATABASE_DIRECTORY
	FlagLogDirectory      FileType = 0x20 // CSBFT_LOG_DIRECTORY
)

// FileEntry is one entry of a tagged list.
type FileEntry struct {
	Type FileType
	Path string // a UNC name
}

// FileList is a tagged list: what DatabaseNames, Logs and DatabaseLocations
// return.
type FileList []FileEntry

// Find returns the path of the first entry of type t.
func (l FileList) Find(t FileType) (string, bool) {
	for _, e := range l {
		if e.Type == t {
			return e.Path, true
		}
	}
	return "", false
}

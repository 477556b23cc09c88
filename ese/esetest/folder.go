package esetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
)

// FolderOptions say what a folder is like. Options.Logs, the state and the required
// generations follow from it.
type FolderOptions struct {
	Options
	Name   string // of the authority; empty is "Example CA"
	Server string // that the restore map names; empty is "ca1"

	// Low and High are the first and last generation of the logs: 3 and 5 if 0. The
	// last one is partly written.
	Low, High uint32

	// Stream changes the stream of logs before anything is written, may be nil.
	Stream func(*LogStream)
}

// Folder is a folder that was written.
type Folder struct {
	Dir        string // of database and logs
	Database   string // paths
	Logs       []string
	Checkpoint string // of a live directory
	Info       Info
	Stream     *LogStream
}

func (o FolderOptions) withDefaults() FolderOptions {
	if o.Name == "" {
		o.Name = "Example CA"
	}
	if o.Server == "" {
		o.Server = "ca1"
	}
	if o.High == 0 {
		o.Low, o.High = 3, 5
	}
	o.Options.Logs = NewLogStream(o.Options, `C:\Windows\system32\CertLog\`+o.Name+".edb")
	const some = 17 // segments of the log that was being written
	o.Options.Logs.Segments[o.High] = some
	if o.Stream != nil {
		o.Stream(o.Options.Logs)
	}
	return o
}

// LogName is the name of a closed log.
func LogName(generation uint32) string {
	if generation > 0xfffff {
		return fmt.Sprintf("edb%08X.log", generation)
	}
	return fmt.Sprintf("edb%05X.log", generation)
}

// WriteBackup lays out what "certutil -backupDB" leaves in dir: a folder DataBase with
// the database, as a backup of the running engine copies it, the logs from Low to
// High, and the restore map. fill adds the rows.
func WriteBackup(dir string, o FolderOptions, fill func(*CA) error) (*Folder, error) {
	o = o.withDefaults()
	o.RequiredLow, o.RequiredHigh, o.Committed = o.Low, o.High-1, o.High-1
	if o.High == o.Low {
		o.RequiredHigh, o.Committed = o.High, o.High
	}
	o.Backup = &Backup{Low: o.Low, High: o.High, NewTrailer: o.Revision >= 300}
	f, err := o.write(filepath.Join(dir, "DataBase"), fill)
	if err != nil {
		return nil, err
	}
	for g := o.Low; g <= o.High; g++ {
		if err := f.log(LogName(g), g); err != nil {
			return nil, err
		}
	}
	share := `\\` + o.Server + `\C$\Windows\system32\CertLog`
	b, err := certadm.EncodeLocations(certadm.FileList{
		{Type: certadm.FileDatabase, Path: share + `\` + o.Name + ".edb"},
		{Type: certadm.FileLogDir, Path: share},
		{Type: certadm.FileCheckpointDir, Path: share},
	})
	if err != nil {
		return nil, err
	}
	return f, os.WriteFile(filepath.Join(f.Dir, certadm.LocationsFile), b, 0o600)
}

// WriteLive lays out the directory CertLog of an authority that was shut down (clean),
// or that died: database, closed logs from Low on, the current one as edb.log, the one
// being prepared, checkpoint and reserve.
func WriteLive(dir string, o FolderOptions, clean bool, fill func(*CA) error) (*Folder, error) {
	o = o.withDefaults()
	o.Committed = o.High
	if !clean {
		o.State, o.RequiredLow, o.RequiredHigh = ese.DirtyShutdown, o.Low, o.High
	}
	f, err := o.write(dir, fill)
	if err != nil {
		return nil, err
	}
	for g := o.Low; g < o.High; g++ {
		if err := f.log(LogName(g), g); err != nil {
			return nil, err
		}
	}
	if err := f.log("edb.log", o.High); err != nil {
		return nil, err
	}
	position := o.Low
	if clean {
		position = o.High
	}
	f.Checkpoint = filepath.Join(dir, "edb.chk")
	if err := os.WriteFile(f.Checkpoint, o.Logs.Checkpoint(position), 0o600); err != nil {
		return nil, err
	}
	for _, name := range []string{"edbtmp.log", "edbres00001.jrs", "edbres00002.jrs"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, o.Logs.Sectors*sectorSize), 0o600); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *Folder) log(name string, generation uint32) error {
	path := filepath.Join(f.Dir, name)
	f.Logs = append(f.Logs, path)
	return os.WriteFile(path, f.Stream.Log(generation), 0o600)
}

// write writes the database.
func (o FolderOptions) write(dir string, fill func(*CA) error) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &Folder{Dir: dir, Database: filepath.Join(dir, o.Name+".edb"), Stream: o.Logs}
	out, err := os.OpenFile(f.Database, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	f.Info, err = writeCA(out, o.Options, fill)
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(f.Database)
		return nil, err
	}
	return f, nil
}

func writeCA(out *os.File, o Options, fill func(*CA) error) (info Info, err error) {
	ca, err := CreateCA(out, o)
	if err != nil {
		return info, err
	}
	defer ca.Abort()
	if err := fill(ca); err != nil {
		return info, err
	}
	return ca.Close()
}

// WriteDatabase writes a database file (.edb), which must not be there yet, and nothing
// else.
func WriteDatabase(path string, o Options, fill func(*CA) error) (Info, error) {
	if filepath.Ext(path) != ".edb" {
		return Info{}, fmt.Errorf("%s: the name of a database ends with .edb", path)
	}
	f, err := FolderOptions{Options: o, Name: strings.TrimSuffix(filepath.Base(path), ".edb")}.write(filepath.Dir(path), fill)
	if err != nil {
		return Info{}, err
	}
	return f.Info, nil
}

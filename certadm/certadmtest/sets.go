package certadmtest

import (
	"io"
	"os"
	"path/filepath"

	"github.com/certkeep/certkeep/certadm"
)

// setFile is a file that was read in a session.
type setFile struct {
	unc  string
	data []byte
}

// set is a backup set in memory. The authorities of the suite are small.
type set struct {
	kind      certadm.BackupType
	locations certadm.FileList
	where     certadm.RestoreMap
	databases []setFile
	logs      []setFile
	low, high uint32
}

// read opens a file, reads it to its end and closes it.
func (p *probe) read(b certadm.Backup, name string) []byte {
	f, err := b.OpenFile(p.ctx, name, 0)
	p.must(err, "opening "+name)
	data, err := io.ReadAll(f)
	p.must(err, "reading "+name)
	if int64(len(data)) != f.Size() {
		p.Errorf("%s: %d bytes read, the size was %d", name, len(data), f.Size())
	}
	p.must(f.Close(), "closing "+name)
	return data
}

// readList reads every file of a list.
func (p *probe) readList(b certadm.Backup, l certadm.FileList) []setFile {
	var files []setFile
	for _, e := range l {
		files = append(files, setFile{unc: e.Path, data: p.read(b, e.Path)})
	}
	return files
}

// databases and logs are the two lists of a session; each has to have entries.
func (p *probe) databases(b certadm.Backup) certadm.FileList {
	l, err := b.DatabaseNames(p.ctx)
	p.must(err, "DatabaseNames")
	if len(l) == 0 {
		p.Fatalf("DatabaseNames of a full backup is empty")
	}
	return l
}

func (p *probe) logs(b certadm.Backup) certadm.FileList {
	l, err := b.Logs(p.ctx)
	p.must(err, "Logs")
	if len(l) == 0 {
		p.Fatalf("Logs is empty")
	}
	return l
}

func (p *probe) locations(b certadm.Backup) (certadm.FileList, certadm.RestoreMap) {
	l, err := b.DatabaseLocations(p.ctx)
	p.must(err, "DatabaseLocations")
	m, err := l.RestoreMap()
	p.must(err, "DatabaseLocations")
	return l, m
}

// gather does steps 5 to 10 of the procedure in a session.
func (p *probe) gather(b certadm.Backup, kind certadm.BackupType) *set {
	s := &set{kind: kind}
	s.locations, s.where = p.locations(b)
	if kind == certadm.BackupFull {
		s.databases = p.readList(b, p.databases(b))
	}
	logs := p.logs(b)
	var err error
	s.low, s.high, err = logs.LogRange()
	p.must(err, "the logs' generations")
	s.logs = p.readList(b, logs)
	return s
}

// take takes a whole set as the backup operator, and ends the session.
func (p *probe) take(kind certadm.BackupType, truncate bool) *set {
	svc := p.connect(operator)
	defer svc.Close()
	b := p.prepare(svc, kind)
	s := p.gather(b, kind)
	if truncate {
		p.must(b.TruncateLogs(p.ctx), "TruncateLogs")
	}
	p.must(b.End(p.ctx), "End")
	return s
}

// local is where a UNC name's file is.
func (p *probe) local(unc string) string {
	path, err := ability[Locator](p).LocalPath(unc)
	p.must(err, "the local path of "+unc)
	return path
}

// join makes the UNC name of a file in a directory; sibling that of a file beside
// another.
func join(dir, name string) string      { return dir + `\` + name }
func sibling(unc, name string) string   { return unc[:len(unc)-len(certadm.BaseName(unc))] + name }
func newName(unc, base string) string   { return sibling(unc, base+filepath.Ext(certadm.BaseName(unc))) }
func (p *probe) exists(unc string) bool { _, err := os.Stat(p.local(unc)); return err == nil }

// put writes a file, as an administrator who restores does.
func (p *probe) put(unc string, data []byte) {
	path := p.local(unc)
	p.must(os.MkdirAll(filepath.Dir(path), 0o700), "making the directory of "+unc)
	p.must(os.WriteFile(path, data, 0o600), "writing "+unc)
}

// clear removes the files of a directory (step 7 of the restore), but not its
// subdirectories.
func (p *probe) clear(dir string) {
	entries, err := os.ReadDir(dir)
	p.must(err, "listing "+dir)
	for _, e := range entries {
		if e.Type().IsRegular() {
			p.must(os.Remove(filepath.Join(dir, e.Name())), "clearing "+dir)
		}
	}
}

// files returns the contents of a set's logs as they lie in dir.
func (p *probe) filesIn(dir string) map[string]bool {
	entries, err := os.ReadDir(p.local(dir))
	p.must(err, "listing "+dir)
	names := make(map[string]bool)
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

// putSet puts a set's files where they are restored from. An empty database
// stands for the saved location, an empty dir for the log directory.
func (p *probe) putSet(s *set, database, dir string) {
	if database == "" {
		database = s.where.Database
	}
	if dir == "" {
		dir = s.where.LogDir
	}
	for _, f := range s.databases {
		p.put(database, f.data)
	}
	for _, f := range s.logs {
		p.put(join(dir, certadm.BaseName(f.unc)), f.data)
	}
}

// registration returns the arguments of Register for a set. The names are those
// of the full set that it is restored with.
func (s *set) registration(full *set, database, dir string) certadm.Registration {
	r := certadm.Registration{
		CheckpointPath: full.where.CheckpointDir,
		LogPath:        full.where.LogDir,
		BackupLogPath:  dir,
		LowLog:         s.low,
		HighLog:        s.high,
	}
	if s.kind == certadm.BackupFull {
		if database == "" {
			database = s.where.Database
		}
		r.Map = []certadm.RestoreMapping{{Database: s.where.Database, NewDatabase: database}}
	}
	return r
}

// restore is steps 3 to 13 of the restore: it stops the service, clears the
// directories, puts the sets there and registers them in the order given. The
// first one is the full set. Starting the service is left to the caller.
func (p *probe) restore(sets ...*set) {
	full := sets[0]
	p.mustStop()
	p.clear(filepath.Dir(p.local(full.where.Database)))
	p.clear(p.local(full.where.LogDir))
	p.register(sets...)
}

// register is steps 8 to 13, for a service that is stopped.
func (p *probe) register(sets ...*set) {
	svc := p.connect(localAdmin)
	defer svc.Close()
	r := p.prepareRestore(svc)
	for _, s := range sets {
		p.putSet(s, "", "")
		p.must(r.Register(p.ctx, s.registration(sets[0], "", "")), "Register")
		p.must(r.RegisterComplete(p.ctx, certadm.SOK), "RegisterComplete")
	}
	p.must(r.End(p.ctx), "RestoreEnd")
}

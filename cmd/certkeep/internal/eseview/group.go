package eseview

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
)

// Layout is how the files of a group came together.
type Layout string

// The layouts.
const (
	Named    Layout = "files"           // named one by one
	Certutil Layout = "certutil folder" // what "certutil -backupDB" leaves: the directory DataBase
	CertLog  Layout = "certlog"         // with a current log or a checkpoint: where an authority works
	Other    Layout = "directory"
)

// Group is what is looked at together, by path.
type Group struct {
	Layout      Layout
	Dir         string // empty if Named
	Databases   []string
	Logs        []string
	Checkpoints []string
	FlushMaps   []string
	Temporary   []string // log being prepared, temporary database
	Reserves    []string
	Map         string // certbkxp.dat
	Unknown     []string
}

// dataBase is the directory below the one that "certutil -backup" is given.
const dataBase = "DataBase"

// Find sorts what the arguments name: each directory is a group, files are one
// together, and come first. A file that is no file of ESE is among the unknown.
func Find(files *Files, args []string) ([]*Group, error) {
	named := &Group{Layout: Named}
	groups := []*Group{named}
	for _, arg := range args {
		fi, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if fi.IsDir() {
			g, err := findIn(files, arg)
			if err != nil {
				return nil, err
			}
			groups = append(groups, g)
			continue
		}
		f, err := files.Open(arg)
		if err != nil {
			return nil, err
		}
		kind, err := ese.Identify(f, f.Size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		named.addNamed(arg, kind)
	}
	if named.empty() {
		groups = groups[1:]
	}
	return groups, nil
}

func (g *Group) empty() bool { return len(g.Files()) == 0 }

// Files lists all files of the group: databases, logs, checkpoints and the rest.
func (g *Group) Files() []string {
	var all []string
	for _, list := range [][]string{g.Databases, g.Logs, g.Checkpoints, g.FlushMaps, g.Temporary, g.Reserves, g.Unknown} {
		all = append(all, list...)
	}
	return all
}

// addNamed adds a file that was asked for: what it is counts for more than its name,
// but a damaged file is only known by that.
func (g *Group) addNamed(path string, kind ese.FileType) {
	name, _, _ := ese.ParseLogName(path)
	if as, ok := nameKinds[kind]; ok {
		name = as
	}
	if name == ese.OtherName {
		g.Unknown = append(g.Unknown, path)
		return
	}
	g.addByName(path, name)
}

// nameKinds are the kinds of name under which files of each type belong.
var nameKinds = map[ese.FileType]ese.NameKind{
	ese.FileDatabase: ese.DatabaseName, ese.FileLog: ese.LogName, ese.FileCheckpoint: ese.CheckpointName,
	ese.FileFlushMap: ese.FlushMapName, ese.FileTemporary: ese.TemporaryLog,
}

func (g *Group) addByName(path string, name ese.NameKind) {
	switch name {
	case ese.DatabaseName:
		g.Databases = append(g.Databases, path)
	case ese.LogName, ese.CurrentLog:
		g.Logs = append(g.Logs, path)
	case ese.TemporaryLog:
		g.Temporary = append(g.Temporary, path)
	case ese.ReserveLog:
		g.Reserves = append(g.Reserves, path)
	case ese.CheckpointName:
		g.Checkpoints = append(g.Checkpoints, path)
	case ese.FlushMapName:
		g.FlushMaps = append(g.FlushMaps, path)
	}
}

// findIn sorts the files of a directory; if it is the one that certutil was given, of
// the one below it.
func findIn(files *Files, dir string) (*Group, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	below := ""
	g := &Group{Layout: Other, Dir: dir}
	current := false
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			if strings.EqualFold(e.Name(), dataBase) {
				below = path
			}
			continue
		}
		if strings.EqualFold(e.Name(), certadm.LocationsFile) {
			g.Map = path
			continue
		}
		kind := kindInDirectory(files, path)
		if kind == ese.CurrentLog || kind == ese.CheckpointName {
			current = true
		}
		g.addByName(path, kind)
	}
	if len(g.Databases) == 0 && below != "" {
		return findIn(files, below)
	}
	switch {
	case current:
		g.Layout = CertLog
	case g.Map != "" || strings.EqualFold(filepath.Base(dir), dataBase):
		g.Layout = Certutil
	}
	if g.empty() {
		return nil, fmt.Errorf("%s: there is no file of ESE in it", dir)
	}
	return g, nil
}

// engineBase is what the logs' names begin with unless an application says otherwise.
const engineBase = "edb"

// kindInDirectory is what a file in a directory is. Nobody named it, and "app.log" or
// "run20240101.log" is what other programs call their files: those must be logs by
// their contents.
func kindInDirectory(files *Files, path string) ese.NameKind {
	name := filepath.Base(path)
	kind, base, _ := ese.ParseLogName(name)
	switch kind {
	case ese.LogName, ese.CurrentLog, ese.CheckpointName:
		if strings.EqualFold(base, engineBase) {
			return kind
		}
		if t := identify(files, path); t != ese.FileLog && t != ese.FileCheckpoint {
			return ese.OtherName
		}
	case ese.OtherName:
		// Windows has databases of other names: SRUDB.dat, WebCacheV01.dat, ntds.dit, qmgr.db.
		switch strings.ToLower(filepath.Ext(name)) {
		case ".dat", ".db", ".dit", ".mdb", ".sdb":
			if identify(files, path) == ese.FileDatabase {
				return ese.DatabaseName
			}
		}
	case ese.DatabaseName:
		if strings.EqualFold(name, "tmp.edb") || identify(files, path) == ese.FileTemporary {
			return ese.TemporaryLog
		}
	}
	return kind
}

// identify is FileUnknown also for what cannot be read.
func identify(files *Files, path string) ese.FileType {
	f, err := files.Open(path)
	if err != nil {
		return ese.FileUnknown
	}
	t, err := ese.Identify(f, f.Size)
	if err != nil {
		return ese.FileUnknown
	}
	return t
}

// Beside returns a group of a database with the logs and the checkpoint that stand in
// its directory; logs is false if there are none.
func Beside(files *Files, database string) (g *Group, logs bool) {
	g = &Group{Layout: Named, Databases: []string{database}}
	around, err := findIn(files, filepath.Dir(database))
	if err != nil || around.Dir != filepath.Dir(database) {
		return g, false
	}
	g.Logs, g.Checkpoints, g.Temporary, g.Reserves, g.Map = around.Logs, around.Checkpoints, around.Temporary, around.Reserves, around.Map
	return g, len(g.Logs) > 0
}

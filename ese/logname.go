package ese

import (
	"path"
	"strconv"
	"strings"
)

// NameKind is the kind of a file by its name.
type NameKind uint8

// The kinds.
const (
	OtherName      NameKind = iota
	LogName                 // edb0001A.log: a closed log, with its generation
	CurrentLog              // edb.log: the generation stands inside
	TemporaryLog            // edbtmp.log: the next one, being prepared; it may be empty
	ReserveLog              // edbres00001.jrs, res1.log: space for bad times, without contents
	CheckpointName          // edb.chk
	FlushMapName            // *.jfm
	DatabaseName            // *.edb
)

// baseName is the length of the name that all logs of an instance begin with.
const baseName = 3

// ParseLogName tells what a file is by its name, whatever directory it has before it.
// base is what the names of an instance begin with ("edb"), generation that of a
// closed log, which has five hexadecimal digits, or eight: from 100000 on, or always
// with the engine's new names. Case does not matter.
func ParseLogName(name string) (kind NameKind, base string, generation uint32) {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	switch strings.ToLower(ext) {
	case ".edb":
		return DatabaseName, "", 0
	case ".jfm":
		return FlushMapName, "", 0
	case ".jrs":
		return ReserveLog, firstLetters(stem), 0
	case ".chk", ".jcp":
		return CheckpointName, stem, 0
	case ".log", ".jtx":
	default:
		return OtherName, "", 0
	}
	if l := strings.ToLower(stem); l == "res1" || l == "res2" {
		return ReserveLog, "", 0
	}
	if len(stem) < baseName {
		return OtherName, "", 0
	}
	base, digits := stem[:baseName], stem[baseName:]
	switch {
	case digits == "":
		return CurrentLog, base, 0
	case strings.EqualFold(digits, "tmp"):
		return TemporaryLog, base, 0
	case len(digits) != 5 && len(digits) != 8:
		return OtherName, "", 0
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || n == 0 {
		return OtherName, "", 0
	}
	return LogName, base, uint32(n)
}

func firstLetters(s string) string { return s[:min(len(s), baseName)] }

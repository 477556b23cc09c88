package sqlitelog

import (
	"fmt"
	"strconv"
)

// MaxGeneration is the last generation that a name has room for.
const MaxGeneration = 0xfffff

// LogName is the file name of a closed generation: "log", five lower-case hex
// digits, ".log".
func LogName(generation uint32) string { return fmt.Sprintf("log%05x.log", generation) }

// ParseLogName is the reverse of LogName. It takes nothing else: no capitals, no
// other length, not generation 0.
func ParseLogName(name string) (generation uint32, ok bool) {
	if len(name) != len("log00000.log") || name[:3] != "log" || name[8:] != ".log" {
		return 0, false
	}
	g, err := strconv.ParseUint(name[3:8], 16, 32)
	if err != nil || g == 0 || LogName(uint32(g)) != name {
		return 0, false
	}
	return uint32(g), true
}

package certadm

import (
	"fmt"
	"slices"
	"strings"
)

// Read buffer sizes, see [ReadBufferSize].
const (
	MinReadBuffer     = 64 << 10
	MaxReadBuffer     = 4 << 20
	DefaultReadBuffer = 512 << 10 // the size in Microsoft's sample
)

// ReadBufferSize returns the size of the buffer that CertSrvBackupOpenFileW
// makes of its cbReadHintSize: a power of two within 64 KiB and 4 MiB, not less
// than the hint where that is possible, and a default for 0 (or a negative
// hint).
func ReadBufferSize(hint int) int {
	switch {
	case hint <= 0:
		return DefaultReadBuffer
	case hint >= MaxReadBuffer:
		return MaxReadBuffer
	}
	size := MinReadBuffer
	for size < hint {
		size *= 2
	}
	return size
}

// ParseLogGeneration returns the generation that a log's name gives in its five
// hexadecimal digits: 0x1a for `edb0001a.log`, or `log0001a.log`, in any case
// and in any directory. ESE has no end at `edbFFFFF.log`: `edb00100000.log`
// follows, with eight digits, which as text sorts before it. It is false for
// every other name, the current log `edb.log`, generation 0 and what is above
// [MaxLogGeneration] included.
func ParseLogGeneration(name string) (uint32, bool) {
	name = BaseName(name)
	stem, ok := cutLogExtension(name)
	const base = 3 // characters before the digits
	if !ok || len(stem) != base+5 && len(stem) != base+8 {
		return 0, false
	}
	for _, c := range []byte(stem[:base]) {
		if !isAlphanumeric(c) {
			return 0, false
		}
	}
	var gen uint32
	for _, c := range []byte(stem[base:]) {
		d := hexDigit(c)
		if d < 0 {
			return 0, false
		}
		gen = gen<<4 | uint32(d)
	}
	if gen == 0 || gen > MaxLogGeneration {
		return 0, false
	}
	return gen, true
}

// LogDigits spells a generation as the names of logs do: in five hexadecimal digits,
// in eight from 0x100000 on. With fewer, "100000" could be taken for a decimal number.
func LogDigits(generation uint32) string {
	if generation > 0xFFFFF {
		return fmt.Sprintf("%08x", generation)
	}
	return fmt.Sprintf("%05x", generation)
}

func cutLogExtension(name string) (stem string, ok bool) {
	const ext = ".log"
	n := len(name) - len(ext)
	if n < 0 || !strings.EqualFold(name[n:], ext) {
		return name, false
	}
	return name[:n], true
}

// BaseName returns the last element of a UNC name, or of a path with either
// kind of slash.
func BaseName(path string) string {
	return path[strings.LastIndexAny(path, `\/`)+1:]
}

// LogGenerations returns the generations of the list's FileLog entries in
// ascending order. An entry whose name gives none, or two for one generation,
// are an error. Patch files (FilePatch), which old servers list as well, are
// passed over.
func (l FileList) LogGenerations() ([]uint32, error) {
	var gens []uint32
	for _, e := range l {
		if e.Type != FileLog {
			continue
		}
		gen, ok := ParseLogGeneration(e.Path)
		if !ok {
			return nil, malformed(-1, "log %q has no generation in its name", e.Path)
		}
		gens = append(gens, gen)
	}
	slices.Sort(gens)
	for i := 1; i < len(gens); i++ {
		if gens[i] == gens[i-1] {
			return nil, malformed(-1, "two logs of generation %#x", gens[i])
		}
	}
	return gens, nil
}

// LogRange returns the lowest and the highest generation of the list's logs:
// the arguments genLow and genHigh of CertSrvRestoreRegisterW. A gap between
// them is an error that is [HrMissingLogFile]; no log at all gives 0, 0.
func (l FileList) LogRange() (low, high uint32, err error) {
	gens, err := l.LogGenerations()
	if err != nil || len(gens) == 0 {
		return 0, 0, err
	}
	for i := 1; i < len(gens); i++ {
		if gens[i] != gens[i-1]+1 {
			return 0, 0, fmt.Errorf("log generations %#x to %#x: %w", gens[i-1]+1, gens[i]-1, HrMissingLogFile)
		}
	}
	return gens[0], gens[len(gens)-1], nil
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

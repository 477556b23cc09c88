package certadm

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestReadBufferSize(t *testing.T) {
	for _, tt := range []struct{ hint, want int }{
		{0, 512 << 10}, {-1, 512 << 10}, {1, 64 << 10}, {64 << 10, 64 << 10}, {64<<10 + 1, 128 << 10},
		{100_000, 128 << 10}, {512 << 10, 512 << 10}, {3 << 20, 4 << 20}, {4 << 20, 4 << 20}, {16 << 20, 4 << 20}, {1 << 62, 4 << 20},
	} {
		if got := ReadBufferSize(tt.hint); got != tt.want {
			t.Errorf("ReadBufferSize(%d) = %d, want %d", tt.hint, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		hint := rapid.Int().Draw(t, "hint")
		n := ReadBufferSize(hint)
		if n&(n-1) != 0 || n < 64<<10 || n > 4<<20 || n < hint && n != 4<<20 {
			t.Fatalf("ReadBufferSize(%d) = %d", hint, n)
		}
	})
}

func TestParseLogGeneration(t *testing.T) {
	for _, tt := range []struct {
		name string
		want uint32 // 0: no generation
	}{
		{"edb0001a.log", 0x1a}, {"log0001a.log", 0x1a}, {"EDB0001A.LOG", 0x1a}, {"edb00001.log", 1}, {"edbfffff.log", 0xfffff}, {"edb00100000.log", 0x100000}, {"EDB0000001A.LOG", 0x1a}, {"edb7FFFFFFF.log", MaxLogGeneration},
		{"edb80000000.log", 0}, {"edb00000000.log", 0}, {"edb000001a.log", 0}, {"edb0000001a1.log", 0},
		{`\\SRV\C$\Windows\system32\CertLog\edb0001a.log`, 0x1a}, {"/var/ca/log/log000ff.log", 0xff}, {`dir\sub/log00010.log`, 0x10},
		{"edb.log", 0}, {"edb00000.log", 0}, {"edb0001.log", 0}, {"edb00001a.log", 0}, {"edb0001g.log", 0}, {"edb0001a.jtx", 0},
		{"edb0001a.log.bak", 0}, {"edb0001a.log/", 0}, {"edbres00001.jrs", 0}, {"", 0}, {"edb.chk", 0}, {"é00001a.log", 0}, {"edb-001a.log", 0}, {"edb+001a.log", 0},
	} {
		gen, ok := ParseLogGeneration(tt.name)
		if gen != tt.want || ok != (tt.want != 0) {
			t.Errorf("ParseLogGeneration(%q) = %#x, %v, want %#x", tt.name, gen, ok, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.Uint32Range(1, MaxLogGeneration).Draw(t, "gen")
		base := rapid.SampledFrom([]string{"edb", "log", "EDB"}).Draw(t, "base")
		if got, ok := ParseLogGeneration(logName(base, gen)); got != gen || !ok {
			t.Fatalf("%#x, %v", got, ok)
		}
	})
}

func logName(base string, gen uint32) string { return base + LogDigits(gen) + ".log" }

func TestLogDigits(t *testing.T) {
	for gen, want := range map[uint32]string{1: "00001", 0xfffff: "fffff", 0x100000: "00100000", MaxLogGeneration: "7fffffff"} {
		if got := LogDigits(gen); got != want {
			t.Errorf("%#x: %s, want %s", gen, got, want)
		}
	}
}

func FuzzParseLogGeneration(f *testing.F) {
	for _, s := range []string{"edb0001a.log", `\\SRV\x\log00001.log`, "edb00100000.log", "edb.log", "edb00000.log", "", `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		gen, ok := ParseLogGeneration(name)
		if ok != (gen != 0) || gen > MaxLogGeneration {
			t.Fatalf("%#x, %v", gen, ok)
		}
	})
}

func logList(gens ...uint32) FileList {
	var l FileList
	for _, g := range gens {
		l = append(l, FileEntry{FileLog, `\\SRV\L\` + logName("edb", g)})
	}
	return l
}

func TestLogRange(t *testing.T) {
	for _, tt := range []struct {
		list      FileList
		low, high uint32
	}{
		{nil, 0, 0},
		{logList(0x1a), 0x1a, 0x1a},
		{logList(3, 1, 2), 1, 3},
		{logList(0x100001, 0xfffff, 0x100000, 0xffffe), 0xffffe, 0x100001}, // as text, edb00100000.log comes first
		{append(logList(9, 10), FileEntry{FilePatch, `\\SRV\L\ca.pat`}, FileEntry{FileDatabase, `\\SRV\edb00001.log`}), 9, 10},
	} {
		low, high, err := tt.list.LogRange()
		if low != tt.low || high != tt.high || err != nil {
			t.Errorf("LogRange of %v = %#x, %#x, %v", tt.list, low, high, err)
		}
	}
	if gens, err := logList(7, 5, 6).LogGenerations(); err != nil || !slices.Equal(gens, []uint32{5, 6, 7}) {
		t.Errorf("LogGenerations = %v, %v", gens, err)
	}
	if _, _, err := logList(1, 2, 4, 5).LogRange(); !errors.Is(err, HrMissingLogFile) {
		t.Errorf("gap: %v", err)
	}
	for _, l := range []FileList{logList(1, 2, 2), append(logList(1), FileEntry{FileLog, `\\SRV\L\edb.log`})} {
		if low, high, err := l.LogRange(); CodeOf(err) != ErrorInvalidData || low != 0 || high != 0 {
			t.Errorf("LogRange of %v = %#x, %#x, %v", l, low, high, err)
		}
	}
}

func TestBaseName(t *testing.T) {
	for in, want := range map[string]string{`\\SRV\C$\a.edb`: "a.edb", "/x/y": "y", "plain": "plain", `a\`: "", `a/b\c`: "c", `a\b/c`: "c", "": ""} {
		if got := BaseName(in); got != want {
			t.Errorf("BaseName(%q) = %q, want %q", in, got, want)
		}
	}
}

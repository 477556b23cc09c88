package cadb_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese/esetest"
)

func eseEngine(tb testing.TB) cadb.Engine {
	tb.Helper()
	e, err := cadb.EngineNamed("ese")
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func TestESELogNames(t *testing.T) {
	e := eseEngine(t)
	for g, name := range map[uint32]string{1: "edb00001.log", 0xabc: "edb00ABC.log", 0xfffff: "edbFFFFF.log", 0x100000: "edb00100000.log", 0x7fffffff: "edb7FFFFFFF.log"} {
		if got := e.LogName(g); got != name {
			t.Errorf("%x: %s, want %s", g, got, name)
		}
		if got, ok := e.ParseLogName(name); !ok || got != g {
			t.Errorf("%s: %x, %v", name, got, ok)
		}
	}
	if g, ok := e.ParseLogName("EDB0000001A.LOG"); !ok || g != 26 {
		t.Errorf("%x, %v", g, ok)
	}
}

func TestESELogs(t *testing.T) {
	e := eseEngine(t)
	s := esetest.NewLogStream(esetest.Options{}, `C:\CA.edb`)
	s.Sectors, s.Segments = 10, map[uint32]int{4: 3}
	check := func(b []byte) (cadb.LogInfo, error) {
		return e.CheckLog(t.Context(), bytes.NewReader(b), int64(len(b)))
	}
	var infos []cadb.LogInfo
	for g := range uint32(4) {
		b := s.Log(g + 1)
		info, err := check(b)
		if err != nil || info.Generation != g+1 || len(info.Signature) != 56 || info.Size != int64(len(b)) || !info.Opened.Equal(s.Base.Add(time.Duration(g+1)*time.Hour+137*time.Millisecond)) || len(info.Notes) > 0 {
			t.Errorf("%d: %+v, %v", g, info, err)
		}
		head, err := e.ReadLog(bytes.NewReader(b))
		if err != nil || head.Generation != info.Generation || head.Signature != info.Signature {
			t.Errorf("%d: %+v, %v", g, head, err)
		}
		infos = append(infos, info)
	}
	if err := e.CheckChain(infos); err != nil {
		t.Error(err)
	}
	if err := e.CheckChain([]cadb.LogInfo{infos[0], infos[2]}); err == nil {
		t.Error("a gap was not noticed")
	}
	// A log that was written anew since the next one was begun: its header is right.
	other := *s
	other.Segments = map[uint32]int{2: 5, 4: 3}
	changed, err := check(other.Log(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.CheckChain([]cadb.LogInfo{infos[0], changed}); err != nil {
		t.Error(err)
	}
	if err := e.CheckChain([]cadb.LogInfo{changed, infos[2]}); err == nil {
		t.Error("another log of the same generation was not noticed")
	}
	for _, tt := range []struct {
		name   string
		log    uint32
		change func([]byte) []byte
		code   string // "" for a note
	}{
		{"header", 2, func(b []byte) []byte { b[100] ^= 1; return b }, cadb.CodeHash},
		{"two bits", 2, func(b []byte) []byte { b[9000] ^= 1; b[9100] ^= 1; return b }, cadb.CodeHash},
		{"one bit", 2, func(b []byte) []byte { b[9000] ^= 1; return b }, ""},
		{"torn", 4, func(b []byte) []byte { _ = esetest.TearLog(b); return b }, cadb.CodeHash},
		{"cut short", 2, func(b []byte) []byte { return b[:len(b)-4096] }, cadb.CodeSize},
		{"longer", 2, func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, cadb.CodeSize},
		{"a piece is gone", 2, func(b []byte) []byte { clear(b[3*4096 : 5*4096]); return b }, cadb.CodeFormat},
		{"of the next log", 2, func(b []byte) []byte { copy(b[3*4096:4*4096], s.Log(3)[3*4096:]); return b }, cadb.CodeFormat},
		{"no log", 2, func(b []byte) []byte { return []byte("hello") }, cadb.CodeFormat},
	} {
		info, err := check(tt.change(s.Log(tt.log)))
		if tt.code == "" {
			if err != nil || len(info.Notes) != 1 {
				t.Errorf("%s: %v, %q", tt.name, err, info.Notes)
			}
			continue
		}
		if code, damage := cadb.LogFindingCode(err); err == nil || code != tt.code || !damage {
			t.Errorf("%s: %v, code %s", tt.name, err, code)
		}
	}
	// An older version's body is not checked, and that is said.
	old := esetest.NewLogStream(esetest.Options{}, `C:\CA.edb`)
	old.Major, old.Sectors = 7, 10
	if info, err := check(old.Log(2)); err != nil || len(info.Notes) != 1 {
		t.Errorf("version 7: %v, %q", err, info.Notes)
	}
	if _, err := e.Recover(t.Context(), "", nil, 0); !errors.Is(err, cadb.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if _, err := e.Salvage(t.Context(), "", "", ""); !errors.Is(err, cadb.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

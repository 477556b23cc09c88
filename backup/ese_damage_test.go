package backup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese/esetest"
	"github.com/certkeep/certkeep/internal/need"
)

func flipBits(bits ...int64) func([]byte) []byte {
	return func(b []byte) []byte {
		for _, bit := range bits {
			esetest.FlipBit(b, bit)
		}
		return b
	}
}

// Each damage gives its own finding, without a manifest, and neither recovery nor
// drill goes on with it.
func TestVerifyESEDamage(t *testing.T) {
	const db, log3, log4, log5 = "mon/DataBase/Example CA.edb", "mon/DataBase/edb00003.log", "mon/DataBase/edb00004.log", "mon/DataBase/edb00005.log"
	const page = 4096
	whole, f, g := certutilSet(t, nil)
	pages := f.Info.Size / page
	other, of := t.TempDir(), (*esetest.Folder)(nil)
	of, err := esetest.WriteBackup(other, esetest.FolderOptions{Stream: small, Options: esetest.Options{Seed: 99}}, g.fill(3, nil))
	if err != nil {
		t.Fatal(err)
	}
	foreign := func(g uint32) func([]byte) []byte {
		return func([]byte) []byte { return of.Stream.Log(g) }
	}
	swap := func(t *testing.T, dir string) {
		a, b := filepath.Join(dir, log3), filepath.Join(dir, log4)
		for _, x := range [][2]string{{a, a + ".x"}, {b, a}, {a + ".x", b}} {
			if err := os.Rename(x[0], x[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name     string
		damage   func(*testing.T, string)
		severity cadb.Severity
		code     string
		says     string
	}{
		{"two bits of a page", edit(db, flipBits(8*7*page+8000, 8*7*page+8001)), cadb.Damage, cadb.CodeHash, "page 6, offset 28672"},
		{"a bit of a page", edit(db, flipBits(8*7*page+8000)), cadb.Warning, cadb.CodeHash, "page 6, offset 28672"},
		{"header", edit(db, flipBits(8*300)), cadb.Warning, cadb.CodeHash, "its shadow is good"},
		{"header and shadow", edit(db, flipBits(8*300, 8*(page+300))), cadb.Damage, cadb.CodeFormat, "header"},
		{"trailer", edit(db, flipBits(8*((pages-1)*page+50))), cadb.Damage, cadb.CodeFormat, "JET_errBadPatchPage"},
		{"trailer lost", edit(db, func(b []byte) []byte { return b[:len(b)-page] }), cadb.Damage, cadb.CodeFormat, "JET_errBadPatchPage"},
		{"half a page lost", edit(db, func(b []byte) []byte { return b[:len(b)-page/2] }), cadb.Damage, cadb.CodeSize, ""},
		{"pages swapped", edit(db, func(b []byte) []byte { esetest.SwapPages(b, page, 5, 6); return b }), cadb.Damage, cadb.CodeHash, "page 5"},
		{"log header", edit(log4, flipBits(8*100)), cadb.Damage, cadb.CodeFormat, "edb00004.log"},
		{"log segment", edit(log4, flipBits(8*(2*page+100), 8*(2*page+200))), cadb.Damage, cadb.CodeHash, "segment 2"},
		{"a bit of a log segment", edit(log4, flipBits(8*(2*page+100))), cadb.Warning, cadb.CodeHash, "segment 2"},
		{"log cut short", edit(log4, func(b []byte) []byte { return b[:len(b)-page] }), cadb.Damage, cadb.CodeSize, "edb00004.log"},
		{"torn log", edit(log5, func(b []byte) []byte { _ = esetest.TearLog(b); return b }), cadb.Damage, cadb.CodeHash, "JET_errLogTornWriteDuringHardRestore"},
		{"log of another authority", edit(log4, foreign(4)), cadb.Damage, cadb.CodeForeign, "JET_errBadLogSignature"},
		{"log of another generation", edit(log4, func([]byte) []byte { return f.Stream.Log(6) }), cadb.Damage, cadb.CodeChain, "generation"},
		{"logs swapped", swap, cadb.Damage, cadb.CodeChain, "JET_errLogGenerationMismatch"},
		{"first log missing", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, log3)) }, cadb.Damage, cadb.CodeMissing, "log 3 is missing"},
		{"log missing", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, log4)) }, cadb.Damage, cadb.CodeMissing, "log 4 is missing"},
		{"last log missing", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, log5)) }, cadb.Damage, cadb.CodeMissing, "log 5 is missing"},
		{"all logs missing", func(t *testing.T, dir string) {
			for _, l := range []string{log3, log4, log5} {
				os.Remove(filepath.Join(dir, l))
			}
		}, cadb.Damage, cadb.CodeMissing, "logs 3 to 5 are missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			copyTree(t, whole, dir)
			tt.damage(t, dir)
			rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Level: backup.LevelContent})
			if err != nil {
				t.Fatal(err)
			}
			found := slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool {
				return f.Severity == tt.severity && f.Code == tt.code && strings.Contains(f.String(), tt.says)
			})
			if !found || rep.OK != (tt.severity != cadb.Damage) {
				t.Errorf("ok %v, verdict %q, findings %v", rep.OK, rep.Verdict, rep.Findings)
			}
			drill, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), CACertificate: g.Authority()})
			if err != nil || drill.OK != rep.OK {
				t.Errorf("drill: %v, %v", err, drill.Findings)
			}
		})
	}
}

// Every bit of header, trailer, log and of a page of each kind is guarded. The heavy run
// goes through more of them.
func TestFlipESE(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	step := int64(9973)
	if need.Heavy() {
		step = 997
	}
	for _, path := range []string{f.Database, f.Logs[0], f.Logs[2]} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var bits []int64
		for bit := int64(0); bit < int64(len(whole))*8; bit += step * max(1, int64(len(whole))/50000) {
			bits = append(bits, bit)
		}
		for bit := int64(0); bit < 8*800; bit += 501 { // header
			bits = append(bits, bit, int64(len(whole)-4096)*8+bit)
		}
		for _, bit := range bits {
			b := bytes.Clone(whole)
			esetest.FlipBit(b, bit)
			if unusedPage(whole, bit) || unusedSegment(path, whole, bit) {
				continue // a page that was never used has no checksum
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Level: backup.LevelContent})
			if err != nil || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return f.Severity != cadb.Note }) {
				t.Errorf("%s: bit %d was not noticed: %v", filepath.Base(path), bit, err)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func unusedPage(b []byte, bit int64) bool {
	at := bit / 8 / 4096 * 4096
	return len(bytes.Trim(b[at:at+4096], "\x00")) == 0
}

// unusedSegment says that a flip there would not be of anything that was written.
func unusedSegment(path string, b []byte, bit int64) bool {
	return strings.HasSuffix(path, ".log") && unusedPage(b, bit)
}

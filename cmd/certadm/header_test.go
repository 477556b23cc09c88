package main_test

import (
	"debug/elf"
	"debug/pe"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/internal/winetest"
)

// functions are what Certadm.dll has.
var functions = []string{
	"CertSrvBackupClose", "CertSrvBackupEnd", "CertSrvBackupFree", "CertSrvBackupGetBackupLogsW", "CertSrvBackupGetDatabaseNamesW",
	"CertSrvBackupGetDynamicFileListW", "CertSrvBackupOpenFileW", "CertSrvBackupPrepareW", "CertSrvBackupRead", "CertSrvBackupTruncateLogs",
	"CertSrvIsServerOnlineW", "CertSrvRestoreEnd", "CertSrvRestoreGetDatabaseLocationsW", "CertSrvRestorePrepareW",
	"CertSrvRestoreRegisterComplete", "CertSrvRestoreRegisterThroughFile", "CertSrvRestoreRegisterW", "CertSrvServerControlW",
}

// The shared library has the functions, and else only what Go's runtime wants to
// be found; and it says that it stays loaded.
func TestExports(t *testing.T) {
	f, err := elf.Open(sharedLibrary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF || elf.ST_BIND(s.Info) == elf.STB_LOCAL {
			continue
		}
		own := true
		for _, prefix := range []string{"_cgo", "x_cgo_", "x_crosscall", "crosscall", "fatalf", "_cgoexp_", "_init", "_fini", "runtime."} {
			own = own && !strings.HasPrefix(s.Name, prefix)
		}
		if own {
			got = append(got, s.Name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, functions) {
		t.Errorf("exported: %q", got)
	}
	const noDelete = 0x8 // DF_1_NODELETE
	if flags, err := f.DynValue(elf.DT_FLAGS_1); err != nil || len(flags) != 1 || flags[0]&noDelete == 0 {
		t.Errorf("DT_FLAGS_1 is %x, %v: dlclose would unload a Go runtime", flags, err)
	}
}

// The DLL has the functions under their plain names, and nothing else.
func TestExportsDLL(t *testing.T) {
	wine(t)
	f, err := pe.Open(dll(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := exports(t, f)
	slices.Sort(got)
	if !slices.Equal(got, functions) {
		t.Errorf("exported: %q", got)
	}
}

// exports reads the export directory, which package debug/pe does not (PE format,
// "The .edata Section").
func exports(t *testing.T, f *pe.File) (names []string) {
	header, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		t.Fatal("not a 64-bit image")
	}
	at := func(rva uint32) []byte {
		for _, s := range f.Sections {
			if rva >= s.VirtualAddress && rva < s.VirtualAddress+s.Size {
				data, err := s.Data()
				if err != nil {
					t.Fatal(err)
				}
				return data[rva-s.VirtualAddress:]
			}
		}
		t.Fatalf("no section has the address %#x", rva)
		return nil
	}
	u32 := func(b []byte, i int) uint32 {
		return uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16 | uint32(b[i+3])<<24
	}
	dir := at(header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT].VirtualAddress)
	table := at(u32(dir, 32))
	for i := range int(u32(dir, 24)) {
		name, _, _ := strings.Cut(string(at(u32(table, 4*i))), "\x00")
		names = append(names, name)
	}
	return names
}

// certbcli.h is C11 and C++11, for both compilers, without a warning.
func TestHeader(t *testing.T) {
	header, err := filepath.Abs("certbcli.h")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ compiler, std, ext string }{
		{"gcc", "-std=c11", ".c"}, {"clang", "-std=c11", ".c"}, {"g++", "-std=c++11", ".cc"}, {"clang++", "-std=c++17", ".cc"},
	} {
		t.Run(c.compiler, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				need.Skip(t, "there is windows.h")
			}
			cc := need.Program(t, c.compiler, strings.TrimSuffix(c.compiler, "++"))
			src := filepath.Join(t.TempDir(), "use"+c.ext)
			if err := os.WriteFile(src, []byte("#include \""+header+"\"\n#include \""+header+"\"\n"+use), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{c.std, "-c", "-o", os.DevNull, src}, strict...)
			if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// use is what a program does with the header: literals, constants, pointers by the
// types, and the functions without their W.
const use = `
static const WCHAR name[] = u"CA1";
HRESULT use(HCSBC hbc);
HRESULT use(HCSBC hbc) {
	FNCERTSRVBACKUPEND *end = CertSrvBackupEnd;
	FNCERTSRVRESTOREREGISTERW *through = CertSrvRestoreRegisterThroughFile;
	CSEDB_RSTMAP map = {NULL, NULL};
	LARGE_INTEGER size;
	CSBFT tag = CSBFT_CERTSERVER_DATABASE;
	BOOL online = FALSE;
	HCSBC other;
	size.QuadPart = sizeof(WCHAR) == 2 && sizeof(LARGE_INTEGER) == 8 && sizeof(DWORD) == 4 && sizeof(HRESULT) == 4;
	if (FAILED(CertSrvIsServerOnline(name, &online)) || size.u.LowPart != 1 || tag != 'D')
		return CertSrvBackupPrepare(name, 0, CSBACKUP_TYPE_FULL, &other);
	(void)through(hbc, NULL, NULL, &map, 1, NULL, 1, 2);
	return SUCCEEDED(S_OK) ? end(hbc) : CSCONTROL_SHUTDOWN;
}
`

// Our header and mingw's are the same to a program for Windows.
func TestHeaderAgrees(t *testing.T) {
	cc := need.Program(t, winetest.Compiler)
	for _, source := range []string{"testdata/agree.c", "testdata/agree_struct.c"} {
		// Not -Werror: ours declares without dllimport what theirs declares with it.
		if out, err := exec.Command(cc, "-std=c11", "-c", "-o", filepath.Join(t.TempDir(), "agree.o"), source).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", source, err, out)
		}
	}
	// A difference is seen.
	changed := filepath.Join(t.TempDir(), "certbcli.h")
	for from, to := range map[string]string{
		"LONG crstmap":                               "LONGLONG crstmap",
		"#define CSBFT_LOG_DIR ((CSBFT)0x82)":        "#define CSBFT_LOG_DIR ((CSBFT)0x83)",
		"HCSBC hbc, VOID *pvBuffer, DWORD cbBuffer,": "HCSBC hbc, VOID *pvBuffer, SIZE_T cbBuffer,",
	} {
		b, err := os.ReadFile("certbcli.h")
		if err != nil {
			t.Fatal(err)
		}
		s := strings.Replace(string(b), from, to, 1)
		if s == string(b) {
			t.Fatalf("the header has no %q", from)
		}
		if err := os.WriteFile(changed, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if exec.Command(cc, "-std=c11", "-DOURS=\""+changed+"\"", "-c", "-o", filepath.Join(t.TempDir(), "agree.o"), "testdata/agree.c").Run() == nil {
			t.Errorf("%q in place of %q goes unnoticed", to, from)
		}
	}
}

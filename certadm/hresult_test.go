package certadm

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestHRESULTString(t *testing.T) {
	for _, tt := range []struct {
		h    HRESULT
		want string
	}{
		{SOK, "0x00000000 (S_OK)"},
		{EAccessDenied, "0x80070005 (E_ACCESSDENIED)"},
		{ErrorSharingViolation, "0x80070020 (ERROR_SHARING_VIOLATION)"},
		{ErrorDirNotEmpty, "0x80070091 (ERROR_DIR_NOT_EMPTY)"},
		{EUnexpected, "0x8000FFFF (E_UNEXPECTED)"},
		{HrAlreadyListening, "0x800706B1 (hrAlreadyListening)"},
		{HrNyi, "0xC0000001 (hrNyi)"},
		{HrInvalidHandle, "0xC7FF0003 (hrInvalidHandle)"},
		{HrContentsExpired, "0xC7FF0011 (hrContentsExpired)"},
		{HrMissingFullBackup, "0xC8000230 (ESE -560 JET_errMissingFullBackup)"},
		{HrBackupInProgress, "0xC80001F9 (ESE -505 JET_errBackupInProgress)"},
		{HrInvalidBackupSequence, "0xC8000209 (ESE -521 JET_errInvalidBackupSequence)"},
		{HrInvalidBackup, "0xC800020E (ESE -526 JET_errInvalidBackup)"},
		{HrBadLogSignature, "0xC8000212 (ESE -530 JET_errBadLogSignature)"},
		{HrDatabaseInconsistent, "0xC8000226 (ESE -550 JET_errDatabaseDirtyShutdown)"},
		{HrReadVerifyFailure, "0xC80003FA (ESE -1018 JET_errReadVerifyFailure)"},
		{HrExistingLogFileHasBadSignature, "0x8800022E (ESE 558 JET_wrnExistingLogFileHasBadSignature)"},
		{HrFileOpenReadOnly, "0x88000715 (ESE 1813 JET_wrnFileOpenReadOnly)"},
		{0xC800042D, "0xC800042D (ESE -1069 JET_errVersionStoreOutOfMemory)"},
		{0xC8000999, "0xC8000999 (ESE -2457)"},
		{0x88000999, "0x88000999 (ESE 2457)"},
		{0xC8000000, "0xC8000000"},
		{0x88000000, "0x88000000"},
		{0xC8010230, "0xC8010230"},
		{0x00000001, "0x00000001"},
		{0xC7FF0012, "0xC7FF0012"},
		{0x80070001, "0x80070001"},
	} {
		if got := tt.h.String(); got != tt.want {
			t.Errorf("String of %#x = %q, want %q", uint32(tt.h), got, tt.want)
		}
		if got := tt.h.Error(); got != tt.want {
			t.Errorf("Error of %#x = %q, want %q", uint32(tt.h), got, tt.want)
		}
	}
}

// constants returns the HRESULT constants that hresult.go declares, with the
// name from each one's comment.
func constants(t *testing.T) map[string]HRESULT {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "hresult.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]HRESULT)
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		code, err := strconv.ParseUint(spec.Values[0].(*ast.BasicLit).Value, 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(strings.TrimSpace(spec.Comment.Text()), ",")
		if before := found[name]; before != 0 {
			t.Errorf("%s is declared twice", name)
		}
		found[name] = HRESULT(code)
		return true
	})
	if len(found) < 90 {
		t.Fatalf("only %d constants found in hresult.go", len(found))
	}
	return found
}

// Every constant prints with a name and its value; those of the ESE family with
// their number, too.
func TestEveryCodeHasAName(t *testing.T) {
	seen := make(map[HRESULT]string)
	for name, h := range constants(t) {
		if other, dup := seen[h]; dup {
			t.Errorf("%s and %s are both %#x", name, other, uint32(h))
		}
		seen[h] = name
		if h.Name() == "" {
			t.Errorf("%s (%#x) has no name", name, uint32(h))
		}
		want := fmt.Sprintf("0x%08X (%s)", uint32(h), name)
		if n, ok := h.ESE(); ok {
			want = fmt.Sprintf("0x%08X (ESE %d %s)", uint32(h), n, jetNames[n])
			if n < 0 != strings.HasPrefix(jetNames[n], "JET_err") || n > 0 != strings.HasPrefix(jetNames[n], "JET_wrn") {
				t.Errorf("%s: ESE %d is named %s", name, n, jetNames[n])
			}
			// The two headers agree on most names; these are the ones renamed.
			renamed := map[string]bool{"hrDatabaseInconsistent": true, "hrPatchFileMismatch": true, "hrRestoreLogTooLow": true, "hrRestoreLogTooHigh": true}
			if !renamed[name] && name[2:] != jetNames[n][7:] {
				t.Errorf("%s is named %s", name, jetNames[n])
			}
		}
		if got := h.String(); strings.HasPrefix(name, "hr") && got != want {
			t.Errorf("%s prints as %q, want %q", name, got, want)
		}
	}
	for h := range codeNames {
		if _, ok := seen[h]; !ok {
			t.Errorf("the name of %#x is in the table without a constant", uint32(h))
		}
	}
}

func TestESE(t *testing.T) {
	for _, tt := range []struct {
		n int
		h HRESULT
	}{
		{-560, HrMissingFullBackup}, {-505, HrBackupInProgress}, {-521, HrInvalidBackupSequence},
		{-102, HrFileClose}, {-1907, HrAccessDenied}, {558, HrExistingLogFileHasBadSignature},
		{1813, HrFileOpenReadOnly}, {-1, 0xC8000001}, {-0xFFFF, 0xC800FFFF}, {0xFFFF, 0x8800FFFF},
	} {
		if got := ESE(tt.n); got != tt.h {
			t.Errorf("ESE(%d) = %v, want %v", tt.n, got, tt.h)
		}
		if n, ok := tt.h.ESE(); n != tt.n || !ok {
			t.Errorf("%v.ESE() = %d, %v, want %d", tt.h, n, ok, tt.n)
		}
	}
	if got := ESE(0); got != SOK {
		t.Errorf("ESE(0) = %v", got)
	}
	for _, n := range []int{0x10000, -0x10000, 1 << 40, -1 << 40} {
		if got := ESE(n); got != HrError {
			t.Errorf("ESE(%d) = %v, want %v", n, got, HrError)
		}
	}
	for _, h := range []HRESULT{SOK, EAccessDenied, HrInvalidHandle, 0xC8000000, 0x88000000, 0xC8010001, 0xC0000230} {
		if n, ok := h.ESE(); ok {
			t.Errorf("%v.ESE() = %d, though it is no ESE code", h, n)
		}
	}
}

func TestESEBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-0xFFFF, 0xFFFF).Filter(func(n int) bool { return n != 0 }).Draw(t, "n")
		h := ESE(n)
		if want := map[bool]HRESULT{true: 0xC8000000, false: 0x88000000}[n < 0] | HRESULT(max(n, -n)); h != want {
			t.Fatalf("ESE(%d) = %v, want %#x", n, h, uint32(want))
		}
		if back, ok := h.ESE(); back != n || !ok {
			t.Fatalf("%v.ESE() = %d, %v", h, back, ok)
		}
		if !strings.Contains(h.String(), fmt.Sprintf("ESE %d", n)) {
			t.Fatalf("%q does not say ESE %d", h, n)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		h := HRESULT(rapid.Uint32().Draw(t, "h"))
		if n, ok := h.ESE(); ok && ESE(n) != h {
			t.Fatalf("ESE(%d) = %v, want %v", n, ESE(n), h)
		}
		if !strings.HasPrefix(h.String(), fmt.Sprintf("0x%08X", uint32(h))) {
			t.Fatalf("%q", h)
		}
	})
}

func TestFromWin32(t *testing.T) {
	for _, tt := range []struct {
		code uint32
		want HRESULT
	}{
		{0, SOK}, {2, ErrorFileNotFound}, {5, EAccessDenied}, {0x20, ErrorSharingViolation},
		{145, ErrorDirNotEmpty}, {1713, HrAlreadyListening}, {5010, ErrorObjectExists},
		{0x80070005, EAccessDenied}, {0xC8000230, HrMissingFullBackup}, {0x12345, 0x80072345},
	} {
		if got := FromWin32(tt.code); got != tt.want {
			t.Errorf("FromWin32(%d) = %v, want %v", tt.code, got, tt.want)
		}
	}
	if n, ok := EAccessDenied.Win32(); n != 5 || !ok {
		t.Errorf("Win32 = %d, %v", n, ok)
	}
	for _, h := range []HRESULT{SOK, EFail, HrInvalidHandle, HrMissingFullBackup, 0x00070005} {
		if n, ok := h.Win32(); ok {
			t.Errorf("%v.Win32() = %d", h, n)
		}
	}
}

func TestError(t *testing.T) {
	cause := errors.New("the disk is gone")
	e := &Error{Op: "CertSrvBackupPrepare", Path: "Test CA", Code: HrBackupInProgress, Err: cause, Hint: "wait"}
	if got, want := e.Error(), "CertSrvBackupPrepare Test CA: 0xC80001F9 (ESE -505 JET_errBackupInProgress): the disk is gone"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
	bare := &Error{Op: "CertSrvBackupEnd", Code: HrInvalidHandle}
	if got, want := bare.Error(), "CertSrvBackupEnd: 0xC7FF0003 (hrInvalidHandle)"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
	wrapped := fmt.Errorf("taking the set: %w", e)
	if !errors.Is(wrapped, HrBackupInProgress) || !errors.Is(wrapped, cause) || errors.Is(wrapped, HrInvalidHandle) {
		t.Error("errors.Is does not see through to the code and the cause")
	}
	for _, tt := range []struct {
		err  error
		want HRESULT
	}{
		{nil, SOK},
		{wrapped, HrBackupInProgress},
		{fmt.Errorf("x: %w", HrDiskIO), HrDiskIO},
		{cause, EFail},
		{&MalformedError{Reason: "x"}, ErrorInvalidData},
	} {
		if got := CodeOf(tt.err); got != tt.want {
			t.Errorf("CodeOf(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

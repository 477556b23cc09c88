package winetest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// A C program and a Go program both run, Windows' own registry answers, and a
// failure is seen.
func TestPrograms(t *testing.T) {
	if os.Getenv("WINETEST_CHILD") != "" {
		fmt.Println("hello from", runtime.GOOS)
		return
	}
	p := New(t)
	src, exe := filepath.Join(t.TempDir(), "a.c"), filepath.Join(t.TempDir(), "a.exe")
	if err := os.WriteFile(src, []byte("#include <stdio.h>\nint main(int c, char **v) { puts(v[c-1]); return c-2; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	CC(t, exe, src)
	if got := p.Run(t, exe, "argument"); got != "argument\n" {
		t.Errorf("the C program printed %q", got)
	}
	if err := p.Command(t.Context(), exe, "one", "too many").Run(); err == nil {
		t.Error("a program that fails was not noticed")
	}
	t.Setenv("WINETEST_CHILD", "1")
	if got := p.Run(t, Self(t), "-test.run=TestPrograms"); !strings.HasPrefix(got, "hello from windows\n") {
		t.Errorf("the Go program printed %q", got)
	}
	if got := p.Run(t, "reg", "query", `HKLM\Software\Microsoft\Windows NT\CurrentVersion`, "/v", "ProductName"); !strings.Contains(got, "REG_SZ") {
		t.Errorf("reg printed %q", got)
	}
}

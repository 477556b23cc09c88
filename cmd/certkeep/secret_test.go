package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestPasswordFile(t *testing.T) {
	const maxPassword = 4096 // bytes of the first line
	dir := t.TempDir()
	for _, tt := range []struct {
		name, content string
		mode          os.FileMode
		want, wrong   string
	}{
		{"plain", "secret\n", 0o600, "secret", ""},
		{"no newline", "secret", 0o400, "secret", ""},
		{"crlf, more lines", "a b \r\nrest", 0o600, "a b ", ""},
		{"empty", "", 0o600, "", "first line is empty"},
		{"empty line", "\nsecret", 0o600, "", "first line is empty"},
		{"longest", strings.Repeat("x", maxPassword), 0o600, strings.Repeat("x", maxPassword), ""},
		{"too long", strings.Repeat("x", maxPassword+1), 0o600, "", "longer than"},
		{"nul", "a\x00b\n", 0o600, "", "NUL"},
		{"group", "secret\n", 0o640, "", "mode 0640"},
		{"world", "secret\n", 0o604, "", "mode 0604"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tt.mode&0o077 != 0 {
				t.Skip("Windows files have no such mode")
			}
			name := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-"))
			if err := os.WriteFile(name, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(name, tt.mode); err != nil {
				t.Fatal(err)
			}
			o := secretOptions{file: name}
			got, err := o.read(context.Background(), newConsole(nil, nil, nil), "Password", false)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Fatalf("error %v, want %q", err, tt.wrong)
				}
				if exit := exitOf(context.Background(), err); exit != exitSecret {
					t.Errorf("exit code %d, want %d", exit, exitSecret)
				}
				return
			}
			if err != nil || string(got) != tt.want {
				t.Fatalf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestPasswordWithoutTerminal(t *testing.T) {
	var o secretOptions
	t.Setenv("CERTKEEP_PASSWORD_FILE", "")
	_, err := o.read(context.Background(), newConsole(strings.NewReader("x\n"), nil, nil), "Password", false)
	if err == nil || !strings.Contains(hintOf(err), "--password-file") {
		t.Fatalf("error %v, hint %q", err, hintOf(err))
	}
	o.file = "-"
	got, err := o.read(context.Background(), newConsole(strings.NewReader("x\n"), nil, nil), "Password", false)
	if err != nil || string(got) != "x" {
		t.Fatalf("%q, %v", got, err)
	}
}

package adcs

import (
	"errors"
	"testing"
)

func TestExpandKnown(t *testing.T) {
	broken := errors.New("broken")
	vars := []known{
		{"SystemRoot", func() (string, error) { return `C:\Windows`, nil }},
		{"ProgramData", func() (string, error) { return "", broken }},
	}
	for in, want := range map[string]string{
		`%SystemRoot%\system32`:     `C:\Windows\system32`,
		`%systemroot%;%SYSTEMROOT%`: `C:\Windows;C:\Windows`,
		`%other%\x`:                 `%other%\x`,
		`100%SystemRoot%`:           `100C:\Windows`,
		`%x%SystemRoot%`:            `%xC:\Windows`,
		`%%SystemRoot%%`:            `%C:\Windows%`,
		`%SystemRoot`:               `%SystemRoot`,
		`plain`:                     `plain`,
		``:                          ``,
		`%`:                         `%`,
		`%%`:                        `%%`,
	} {
		if got, err := expandKnown(in, vars); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	if _, err := expandKnown(`%ProgramData%\x`, vars); !errors.Is(err, broken) {
		t.Errorf("a place that is not known: %v", err)
	}
}

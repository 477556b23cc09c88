package adcs

import "golang.org/x/sys/windows"

func systemDirectory() (string, error) { return windows.GetSystemDirectory() }

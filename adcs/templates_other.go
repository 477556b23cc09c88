//go:build !windows

package adcs

func systemDirectory() (string, error) { return "", ErrNotWindows }

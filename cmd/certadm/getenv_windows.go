//go:build cgo

package main

import "os"

// getenv asks Windows, and so gets what the program has set since the library was
// loaded, by whichever way.
func getenv(name string) string { return os.Getenv(name) }

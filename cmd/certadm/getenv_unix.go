//go:build cgo && unix

package main

/*
#include <stdlib.h>
*/
import "C"

import "unsafe"

// getenv asks C: Go has a copy of the environment from when the library was
// loaded, and a program may have set a variable since.
func getenv(name string) string {
	key := C.CString(name)
	defer C.free(unsafe.Pointer(key))
	return C.GoString(C.getenv(key))
}

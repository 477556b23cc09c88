//go:build cgo && unix

package main

/*
#cgo linux CFLAGS: -D_GNU_SOURCE
#include <stdlib.h>

static char *certadmGetenv(const char *name)
{
#ifdef __linux__
	return secure_getenv(name);
#else
	return getenv(name);
#endif
}
*/
import "C"

import "unsafe"

// getenv asks C: Go has a copy of the environment from when the library was
// loaded, and a program may have set a variable since. On Linux a program that has
// more rights than who started it (setuid, setgid, capabilities) gets none: the
// variables say which files are read and written, and who logs on.
func getenv(name string) string {
	key := C.CString(name)
	defer C.free(unsafe.Pointer(key))
	return C.GoString(C.certadmGetenv(key))
}

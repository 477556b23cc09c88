//go:build cgo

// Command certadm is Certadm.dll on certkeep: a library for programs in C, or in
// whatever else calls C, that were written for Certadm.dll. It has the eighteen
// functions with their names, parameters and results, and works on any system that
// certkeep works on.
//
//	go build -buildmode=c-shared -o libcertadm.so ./cmd/certadm
//	CGO_ENABLED=1 GOOS=windows GOARCH=amd64 CC=x86_64-w64-mingw32-gcc \
//		go build -buildmode=c-shared -o certadm.dll ./cmd/certadm
//
// certbcli.h is the header; docs/c-library.md is what there is to know.
//
// This is the only package of the module that needs a C compiler. All but the
// passage between C and Go is in package capi.
package main

/*
#include <stdlib.h>

// The handle is a number to Go: a pointer that points nowhere may not be in a
// variable of a pointer type there. The compiler sees these declarations and
// those that cgo makes of the functions, and objects if they do not agree.
#define CERTBCLI_HCSBC uintptr_t
// The same goes for what a program frees.
#define CertSrvBackupFree certadmBackupFreeDeclared
#include "certbcli.h"
#undef CertSrvBackupFree

// cgo writes the types of parameters without const, but for a type's name.
typedef WCHAR const *certadmString;
*/
import "C"

import (
	"runtime/debug"
	"unsafe"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/cmd/certadm/internal/capi"
)

// A program that loads the library has its own main.
func main() {}

var library = capi.New(getenv)

const (
	nullOutput = "a pointer to an output is NULL"
	badString  = "a string is NULL, or not UTF-16, or longer than 32767 characters"
)

// guard turns a panic of a C function into its result: what a program passed may
// be nothing that can be dereferenced. A function is to defer it with fault being
// debug.SetPanicOnFault(true): without that only a fault in the first page is a
// panic, any other ends the process. What can be dereferenced, and is not the
// program's to pass, is beyond help.
func guard(fn string, hr *C.HRESULT, fault bool) {
	// The goroutine may be one that C's next call gets, too.
	debug.SetPanicOnFault(fault)
	if v := recover(); v != nil {
		library.Panicked(fn, v)
		*hr = result(certadm.EUnexpected)
	}
}

func result(code certadm.HRESULT) C.HRESULT { return C.HRESULT(int32(code)) }

func handle(hbc C.HCSBC) capi.Handle { return capi.Handle(hbc) }

// str reads a string that has to be there.
func str(p C.certadmString) (string, bool) {
	if p == nil {
		return "", false
	}
	return capi.ReadString(unsafe.Pointer(p))
}

// optional reads a string that may be NULL.
func optional(p C.certadmString) (string, bool) {
	if p == nil {
		return "", true
	}
	return capi.ReadString(unsafe.Pointer(p))
}

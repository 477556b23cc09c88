//go:build cgo

package main

/*
#include <stdlib.h>
*/
import "C"

import (
	"sync"
	"unsafe"

	"github.com/certkeep/certkeep/certadm"
)

// buffers are what programs have to free: CertSrvBackupFree frees these and
// nothing else, so that a second time, or another pointer, does no harm.
var buffers struct {
	mu sync.Mutex
	m  map[uintptr]unsafe.Pointer
}

// allocate copies b to memory of C's, with zeros after it; nil if there is none.
func allocate(b []byte, zeros int) unsafe.Pointer {
	// calloc, for cgo's malloc ends the process where there is no memory left.
	p := C.calloc(C.size_t(len(b)+zeros), 1)
	if p == nil {
		return nil
	}
	copy(unsafe.Slice((*byte)(p), len(b)), b)
	buffers.mu.Lock()
	defer buffers.mu.Unlock()
	if buffers.m == nil {
		buffers.m = make(map[uintptr]unsafe.Pointer)
	}
	buffers.m[uintptr(p)] = p
	return p
}

func free(at uintptr) {
	buffers.mu.Lock()
	p := buffers.m[at]
	delete(buffers.m, at)
	buffers.mu.Unlock()
	if p != nil {
		C.free(p)
	}
}

func outOfMemory(fn string) certadm.HRESULT {
	return library.Fail(fn, &certadm.Error{Op: fn, Code: certadm.EOutOfMemory})
}

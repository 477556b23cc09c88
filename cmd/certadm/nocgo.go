//go:build !cgo

// Command certadm is Certadm.dll on certkeep, a library for C programs. This was
// built without a C compiler and says only how to build it.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "certadm is a library for C programs, and needs a C compiler to build:\n"+
		"  CGO_ENABLED=1 go build -buildmode=c-shared -o libcertadm.so ./cmd/certadm")
	os.Exit(2)
}

//go:build windows

// Command goreload loads certadm.dll, calls it, and gives it back, three times: a
// Go program with a second Go runtime in it.
package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	for i := 1; i <= 3; i++ {
		if err := round(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "round %d: %v\n", i, err)
			os.Exit(1)
		}
		fmt.Printf("round %d: online\n", i)
	}
}

func round(path, name string) error {
	dll, err := windows.LoadDLL(path)
	if err != nil {
		return err
	}
	proc, err := dll.FindProc("CertSrvIsServerOnlineW")
	if err != nil {
		return err
	}
	server, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	var online int32
	if hr, _, _ := proc.Call(uintptr(unsafe.Pointer(server)), uintptr(unsafe.Pointer(&online))); hr != 0 || online != 1 {
		return fmt.Errorf("CertSrvIsServerOnlineW: %#x, %d", uint32(hr), online)
	}
	return dll.Release()
}

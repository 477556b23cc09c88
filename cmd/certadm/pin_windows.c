//go:build cgo

#include <windows.h>

// A Go runtime cannot be unloaded: its threads would go on in memory that is not
// there any more. So the library pins itself as soon as it is loaded. FreeLibrary
// succeeds, and the next LoadLibrary finds it as it was. GetModuleHandleEx is among
// what may be called while a library is being loaded.
__attribute__((constructor)) static void pin(void) {
	HMODULE self;
	GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (LPCWSTR)pin, &self);
}

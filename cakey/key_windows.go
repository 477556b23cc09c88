package cakey

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// cryptKeyProvInfo is CRYPT_KEY_PROV_INFO.
type cryptKeyProvInfo struct {
	container, provider *uint16
	provType, flags     uint32
	paramCount          uint32
	params              unsafe.Pointer
	keySpec             uint32
}

const (
	certKeyProvInfo = 2 // CERT_KEY_PROV_INFO_PROP_ID
	maxProperty     = 1 << 16
)

func (c *machineCert) keyInfo() (keyInfo, error) {
	const call = "CertGetCertificateContextProperty(CERT_KEY_PROV_INFO_PROP_ID)"
	var size uint32
	get := func(p unsafe.Pointer) error {
		r, _, errno := procCertGetCertificateContextProperty.Call(uintptr(unsafe.Pointer(c.context)), certKeyProvInfo, uintptr(p), uintptr(unsafe.Pointer(&size)))
		if r != 0 {
			return nil
		}
		e := asCall(call, errno)
		if codeOf(e) == codeNotFound {
			return errMissing
		}
		return e
	}
	if err := get(nil); err != nil {
		return keyInfo{}, err
	}
	if size < uint32(unsafe.Sizeof(cryptKeyProvInfo{})) || size > maxProperty {
		return keyInfo{}, &callError{call: call}
	}
	// Of words, so that it is aligned; its strings are in the same buffer.
	buf := make([]uint64, (size+7)/8)
	if err := get(unsafe.Pointer(&buf[0])); err != nil {
		return keyInfo{}, err
	}
	info := (*cryptKeyProvInfo)(unsafe.Pointer(&buf[0]))
	return keyInfo{provider: windows.UTF16PtrToString(info.provider), container: windows.UTF16PtrToString(info.container)}, nil
}

var (
	ncrypt                 = windows.NewLazySystemDLL("ncrypt.dll")
	procNCryptGetProperty  = ncrypt.NewProc("NCryptGetProperty")
	procNCryptFreeObject   = ncrypt.NewProc("NCryptFreeObject")
	advapi32               = windows.NewLazySystemDLL("advapi32.dll")
	procCryptGetUserKey    = advapi32.NewProc("CryptGetUserKey")
	procCryptGetKeyParam   = advapi32.NewProc("CryptGetKeyParam")
	procCryptDestroyKey    = advapi32.NewProc("CryptDestroyKey")
	procCryptGetProvParam  = advapi32.NewProc("CryptGetProvParam")
	exportPolicyProperty   = "Export Policy" // NCRYPT_EXPORT_POLICY_PROPERTY
	implTypeProperty       = "Impl Type"     // NCRYPT_IMPL_TYPE_PROPERTY
	providerHandleProperty = "Provider Handle"
)

const (
	allowExport   = 0x1 // NCRYPT_ALLOW_EXPORT_FLAG
	allowPlain    = 0x2 // NCRYPT_ALLOW_PLAINTEXT_EXPORT_FLAG
	implHardware  = 0x1 // NCRYPT_IMPL_HARDWARE_FLAG, CRYPT_IMPL_HARDWARE
	implRemovable = 0x8 // NCRYPT_IMPL_REMOVABLE_FLAG, CRYPT_IMPL_REMOVABLE
	kpPermissions = 6   // KP_PERMISSIONS
	permExport    = 0x4 // CRYPT_EXPORT
	ppImpType     = 3   // PP_IMPTYPE
)

func (c *machineCert) open() (keyState, error) {
	var handle windows.Handle
	var spec uint32
	var mustFree bool
	err := windows.CryptAcquireCertificatePrivateKey(c.context,
		windows.CRYPT_ACQUIRE_SILENT_FLAG|windows.CRYPT_ACQUIRE_NO_HEALING|windows.CRYPT_ACQUIRE_COMPARE_KEY_FLAG|windows.CRYPT_ACQUIRE_ALLOW_NCRYPT_KEY_FLAG,
		nil, &handle, &spec, &mustFree)
	if err != nil {
		return keyState{}, asCall("CryptAcquireCertificatePrivateKey", err)
	}
	if spec == windows.CERT_NCRYPT_KEY_SPEC {
		if mustFree {
			defer procNCryptFreeObject.Call(uintptr(handle))
		}
		return ncryptState(handle), nil
	}
	if mustFree {
		defer windows.CryptReleaseContext(handle, 0)
	}
	return legacyState(handle, spec), nil
}

// ncryptState asks a key of the newer interface (CNG). What is not answered
// stays unknown: the export itself decides then.
func ncryptState(key windows.Handle) (s keyState) {
	var policy uint32
	if ncryptProperty(key, exportPolicyProperty, unsafe.Pointer(&policy), unsafe.Sizeof(policy)) {
		s.known, s.exportable = true, policy&(allowExport|allowPlain) != 0
	}
	var provider windows.Handle
	if ncryptProperty(key, providerHandleProperty, unsafe.Pointer(&provider), unsafe.Sizeof(provider)) {
		defer procNCryptFreeObject.Call(uintptr(provider))
		var impl uint32
		if ncryptProperty(provider, implTypeProperty, unsafe.Pointer(&impl), unsafe.Sizeof(impl)) {
			s.hardware = impl&(implHardware|implRemovable) != 0
		}
	}
	return s
}

// ncryptProperty reads a property of fixed size and says whether that is what came.
func ncryptProperty(object windows.Handle, name string, p unsafe.Pointer, size uintptr) bool {
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil || procNCryptGetProperty.Find() != nil {
		return false
	}
	var got uint32
	r, _, _ := procNCryptGetProperty.Call(uintptr(object), uintptr(unsafe.Pointer(wide)), uintptr(p), size, uintptr(unsafe.Pointer(&got)), 0)
	return uint32(r) == 0 && uintptr(got) == size
}

// legacyState asks a key of the older interface (CryptoAPI).
func legacyState(prov windows.Handle, spec uint32) (s keyState) {
	var impl uint32
	size := uint32(unsafe.Sizeof(impl))
	if r, _, _ := procCryptGetProvParam.Call(uintptr(prov), ppImpType, uintptr(unsafe.Pointer(&impl)), uintptr(unsafe.Pointer(&size)), 0); r != 0 {
		s.hardware = impl&(implHardware|implRemovable) != 0
	}
	var key windows.Handle
	if r, _, _ := procCryptGetUserKey.Call(uintptr(prov), uintptr(spec), uintptr(unsafe.Pointer(&key))); r == 0 {
		return s
	}
	defer procCryptDestroyKey.Call(uintptr(key))
	var permissions uint32
	size = uint32(unsafe.Sizeof(permissions))
	if r, _, _ := procCryptGetKeyParam.Call(uintptr(key), kpPermissions, uintptr(unsafe.Pointer(&permissions)), uintptr(unsafe.Pointer(&size)), 0); r != 0 {
		s.known, s.exportable = true, permissions&permExport != 0
	}
	return s
}

package adcs

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/certkeep/certkeep/adcs/regfile"
)

// Functions that golang.org/x/sys does not have, or not for every type of value.
var (
	advapi32       = windows.NewLazySystemDLL("advapi32.dll")
	regSetValueExW = advapi32.NewProc("RegSetValueExW")
	regFlushKey    = advapi32.NewProc("RegFlushKey")

	crypt32       = windows.NewLazySystemDLL("crypt32.dll")
	certOpenStore = crypt32.NewProc("CertOpenStore")
)

// maxValue bounds one value, in bytes.
const maxValue = 8 << 20

type windowsRegistry struct{}

func (windowsRegistry) open(key string, access uint32) (registry.Key, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, access)
	return k, number(err)
}

func (r windowsRegistry) value(key, name string) (v regfile.Value, err error) {
	k, err := r.open(key, registry.QUERY_VALUE)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	return read(k, name)
}

// read gives the buffer exactly the value's size: with more, Windows adds a
// terminator to a string that has none.
func read(k registry.Key, name string) (regfile.Value, error) {
	v := regfile.Value{Name: name}
	for {
		n, kind, err := k.GetValue(name, nil)
		if err != nil {
			return v, number(err)
		}
		if n > maxValue {
			return v, fmt.Errorf("value %q has %d bytes", name, n)
		}
		v.Type, v.Data = regfile.Type(kind), make([]byte, n)
		if n == 0 {
			return v, nil
		}
		n, kind, err = k.GetValue(name, v.Data)
		if errors.Is(err, registry.ErrShortBuffer) {
			continue // it has grown since
		}
		if err != nil {
			return v, number(err)
		}
		v.Type, v.Data = regfile.Type(kind), v.Data[:n]
		return v, nil
	}
}

func (r windowsRegistry) values(key string) (list []regfile.Value, err error) {
	k, err := r.open(key, registry.QUERY_VALUE)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	names, err := k.ReadValueNames(0)
	if err != nil {
		return nil, number(err)
	}
	for _, name := range names {
		v, err := read(k, name)
		if errors.Is(err, registry.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, v)
	}
	return list, nil
}

func (r windowsRegistry) subkeys(key string) (names []string, err error) {
	k, err := r.open(key, registry.ENUMERATE_SUB_KEYS)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	names, err = k.ReadSubKeyNames(0)
	return names, number(err)
}

func (r windowsRegistry) set(key string, v regfile.Value) (err error) {
	k, err := r.open(key, registry.SET_VALUE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	name, err := windows.UTF16PtrFromString(v.Name)
	if err != nil {
		return err
	}
	code, _, _ := regSetValueExW.Call(uintptr(k), uintptr(unsafe.Pointer(name)), 0, uintptr(v.Type),
		uintptr(unsafe.Pointer(unsafe.SliceData(v.Data))), uintptr(len(v.Data)))
	return result(code)
}

func (r windowsRegistry) remove(key, name string) (err error) {
	k, err := r.open(key, registry.SET_VALUE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	return number(k.DeleteValue(name))
}

func (r windowsRegistry) flush(key string) (err error) {
	k, err := r.open(key, registry.QUERY_VALUE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	code, _, _ := regFlushKey.Call(uintptr(k))
	return result(code)
}

// result is the error of a function that returns a Win32 error number.
func result(code uintptr) error {
	if code == 0 {
		return nil
	}
	return numbered{windows.Errno(code)}
}

// openStore is CertOpenStore for a system store. The version of golang.org/x/sys
// takes the name as a number, which Go may not keep a pointer in.
func openStore(flags uint32, name *uint16) (windows.Handle, error) {
	h, _, err := certOpenStore.Call(windows.CERT_STORE_PROV_SYSTEM, 0, 0, uintptr(flags), uintptr(unsafe.Pointer(name)))
	if h == 0 {
		return 0, err
	}
	return windows.Handle(h), nil
}

// encodedOf copies a certificate out of its store.
func encodedOf(c *windows.CertContext) []byte {
	return append([]byte(nil), unsafe.Slice(c.EncodedCert, c.Length)...)
}

package adcs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/pause"
)

// windowsSystem is Windows itself. Its methods check nothing and decide nothing.
type windowsSystem struct {
	windowsRegistry
	windowsServices
}

func newSystem() (system, error) { return windowsSystem{}, nil }

// numbered is an error of Windows with its number as an HRESULT beside it.
type numbered struct{ errno syscall.Errno }

func (e numbered) Error() string { return e.errno.Error() }
func (e numbered) Unwrap() []error {
	return []error{e.errno, certadm.FromWin32(uint32(e.errno))}
}

// number adds the number to an error of Windows.
func number(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != 0 {
		return numbered{errno}
	}
	return err
}

// expand does not ask the environment for the machine's places: what another run, or
// the service, is to find again must not depend on who started this one.
func (windowsSystem) expand(s string) (string, error) {
	s, err := expandKnown(s, []known{
		{"SystemRoot", windows.GetSystemWindowsDirectory}, {"windir", windows.GetSystemWindowsDirectory},
		{"ProgramData", programData}, {"ALLUSERSPROFILE", programData},
	})
	if err != nil {
		return "", number(err)
	}
	text, err := registry.ExpandString(s)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s, err)
	}
	if strings.Contains(text, "%") {
		return "", fmt.Errorf("%s: there is no such environment variable", text)
	}
	return text, nil
}

func programData() (string, error) {
	return windows.KnownFolderPath(windows.FOLDERID_ProgramData, windows.KF_FLAG_DEFAULT)
}

const computerNamePhysicalNetBIOS = 4 // COMPUTER_NAME_FORMAT, sysinfoapi.h

func (windowsSystem) machine() (m machineNames, err error) {
	for _, want := range []struct {
		kind uint32
		name *string
	}{
		{computerNamePhysicalNetBIOS, &m.netBIOS},
		{windows.ComputerNamePhysicalDnsHostname, &m.host},
		{windows.ComputerNamePhysicalDnsFullyQualified, &m.qualified},
	} {
		n := uint32(256)
		buf := make([]uint16, n)
		if err := windows.GetComputerNameEx(want.kind, &buf[0], &n); err != nil {
			return m, number(err)
		}
		*want.name = windows.UTF16ToString(buf[:n])
	}
	return m, nil
}

// Bounds of what is read; a store of a machine has some hundred certificates.
const (
	maxStore       = 1 << 16 // certificates
	maxCertificate = 1 << 20 // bytes of one
)

func (windowsSystem) certificates(store string) (list [][]byte, err error) {
	name, err := windows.UTF16PtrFromString(store)
	if err != nil {
		return nil, err
	}
	const flags = windows.CERT_SYSTEM_STORE_LOCAL_MACHINE | windows.CERT_STORE_READONLY_FLAG | windows.CERT_STORE_OPEN_EXISTING_FLAG
	s, err := openStore(flags, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, number(err)
	}
	defer func() { err = errors.Join(err, windows.CertCloseStore(s, 0)) }()
	var c *windows.CertContext
	for len(list) < maxStore {
		// Each call frees the one before, the last one included.
		if c, err = windows.CertEnumCertificatesInStore(s, c); c == nil {
			break
		}
		if 0 < c.Length && c.Length <= maxCertificate {
			list = append(list, encodedOf(c))
		}
	}
	if c != nil {
		return list, windows.CertFreeCertificateContext(c)
	}
	if errors.Is(err, syscall.Errno(windows.CRYPT_E_NOT_FOUND)) || errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		err = nil
	}
	return list, number(err)
}

func (windowsSystem) native(path string) string { return path }

func (windowsSystem) sameVolume(a, b string) (bool, error) {
	va, err := volumeOf(a)
	if err != nil {
		return false, err
	}
	vb, err := volumeOf(b)
	return strings.EqualFold(va, vb), err
}

// volumeOf is the root of the volume that a path is on; that of a volume mounted in
// a directory is the directory.
func volumeOf(path string) (string, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return "", err
	}
	buf := make([]uint16, windows.MAX_LONG_PATH)
	if err := windows.GetVolumePathName(p, &buf[0], uint32(len(buf))); err != nil {
		return "", &os.PathError{Op: "GetVolumePathName", Path: path, Err: err}
	}
	return filepath.Clean(windows.UTF16ToString(buf)), nil
}

func (windowsSystem) inUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION)
}

func (windowsSystem) wait(ctx context.Context, d time.Duration) error { return pause.For(ctx, d) }

package cakey

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// throwaway says that this machine's certificate store may be written to. The
// tests remove what they add, but a machine that matters is no place for them.
func throwaway(t *testing.T) {
	t.Helper()
	if os.Getenv("CERTKEEP_TEST_MACHINE_STORE") != "1" {
		t.Skip("skipped: it adds to the local machine's store MY; CERTKEEP_TEST_MACHINE_STORE=1 allows that")
	}
}

// onWine says whether this is Wine, whose CryptAcquireCertificatePrivateKey (8.0)
// looks for keys of the user only, and does not compare them with the certificate.
var onWine = windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil

func keyset() uint32 {
	if onWine {
		return 0
	}
	return windows.CRYPT_MACHINE_KEYSET
}

// inMy does something in the machine's store MY. Wine writes it when it is closed.
func inMy(t *testing.T, do func(my windows.Handle) error) {
	t.Helper()
	my, err := windows.CertOpenStore(windows.CERT_STORE_PROV_SYSTEM_W, 0, 0, windows.CERT_SYSTEM_STORE_LOCAL_MACHINE, uintptr(unsafe.Pointer(&storeName[0])))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(my), windows.CertCloseStore(my, 0)); err != nil {
		t.Fatal(err)
	}
}

// install puts a certificate into the machine's store MY until the test ends. With
// a container it says that its key is there.
func install(t *testing.T, cert *x509.Certificate, container string) {
	t.Helper()
	c, err := windows.CertCreateCertificateContext(windows.X509_ASN_ENCODING, &cert.Raw[0], uint32(len(cert.Raw)))
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CertFreeCertificateContext(c)
	if container != "" {
		info := cryptKeyProvInfo{container: wide(t, container), provider: wide(t, testProvider), provType: provRSAFull, flags: keyset(), keySpec: atSignature}
		call(t, crypt32.NewProc("CertSetCertificateContextProperty"), uintptr(unsafe.Pointer(c)), certKeyProvInfo, 0, uintptr(unsafe.Pointer(&info)))
	}
	inMy(t, func(my windows.Handle) error {
		return windows.CertAddCertificateContextToStore(my, c, windows.CERT_STORE_ADD_NEW, nil)
	})
	t.Cleanup(func() {
		inMy(t, func(my windows.Handle) error {
			hash := Hash(cert.Raw)
			blob := windows.CryptHashBlob{Size: uint32(len(hash)), Data: &hash[0]}
			stored, err := windows.CertFindCertificateInStore(my, windows.X509_ASN_ENCODING, 0, windows.CERT_FIND_SHA1_HASH, unsafe.Pointer(&blob), nil)
			if err != nil {
				return err
			}
			return windows.CertDeleteCertificateFromStore(stored) // which frees it, too
		})
	})
}

const (
	testProvider  = "Microsoft Enhanced Cryptographic Provider v1.0"
	provRSAFull   = 1
	atSignature   = 2
	publicKeyBlob = 6
)

func wide(t *testing.T, s string) *uint16 {
	t.Helper()
	p, err := windows.UTF16PtrFromString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

//go:uintptrescapes
func call(t *testing.T, proc *windows.LazyProc, args ...uintptr) {
	t.Helper()
	if r, _, err := proc.Call(args...); r == 0 {
		t.Fatalf("%s: %v", proc.Name, err)
	}
}

// machineKey makes an RSA key in a container of the machine until the test ends.
func machineKey(t *testing.T, container string, exportable bool) *rsa.PublicKey {
	t.Helper()
	var prov windows.Handle
	acquire := func(flags uint32) error {
		return windows.CryptAcquireContext(&prov, wide(t, container), wide(t, testProvider), provRSAFull, flags|keyset())
	}
	if err := acquire(windows.CRYPT_NEWKEYSET); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := acquire(windows.CRYPT_DELETEKEYSET); err != nil {
			t.Errorf("the test's key is still there: %v", err)
		}
	})
	defer windows.CryptReleaseContext(prov, 0)
	var key windows.Handle
	flags := uint32(2048 << 16)
	if exportable {
		flags |= windows.CRYPT_EXPORTABLE
	}
	call(t, advapi32.NewProc("CryptGenKey"), uintptr(prov), atSignature, uintptr(flags), uintptr(unsafe.Pointer(&key)))
	defer procCryptDestroyKey.Call(uintptr(key))
	blob := make([]byte, 1024)
	size := uint32(len(blob))
	call(t, advapi32.NewProc("CryptExportKey"), uintptr(key), 0, publicKeyBlob, 0, uintptr(unsafe.Pointer(&blob[0])), uintptr(unsafe.Pointer(&size)))
	// PUBLICKEYSTRUC, RSAPUBKEY, then the modulus, little-endian.
	blob = blob[:size]
	n := slices.Clone(blob[20:])
	slices.Reverse(n)
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(binary.LittleEndian.Uint32(blob[16:]))}
}

// publicOnly stands for a key that is in a provider.
type publicOnly struct{ *rsa.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.PublicKey }
func (p publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

func TestMachineStore(t *testing.T) {
	throwaway(t)
	free := machineKey(t, "certkeep test, exportable", true)
	bound := machineKey(t, "certkeep test, not exportable", false)
	for _, c := range []struct {
		name      string
		key       *rsa.PublicKey
		container string
		want      error
		text      string
	}{
		{"exportable", free, "certkeep test, exportable", nil, ""},
		{"not exportable", bound, "certkeep test, not exportable", ErrNotExportable, ""},
		{"another key", free, "certkeep test, not exportable", nil, "NTE_BAD_PUBLIC_KEY"},
		{"container gone", free, "certkeep test, gone", nil, "CryptAcquireCertificatePrivateKey"},
		{"without a key", free, "", ErrNoKey, ""},
	} {
		if onWine && strings.HasPrefix(c.text, "NTE_") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			root := ecKey(t)
			cert := certOf(t, "Issuing CA", publicOnly{c.key}, certOf(t, "Root CA", root, nil, nil), root)
			install(t, cert, c.container)
			dir := tempDir(t)
			r, err := Export(t.Context(), Store(Hash(cert.Raw)), ExportOptions{File: filepath.Join(dir, "ca.pfx"), Password: password})
			switch {
			case c.want != nil:
				if !errors.Is(err, c.want) {
					t.Errorf("%v; want %v", err, c.want)
				}
				empty(t, dir)
			case c.text != "":
				t.Logf("refused: %v", err)
				if err == nil || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v; want %q", err, c.text)
				}
				empty(t, dir)
			case err == nil:
				t.Logf("exported: %s, unchecked: %v", r.Protection, r.Unchecked)
			default:
				// Wine's PFXExportCertStoreEx is a stub that fails and sets no error. That
				// it was reached means that store, certificate and key were found and asked.
				e, ok := errors.AsType[*callError](err)
				if !ok || !strings.HasPrefix(e.call, "PFXExportCertStoreEx") || e.code != 0 {
					t.Errorf("%v", err)
				}
				t.Logf("not exported: %v", err)
				empty(t, dir)
			}
		})
	}
	if _, err := Store(Hash([]byte("none"))).PFX(t.Context(), password); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("%v", err)
	}
}

// TestPrivateFile: an exported file has its own access list, from the start.
func TestPrivateFile(t *testing.T) {
	key := rsaKey(t)
	dir := tempDir(t)
	file := filepath.Join(dir, "ca.pfx")
	if _, err := Export(t.Context(), InMemory(key, chainOf(t, key)...), ExportOptions{File: file, Password: password}); err != nil {
		t.Fatal(err)
	}
	sd, err := windows.GetNamedSecurityInfo(file, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	text := sd.String()
	t.Logf("access list: %s", text)
	// Wine has Unix modes below, and shows SYSTEM and the owner; for a mode that lets
	// others read it shows everyone.
	for _, other := range []string{";WD)", ";BU)", ";AU)", ";BG)", ";IU)"} {
		if strings.Contains(text, other) || !strings.Contains(text, ";SY)") {
			t.Errorf("access list %s", text)
		}
	}
	if _, err := Export(t.Context(), InMemory(key, chainOf(t, key)...), ExportOptions{File: file, Password: password}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := renameNew(filepath.Join(dir, "new"), file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("renamed over a file: %v", err)
	}
}

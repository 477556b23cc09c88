package cakey

import (
	"crypto/sha1"
	"errors"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// asCall turns an error of package windows into one with its number. Some of
// Wine's stubs fail without any.
func asCall(call string, err error) error {
	if err == nil {
		return nil
	}
	e := &callError{call: call}
	if errno, ok := errors.AsType[syscall.Errno](err); ok && errno != syscall.EINVAL {
		e.code = uint32(errno) // EINVAL is package windows' own, for 0
	}
	return e
}

type machineStore struct{ handle windows.Handle }

// storeName is "MY". CertOpenStore is an ordinary function to Go and takes the name
// as a number, which keeps nothing alive or in its place: a variable of the package
// needs neither.
var storeName = [...]uint16{'M', 'Y', 0}

func openStore() (store, error) {
	h, err := windows.CertOpenStore(windows.CERT_STORE_PROV_SYSTEM_W, 0, 0,
		windows.CERT_SYSTEM_STORE_LOCAL_MACHINE|windows.CERT_STORE_READONLY_FLAG, uintptr(unsafe.Pointer(&storeName[0])))
	if err != nil {
		return nil, asCall("CertOpenStore", err)
	}
	return &machineStore{h}, nil
}

func (s *machineStore) close() error {
	return asCall("CertCloseStore", windows.CertCloseStore(s.handle, 0))
}

func (s *machineStore) find(hash [sha1.Size]byte) (storeCert, error) {
	blob := windows.CryptHashBlob{Size: uint32(len(hash)), Data: &hash[0]}
	c, err := windows.CertFindCertificateInStore(s.handle, windows.X509_ASN_ENCODING, 0, windows.CERT_FIND_SHA1_HASH, unsafe.Pointer(&blob), nil)
	if err != nil {
		if e := asCall("CertFindCertificateInStore", err); codeOf(e) != codeNotFound {
			return nil, e
		}
		return nil, errMissing
	}
	return &machineCert{c}, nil
}

type machineCert struct{ context *windows.CertContext }

func (c *machineCert) close() error {
	return asCall("CertFreeCertificateContext", windows.CertFreeCertificateContext(c.context))
}

func (c *machineCert) der() []byte { return derOf(c.context) }

func derOf(c *windows.CertContext) []byte { return unsafe.Slice(c.EncodedCert, c.Length) }

// export puts copies into a store in memory: only this certificate with its
// reference to the key, the others bare, so that no other key goes along. Therefore
// REPORT_NO_PRIVATE_KEY cannot be given, which would fail for the others;
// that the key is in the PFX is seen when it is read back.
func (c *machineCert) export(password []uint16, strong bool) ([]byte, error) {
	mem, err := windows.CertOpenStore(windows.CERT_STORE_PROV_MEMORY, 0, 0, 0, 0)
	if err != nil {
		return nil, asCall("CertOpenStore", err)
	}
	defer windows.CertCloseStore(mem, 0)
	if err := windows.CertAddCertificateContextToStore(mem, c.context, windows.CERT_STORE_ADD_ALWAYS, nil); err != nil {
		return nil, asCall("CertAddCertificateContextToStore", err)
	}
	chain, err := c.chain()
	if err != nil {
		return nil, err
	}
	for _, der := range chain {
		if err := addBare(mem, der); err != nil {
			return nil, err
		}
	}
	return exportPFX(mem, password, strong)
}

// addBare adds a certificate without the properties that its store keeps of it.
func addBare(mem windows.Handle, der []byte) error {
	bare, err := windows.CertCreateCertificateContext(windows.X509_ASN_ENCODING, &der[0], uint32(len(der)))
	if err != nil {
		return asCall("CertCreateCertificateContext", err)
	}
	defer windows.CertFreeCertificateContext(bare)
	return asCall("CertAddCertificateContextToStore", windows.CertAddCertificateContextToStore(mem, bare, windows.CERT_STORE_ADD_USE_EXISTING, nil))
}

// certChainCacheOnly keeps CertGetCertificateChain off the network.
const certChainCacheOnly = 0x4 // CERT_CHAIN_CACHE_ONLY_URL_RETRIEVAL

// maxChain bounds what a loop of cross-certificates could come to.
const maxChain = 32

// chain returns the certificates above, as far as this machine knows them. An
// incomplete chain is no error: the key is what cannot be had elsewhere.
func (c *machineCert) chain() ([][]byte, error) {
	var para windows.CertChainPara
	para.Size = uint32(unsafe.Sizeof(para))
	var got *windows.CertChainContext
	err := windows.CertGetCertificateChain(0, c.context, nil, c.context.Store, &para, certChainCacheOnly, 0, &got)
	if err != nil {
		return nil, asCall("CertGetCertificateChain", err)
	}
	defer windows.CertFreeCertificateChain(got)
	if got.ChainCount == 0 {
		return nil, nil
	}
	simple := *got.Chains
	elements := unsafe.Slice(simple.Elements, simple.NumElements)
	var above [][]byte
	for _, e := range elements[:min(len(elements), maxChain)] {
		if der := derOf(e.CertContext); !slices.Equal(der, c.der()) {
			above = append(above, slices.Clone(der))
		}
	}
	return above, nil
}

var (
	crypt32                               = windows.NewLazySystemDLL("crypt32.dll")
	procPFXExportCertStoreEx              = crypt32.NewProc("PFXExportCertStoreEx")
	procCertGetCertificateContextProperty = crypt32.NewProc("CertGetCertificateContextProperty")
)

// Flags of PFXExportCertStoreEx (wincrypt.h). PKCS12_PROTECT_TO_DOMAIN_SIDS is
// not among them: the domain may be what was lost.
const (
	reportNotAbleToExport = 0x2 // REPORT_NOT_ABLE_TO_EXPORT_PRIVATE_KEY
	exportPrivateKeys     = 0x4 // EXPORT_PRIVATE_KEYS
	exportSilent          = 0x40
	exportPBES2           = 0x80 // PKCS12_EXPORT_PBES2_PARAMS
)

// pbes2Params is PKCS12_PBES2_EXPORT_PARAMS.
type pbes2Params struct {
	size       uint32
	descriptor unsafe.Pointer
	algorithm  *uint16
}

const maxPFX = 4 << 20

func exportPFX(mem windows.Handle, password []uint16, strong bool) ([]byte, error) {
	flags := uintptr(exportPrivateKeys | reportNotAbleToExport | exportSilent)
	var params *pbes2Params
	if strong {
		alg, err := windows.UTF16PtrFromString("AES256-SHA256") // PKCS12_PBES2_ALG_AES256_SHA256
		if err != nil {
			return nil, err
		}
		params = &pbes2Params{algorithm: alg}
		params.size = uint32(unsafe.Sizeof(*params))
		flags |= exportPBES2
	}
	var blob windows.CryptDataBlob
	var data []byte
	for range 3 { // the first call asks for the size, which may be an estimate
		r, _, errno := procPFXExportCertStoreEx.Call(uintptr(mem), uintptr(unsafe.Pointer(&blob)), uintptr(unsafe.Pointer(&password[0])),
			uintptr(unsafe.Pointer(params)), flags)
		switch {
		case r == 0 && (data == nil || errno != syscall.Errno(codeMoreData)):
			return nil, asCall("PFXExportCertStoreEx", errno)
		case r != 0 && data != nil:
			return data[:min(int(blob.Size), len(data))], nil
		}
		if blob.Size == 0 || blob.Size > maxPFX {
			return nil, &callError{call: "PFXExportCertStoreEx (size)", code: uint32(errno.(syscall.Errno))}
		}
		data = make([]byte, blob.Size)
		blob.Data = &data[0]
	}
	return nil, &callError{call: "PFXExportCertStoreEx", code: codeMoreData}
}

package adcs

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// configure makes what the role makes, with the registry package rather than with
// what is under test.
func configure(t *testing.T, ca *issuer) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key := func(path string) registry.Key {
		k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, path, registry.ALL_ACCESS)
		check(err)
		t.Cleanup(func() { check(k.Close()) })
		return k
	}
	c := key(configurationKey)
	check(c.SetStringValue("Active", "Wine CA"))
	check(c.SetStringValue("DBDirectory", `C:\windows\system32\CertLog`))
	check(c.SetExpandStringValue("DBLogDirectory", `%SystemRoot%\system32\CertLog`))
	check(c.SetStringValue("DBSystemDirectory", `C:\CertSystem`))
	check(c.SetBinaryValue("DBLastFullBackup", []byte{1, 2, 3, 4, 5, 6, 7, 8}))
	a := key(configurationKey + `\Wine CA`)
	check(a.SetStringValue("CommonName", "Wine CA"))
	check(a.SetStringValue("Größe", "ü"))
	check(a.SetDWordValue(interfaceFlags, 0x641))
	check(a.SetQWordValue("wide", 1<<40))
	check(a.SetStringsValue(crlURLs, []string{`65:C:\windows\system32\CertSrv\CertEnroll\%3%8%9.crl`, "79:ldap:///CN=%7%8"}))
	check(a.SetStringsValue("CACertHash", []string{spaced(ca.cert.Raw)}))
	check(key(configurationKey+`\Wine CA\CSP`).SetStringValue("Provider", "Microsoft Software Key Storage Provider"))
	check(key(sharesKey).SetStringsValue("CertEnroll", []string{"CSCFlags=768", `Path=C:\windows\system32\CertSrv\CertEnroll`}))

	name, err := windows.UTF16PtrFromString("MY")
	check(err)
	s, err := openStore(windows.CERT_SYSTEM_STORE_LOCAL_MACHINE, name)
	check(err)
	der := ca.cert.Raw
	x, err := windows.CertCreateCertificateContext(windows.X509_ASN_ENCODING, unsafe.SliceData(der), uint32(len(der)))
	check(err)
	check(windows.CertAddCertificateContextToStore(s, x, windows.CERT_STORE_ADD_ALWAYS, nil))
	check(windows.CertFreeCertificateContext(x))
	check(windows.CertCloseStore(s, 0))
	for _, dir := range []string{`C:\windows\system32\CertLog`, `C:\CertSystem`} {
		check(os.MkdirAll(dir, 0o700))
	}
	check(os.WriteFile(`C:\windows\CAPolicy.inf`, []byte("[Version]\r\n"), 0o600))
}

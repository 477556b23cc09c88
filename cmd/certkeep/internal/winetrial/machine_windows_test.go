package winetrial

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/serve"
)

// The machine. The authority's directory is where the registry leads.
const (
	authorityDir = `C:\pki`
	serviceName  = "CertSvc"
	asService    = "run-as-service"
	logFile      = `C:\certsvc.log`
	failFile     = `C:\fail` // makes the service stop as it starts
)

// TestService is Certificate Services, when the service manager calls it.
func TestService(t *testing.T) {
	if !slices.Contains(os.Args, asService) {
		t.Skip("part of TestWine")
	}
	if err := svc.Run(serviceName, service{}); err != nil {
		t.Fatal(err)
	}
}

type service struct{}

func note(err error) {
	f, ferr := os.OpenFile(logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if ferr != nil {
		return
	}
	fmt.Fprintln(f, err)
	f.Close()
}

func (service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	status <- svc.Status{State: svc.StartPending}
	if _, err := os.Stat(failFile); err == nil {
		return true, 939523546 // what AD CS says of a database that was not shut down
	}
	a, err := serve.Start(context.Background(), serve.Options{Dir: authorityDir, Wire: serve.Wire{Listen: "127.0.0.1:0"}})
	if err != nil {
		note(err)
		return true, 1
	}
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop}
	for r := range requests {
		switch r.Cmd {
		case svc.Interrogate:
			status <- r.CurrentStatus
		case svc.Stop, svc.Shutdown:
			status <- svc.Status{State: svc.StopPending}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := a.Stop(ctx); err != nil {
				note(err)
				return true, 2
			}
			return false, 0
		}
	}
	return false, 0
}

// TestSetUp writes down what setting up the role does: the registry, the
// certificate's place in the machine's store, the service.
func TestSetUp(t *testing.T) {
	program := os.Getenv("WINETRIAL_SERVICE")
	if program == "" {
		t.Skip("part of TestWine")
	}
	server, err := certsrv.New(authorityDir, certsrv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	der, name := server.CACertificate().Raw, server.Config().Name
	sum := sha1.Sum(der)
	const configuration = `SYSTEM\CurrentControlSet\Services\CertSvc\Configuration`
	err = errors.Join(
		text(configuration, "Active", name),
		text(configuration, "DBDirectory", authorityDir+`\database\`+name+".db"),
		text(configuration, "DBLogDirectory", authorityDir+`\log`),
		text(configuration, "DBSystemDirectory", authorityDir+`\system`),
		text(configuration+`\`+name, "CommonName", name),
		text(configuration+`\`+name+`\CSP`, "Provider", "Microsoft Software Key Storage Provider"),
		lines(configuration+`\`+name, "CACertHash", hex.EncodeToString(sum[:])),
		lines(configuration+`\`+name, "CRLPublicationURLs", `65:C:\windows\system32\CertSrv\CertEnroll\%3%8%9.crl`, "0:http://pki.example/%3%8%9.crl"),
		number(configuration+`\`+name, "InterfaceFlags", 0x641),
		number(configuration+`\`+name, "CAType", 3),
		lines(`SYSTEM\CurrentControlSet\Services\LanmanServer\Shares`, name+"$", "Path="+authorityDir),
		os.WriteFile(`C:\windows\CAPolicy.inf`, []byte("[Version]\r\nSignature=\"$Windows NT$\"\r\n"), 0o600),
		trust(der), install(program),
	)
	if err != nil {
		t.Fatal(err)
	}
}

func key(path string, set func(registry.Key) error) error {
	k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, path, registry.ALL_ACCESS)
	if err != nil {
		return err
	}
	return errors.Join(set(k), k.Close())
}

func text(path, name, value string) error {
	return key(path, func(k registry.Key) error { return k.SetStringValue(name, value) })
}

func lines(path, name string, values ...string) error {
	return key(path, func(k registry.Key) error { return k.SetStringsValue(name, values) })
}

func number(path, name string, value uint32) error {
	return key(path, func(k registry.Key) error { return k.SetDWordValue(name, value) })
}

// myStore is "MY". CertOpenStore takes it as a number, which keeps nothing alive: a
// variable of the package needs no keeping.
var myStore = [...]uint16{'M', 'Y', 0}

// trust puts the certificate where AD CS has its own: the store MY of the machine.
func trust(der []byte) error {
	store, err := windows.CertOpenStore(windows.CERT_STORE_PROV_SYSTEM_W, 0, 0, windows.CERT_SYSTEM_STORE_LOCAL_MACHINE, uintptr(unsafe.Pointer(&myStore[0])))
	if err != nil {
		return err
	}
	defer windows.CertCloseStore(store, 0)
	c, err := windows.CertCreateCertificateContext(windows.X509_ASN_ENCODING, &der[0], uint32(len(der)))
	if err != nil {
		return err
	}
	defer windows.CertFreeCertificateContext(c)
	return windows.CertAddCertificateContextToStore(store, c, windows.CERT_STORE_ADD_ALWAYS, nil)
}

func install(program string) error {
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer m.Disconnect()
	s, err := m.CreateService(serviceName, program, mgr.Config{StartType: mgr.StartManual, DisplayName: "Certificate Services"},
		"-test.run=^TestService$", asService)
	if err != nil {
		return err
	}
	return s.Close()
}

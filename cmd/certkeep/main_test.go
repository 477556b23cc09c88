package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// writeRequest makes a certificate request for the scripts.
func writeRequest(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "host.example"}}, key)
	if err != nil {
		return err
	}
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), 0o600)
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childVerb { // the demo, run in the test's own process
		os.Exit(mainStatus())
	}
	testscript.Main(m, map[string]func(){
		programName: func() { os.Exit(guardedStatus()) },
		testPlugin:  func() { os.Exit(testPluginStatus()) },
	})
}

// TestScript runs the command line as users do: testdata/script holds a script a
// subject.
func TestScript(t *testing.T) { testscript.Run(t, scripts("testdata/script")) }

// scripts are those in a directory.
func scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"CERTKEEP_USER", "CERTKEEP_PASSWORD_FILE", "CERTKEEP_REPOSITORY", "CERTKEEP_IDENTITY_FILE", "CERTKEEP_HOST_KEY", "CERTKEEP_ROOT_KEY"} {
				e.Setenv(name, "")
			}
			e.Values[servedKey{}] = &servedBox{}
			return writeRequest(filepath.Join(e.WorkDir, "host.csr"))
		},
	}
}

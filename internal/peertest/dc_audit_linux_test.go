package peertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
)

// auditLog is what the domain controller's log says of authentications from
// some moment on.
type auditLog struct {
	path  string
	start int
}

func openAudit(t *testing.T, dir string) auditLog {
	t.Helper()
	a := auditLog{path: filepath.Join(dir, "samba.log")}
	a.start = len(a.read(t))
	return a
}

func (a auditLog) read(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(a.path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[a.start:])
}

// find waits for a line with all of these words: the controller may write it
// after its answer.
func (a auditLog) find(t *testing.T, words ...string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		text := a.read(t)
		for line := range strings.Lines(text) {
			found := true
			for _, w := range words {
				found = found && strings.Contains(line, w)
			}
			if found {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the domain controller's log has no line with %q:\n%s", words, tail([]byte(text), 4096))
		}
	}
}

// accepted: the controller took the caller of an RPC for the domain's user, by
// the mechanism that was meant.
func (a auditLog) accepted(t *testing.T, l login) {
	t.Helper()
	if l.typ == dcerpc.AuthNTLM || strings.HasPrefix(l.name, "SPNEGO NTLM") {
		a.find(t, "Auth: [DCE/RPC,NTLMSSP]", `\[`+dcUser+`]`, "with [NTLMv2] status [NT_STATUS_OK]", "workstation [PEER]")
		a.find(t, "Successful AuthZ: [DCE/RPC,NTLMSSP] user ["+dcDomain+`]\[`+dcUser+"]")
		return
	}
	a.find(t, "Successful AuthZ: [DCE/RPC,krb5] user ["+dcDomain+`]\[`+dcUser+"]")
}

// refused: the controller refused somebody, for this reason.
func (a auditLog) refused(t *testing.T, status string) {
	t.Helper()
	a.find(t, "Auth: [", "status ["+status+"]")
	if strings.Contains(a.read(t), "Successful AuthZ: [DCE/RPC") {
		t.Error("and yet it let somebody in")
	}
}

package csra

import (
	"testing"

	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/internal/need"
)

// notOnTheWire is what cannot apply to this protocol.
func notOnTheWire() map[int]string {
	skip := map[int]string{
		15: "the names of a server are DNS's affair, and config strings the command line's; the test's server has an address",
		55: "the rights of a caller are given by the account, no token's privilege is enabled",
	}
	if !need.Heavy() {
		skip[35] = "moving 4 GiB is for CERTKEEP_TEST_HEAVY"
	}
	return skip
}

// The suite with the stubs of both sides and nothing between them.
func TestConformanceDirect(t *testing.T) {
	certadmtest.Run(t, func(t *testing.T) certadmtest.Env { return newEnv(t, overDirect{}) }, notOnTheWire())
}

// The suite over TCP, sealed by NTLM in SPNEGO: what clients without a domain do.
func TestConformanceNTLM(t *testing.T) {
	if racing && !need.Heavy() {
		t.Skip("the race detector makes minutes of its ciphers: Kerberos stands in")
	}
	overTheWire(t, func() *overTCP { return &overTCP{} })
}

// The same by NTLM alone, as other people's clients do.
func TestConformanceRawNTLM(t *testing.T) {
	if !need.Heavy() {
		t.Skip("only how the connection begins is different: for CERTKEEP_TEST_HEAVY")
	}
	overTheWire(t, func() *overTCP { return &overTCP{raw: true} })
}

// The same by Kerberos with AES, in SPNEGO.
func TestConformanceKerberos(t *testing.T) {
	if !need.Heavy() && !racing {
		t.Skip("the suite once more, for CERTKEEP_TEST_HEAVY; other tests here use Kerberos, too")
	}
	k := startRealm(t)
	overTheWire(t, func() *overTCP { return &overTCP{realm: k} })
}

func overTheWire(t *testing.T, via func() *overTCP) {
	certadmtest.Run(t, func(t *testing.T) certadmtest.Env { return newEnv(t, via()) }, notOnTheWire())
}

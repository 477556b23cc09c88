package csra

import (
	"testing"

	"github.com/certkeep/certkeep/certadm/certadmtest"
)

// notOnTheWire is what cannot apply to this protocol.
func notOnTheWire() map[int]string {
	skip := map[int]string{
		15: "the names of a server are DNS's affair, and config strings the command line's; the test's server has an address",
		55: "the rights of a caller are given by the account, no token's privilege is enabled",
	}
	if !heavy() {
		skip[35] = "moving 4 GiB is for CERTKEEP_TEST_HEAVY"
	}
	return skip
}

// The suite with the stubs of both sides and nothing between them.
func TestConformanceDirect(t *testing.T) {
	certadmtest.Run(t, func(t *testing.T) certadmtest.Env { return newEnv(t, overDirect{}) }, notOnTheWire())
}

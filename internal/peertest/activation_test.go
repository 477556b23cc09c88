package peertest

import (
	"bytes"
	"context"
	"encoding/hex"
	"testing"
	"time"

	"github.com/certkeep/certkeep/csra"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/dcom"
	"github.com/google/go-cmp/cmp"
)

// TestImpacketReadsActivation: what our client asks for as it activates the
// object is what another's decoder reads.
func TestImpacketReadsActivation(t *testing.T) {
	t.Parallel()
	needImpacket(t)
	var stub []byte
	a := serveAuthority(t, serving{host: mitHost, configure: func(c *dcerpc.ServerConfig) {
		for n, i := range c.Interfaces {
			if i.Syntax.UUID == dcom.IIDRemoteSCMActivator {
				c.Interfaces[n].Handler = func(ctx context.Context, call *dcerpc.Call) ([]byte, error) {
					stub = bytes.Clone(call.Stub)
					return i.Handler(ctx, call)
				}
			}
		}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := a.dial(ctx, t, mitHost, csra.Options{Credentials: csra.NTLM(caUser, caDomain, []byte(caPassword))})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil { // by now the server is done with the stub
		t.Fatal(err)
	}

	type activation struct {
		Sizes             []int // which have to agree
		CLSID, Class      string
		Properties, Rest  int
		Interfaces        []string
		Version, ProtSeqs []int
	}
	var got activation
	script(t, "activation.py", nil, map[string]string{"stub": hex.EncodeToString(stub)}, &got)
	for _, n := range got.Sizes {
		if n != got.Sizes[0] {
			t.Errorf("sizes %d", got.Sizes)
		}
	}
	got.Sizes = nil
	want := activation{
		CLSID:      "00000338-0000-0000-c000-000000000046",
		Class:      "d99e6e73-fc88-11d0-b498-00a0c90312f3",
		Properties: 4,
		Interfaces: []string{iidICertAdminD2.String(), iidICertAdminD.String()},
		Version:    []int{5, 7},
		ProtSeqs:   []int{7},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

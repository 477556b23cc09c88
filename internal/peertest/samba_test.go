package peertest

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/dcom"
	"github.com/certkeep/certkeep/internal/kerberos/kdctest"
	"github.com/certkeep/certkeep/internal/ndr"
)

// mgmt is an interface that Samba's bindings can be used with.
var mgmt = dcerpc.Syntax{UUID: ndr.MustGUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), Major: 1}

// The interfaces of samba_peer.py, by number.
var (
	iidICertAdminD  = ndr.MustGUID("d99e6e71-fc88-11d0-b498-00a0c90312f3")
	iidICertAdminD2 = ndr.MustGUID("7fe0d935-dda6-443f-85d0-1cfb58fe41dd")
	sambaFaces      = []ndr.GUID{{}, dcom.IIDObjectExporter, dcom.IIDRemoteSCMActivator, dcom.IIDRemUnknown, iidICertAdminD, iidICertAdminD2}
)

// underMgmt publishes what the server has below mgmt as well: its operation
// 1000*n+m is operation m of the n-th of sambaFaces, with the protection that
// this one asks for.
func underMgmt(c *dcerpc.ServerConfig) {
	byUUID := map[ndr.GUID]dcerpc.Interface{}
	for _, i := range c.Interfaces {
		byUUID[i.Syntax.UUID] = i
	}
	face := func(opnum uint16) (dcerpc.Interface, bool) {
		if n := int(opnum / 1000); n < len(sambaFaces) {
			i, ok := byUUID[sambaFaces[n]]
			return i, ok
		}
		return dcerpc.Interface{}, false
	}
	c.Interfaces = append(c.Interfaces, dcerpc.Interface{
		Syntax: mgmt,
		MinLevel: func(opnum uint16) dcerpc.Level {
			if i, ok := face(opnum); ok && i.MinLevel != nil {
				return i.MinLevel(opnum % 1000)
			}
			return dcerpc.LevelNone
		},
		Handler: func(ctx context.Context, call *dcerpc.Call) ([]byte, error) {
			i, ok := face(call.Opnum)
			if !ok {
				return nil, &dcerpc.Fault{Status: dcerpc.StatusOpRange}
			}
			call.Syntax = i.Syntax
			call.Opnum %= 1000
			return i.Handler(ctx, call)
		},
	})
}

func needSamba(t *testing.T) {
	t.Helper()
	needModule(t, "samba.dcerpc.mgmt", "python3-samba")
	needModule(t, "impacket.dcerpc.v5.dcomrt", "python3-impacket") // the encoding of DCOM
}

// samba runs the job, and returns its report.
func samba(t *testing.T, j job, env ...string) *report {
	t.Helper()
	r := new(report)
	script(t, "samba_peer.py", env, j, r)
	return r
}

// TestSambaNTLM: a client that verifies every signature takes backups, sealed,
// with NTLM alone and negotiated by SPNEGO, whose list of mechanisms it signs
// and has signed. It pads to 16 bytes, signs headers, sends verification
// trailers, and uses a second presentation context by alter_context.
func TestSambaNTLM(t *testing.T) {
	t.Parallel()
	needSamba(t)
	a := serveAuthority(t, serving{database: 4<<20 + 3*4096, configure: underMgmt})
	for _, v := range []struct {
		options    string
		jet, flags uint32
		sizes      []int
		full       bool
	}{
		{"seal,ntlm", 0, 0, []int{64 << 10, 4 << 20, 100_001}, true},
		{"seal,ntlm", 1, 2, []int{64 << 10, 4 << 20, 1000}, false},
		{"seal,spnego", 0, 1, []int{64 << 10, 4 << 20, 100_001}, true},
		{"seal,spnego", 1, 0, []int{64 << 10, 4 << 20, 1000}, false},
	} {
		t.Run(fmt.Sprintf("%s, full %v", v.options, v.full), func(t *testing.T) {
			a.issue(t, 2)
			j := a.job(t)
			j.Alive, j.Options, j.Truncate, j.Misuse = false, v.options, true, true
			j.Jet, j.Flags, j.Sizes = v.jet, v.flags, v.sizes
			r := samba(t, j)
			r.check(t, a, j, v.full)
			if r.Error == "" {
				r.misuse(t, v.full)
			}
			if got, want := a.users(), "ntlm "+caDomain+`\`+caUser; got != want {
				t.Errorf("logons: %s, not %s", got, want)
			}
		})
	}
}

// kerberosJob is a job with tickets of an MIT KDC.
func (a *authority) kerberosJob(t *testing.T, k *kdctest.KDC, cache string) (j job, env []string) {
	t.Helper()
	j = a.job(t)
	j.Alive, j.Kerberos, j.Realm, j.CCache, j.Domain, j.Password = false, true, k.Realm, "FILE:"+cache, k.Realm, ""
	return j, []string{"KRB5_CONFIG=" + k.Config, "KRB5CCNAME=FILE:" + cache}
}

// TestSambaKerberos: the same backups with tickets of an MIT KDC, and signed
// headers, which Samba negotiates.
func TestSambaKerberos(t *testing.T) {
	t.Parallel()
	needSamba(t)
	k, keytab := mitRealm(t)
	cache := k.Kinit(mitUser, mitPassword)
	a := serveAuthority(t, serving{host: mitHost, keytab: keytab, database: 4<<20 + 4096, configure: underMgmt})
	for _, options := range []string{"seal,krb5", "seal,spnego"} {
		for _, full := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, full %v", options, full), func(t *testing.T) {
				j, env := a.kerberosJob(t, k, cache)
				j.Options, j.Truncate = options+",target_hostname="+mitHost, true
				j.Sizes = []int{64 << 10, 4 << 20, 100_001}
				if !full {
					a.issue(t, 2)
					j.Jet = 1
				}
				samba(t, j, env...).check(t, a, j, full)
				if got, want := a.users(), "kerberos "+k.Realm+`\`+mitUser; got != want {
					t.Errorf("logons: %s, not %s", got, want)
				}
			})
		}
	}
}

// TestSambaSigned: with signatures only, the question for the protocol's version
// is answered, and signed as Samba checks; all else is denied, and the connection
// lives on.
func TestSambaSigned(t *testing.T) {
	t.Parallel()
	needSamba(t)
	k, keytab := mitRealm(t)
	cache := k.Kinit(mitUser, mitPassword)
	a := serveAuthority(t, serving{host: mitHost, keytab: keytab, configure: underMgmt})
	for _, options := range []string{"sign,krb5", "sign,spnego", "connect,krb5"} {
		t.Run(options, func(t *testing.T) {
			j, env := a.kerberosJob(t, k, cache)
			j.Options = options + ",target_hostname=" + mitHost
			j.Calls = []call{serverAlive2, ping, activate, serverAlive2}
			r := samba(t, j, env...)
			if r.Error != "" || len(r.Answers) != len(j.Calls) {
				t.Fatalf("the peer failed: %q, %q", r.Error, r.Answers)
			}
			for i, answer := range r.Answers {
				if j.Calls[i] != serverAlive2 {
					if !strings.Contains(answer, "Access Denied") {
						t.Errorf("operation %d: %q", j.Calls[i].Opnum, answer)
					}
				} else if b, err := hex.DecodeString(answer); err != nil || !bytes.Contains(b, wide("127.0.0.1")) {
					t.Errorf("ServerAlive2: %q", answer)
				}
			}
			if got, want := a.users(), "kerberos "+k.Realm+`\`+mitUser; got != want {
				t.Errorf("logons: %s, not %s", got, want)
			}
		})
	}
}

// Calls of samba_peer.py.
var (
	serverAlive2 = call{1, 5, ""}
	// Ping of an object that does not exist: below packet privacy nobody hears that.
	ping = call{4, 18, "05000700" + strings.Repeat("0", 16) + strings.Repeat("11", 16) + strings.Repeat("0", 16)}
	// RemoteCreateInstance with nothing in it.
	activate = call{2, 4, ping.Stub}
)

// TestSambaRefused: a wrong password and an unknown user are logon failures. So
// is NTLM of a client that will not seal: there is nothing that it could call.
func TestSambaRefused(t *testing.T) {
	t.Parallel()
	needSamba(t)
	a := serveAuthority(t, serving{configure: underMgmt})
	for _, v := range []struct {
		name, options string
		change        func(*job)
		want, logon   string
	}{
		{"wrong password", "seal,spnego", func(j *job) { j.Password = "guessed" }, "attempted logon is invalid", "ntlm"},
		{"unknown user", "seal,spnego", func(j *job) { j.User = "nobody" }, "attempted logon is invalid", "ntlm"},
		{"signed only", "sign,ntlm", func(*job) {}, "unsuccessful", "ntlm"},
		{"signed only", "sign,spnego", func(*job) {}, "unsuccessful", "spnego"},
	} {
		t.Run(v.options+" "+v.name, func(t *testing.T) {
			j := a.job(t)
			j.Options = v.options
			j.Calls = []call{serverAlive2}
			v.change(&j)
			if r := samba(t, j); !strings.Contains(r.Error, v.want) {
				t.Errorf("it ends with %q, not %s", r.Error, v.want)
			}
			if got, want := a.users(), v.logon+" refused"; got != want {
				t.Errorf("logons: %s, not %s", got, want)
			}
		})
	}
	// NTLM alone ends with the client's message: what it hears of a refusal is
	// the fate of its first call.
	t.Run("seal,ntlm wrong password", func(t *testing.T) {
		j := a.job(t)
		j.Options, j.Password = "seal,ntlm", "guessed"
		j.Calls = []call{serverAlive2}
		r := samba(t, j)
		if r.Error != "" || len(r.Answers) != 1 || !strings.Contains(r.Answers[0], "Access Denied") {
			t.Errorf("it ends with %q, %q", r.Error, r.Answers)
		}
		if got, want := a.users(), "ntlm refused"; got != want {
			t.Errorf("logons: %s, not %s", got, want)
		}
	})
}

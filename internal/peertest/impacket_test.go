package peertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcerpc"
)

func needImpacket(t *testing.T) {
	t.Helper()
	needModule(t, "impacket.dcerpc.v5.dcomrt", "python3-impacket")
}

// impacket runs the job, and returns its report.
func impacket(t *testing.T, j job, env ...string) *report {
	t.Helper()
	r := new(report)
	script(t, "impacket_peer.py", env, j, r)
	return r
}

// TestImpacketNTLM: a client that others wrote activates the object, takes
// backups with buffers of every kind, and releases it.
func TestImpacketNTLM(t *testing.T) {
	t.Parallel()
	needImpacket(t)
	a := serveAuthority(t, serving{database: 4<<20 + 3*4096})
	for _, v := range []struct {
		name       string
		jet, flags uint32
		sizes      []int
		full       bool
		change     func(*job)
	}{
		// From the smallest buffer that Certadm.dll has to its largest, and one that is no multiple of a page.
		{"full", 0, 0, []int{64 << 10, 100_001}, true, func(j *job) { j.Misuse, j.DatabaseSizes = true, []int{1 << 20, 4 << 20} }},
		{"full by dwBackupFlags", 0, 1, []int{1 << 20}, true, nil},
		{"incremental", 1, 0, []int{64 << 10, 4 << 20, 1000}, false, func(j *job) { j.Misuse = true }},
		{"incremental by both", 1, 2, []int{64 << 10}, false, func(j *job) { j.Annotation = true }},
		{"incremental by dwBackupFlags, which outweigh grbitJet", 0, 2, []int{64 << 10}, false, nil},
		{"full, without truncation", 0, 0, []int{1 << 20}, true, func(j *job) { j.Truncate = false }},
	} {
		t.Run(v.name, func(t *testing.T) {
			a.issue(t, 2)
			j := a.job(t)
			j.Jet, j.Flags, j.Sizes, j.Truncate = v.jet, v.flags, v.sizes, true
			if v.change != nil {
				v.change(&j)
			}
			r := impacket(t, j)
			r.check(t, a, j, v.full)
			if j.Misuse && r.Error == "" {
				r.misuse(t, v.full)
			}
			if got, want := a.users(), "ntlm "+caDomain+`\`+caUser; got != want {
				t.Errorf("logons: %s, not %s", got, want)
			}
		})
	}
}

// misuse checks what calls out of order came to. All are refused, and the
// backup that the report is of was whole nevertheless.
func (r *report) misuse(t *testing.T, full bool) {
	t.Helper()
	want := map[string]string{}
	refused := fmt.Sprint(outOfOrder)
	for _, what := range []string{"prepare twice", "read without a file", "close without a file", "truncate unread"} {
		want[what] = refused
	}
	if full {
		want["open"], want["open twice"], want["close"] = "0", refused, "0"
		want["read odd"], want["read zero"] = "[0, 0]", fmt.Sprint(uint32(certadm.EInvalidArg))
	}
	for what, code := range want {
		if got := string(r.Misuse[what]); got != code {
			t.Errorf("%s: %s, not %s", what, got, code)
		}
	}
	var names []uint32
	if err := json.Unmarshal(r.Misuse["open unlisted"], &names); err != nil || len(names) < 6 {
		t.Errorf("opening files that are not listed: %s", r.Misuse["open unlisted"])
	}
	for _, code := range names {
		if code == 0 {
			t.Errorf("a file that is not listed was opened: %d", names)
		}
	}
	if s := string(r.Misuse["open null"]); s == "0" || s == "" {
		t.Errorf("opening no name: %s", s)
	}
}

// TestImpacketRefused: a wrong password, an unknown user and less than packet
// privacy get nowhere.
func TestImpacketRefused(t *testing.T) {
	t.Parallel()
	needImpacket(t)
	a := serveAuthority(t, serving{})
	for _, v := range []struct {
		name   string
		change func(*job)
		want   string
		logons string
	}{
		{"wrong password", func(j *job) { j.Password = "guessed" }, "rpc_s_access_denied", "ntlm refused"},
		{"unknown user", func(j *job) { j.User = "nobody" }, "rpc_s_access_denied", "ntlm refused"},
		{"signed only", func(j *job) { j.Level = 5 }, "rpc_s_access_denied", "ntlm " + caDomain + `\` + caUser},
		{"connect only", func(j *job) { j.Level = 2 }, "rpc_s_access_denied", "ntlm " + caDomain + `\` + caUser},
	} {
		t.Run(v.name, func(t *testing.T) {
			j := a.job(t)
			j.Alive = false
			v.change(&j)
			r := impacket(t, j)
			if !strings.Contains(r.Error, v.want) {
				t.Errorf("it ends with %q, not %s", r.Error, v.want)
			}
			if got := a.users(); got != v.logons {
				t.Errorf("logons: %s, not %s", got, v.logons)
			}
		})
	}
}

// TestImpacketKerberos: the same with tickets of an MIT KDC, from a cache that
// MIT's programs filled (Impacket's own requests for tickets fail there).
// Impacket does not sign headers, so a server as it is refuses it; it has to be
// told to make an exception.
func TestImpacketKerberos(t *testing.T) {
	t.Parallel()
	needImpacket(t)
	k, keytab := mitRealm(t)
	cache := k.Kinit(mitUser, mitPassword)
	k.Kvno(cache, "host/"+mitHost)
	// Impacket knows no FILE: in front of a name.
	env := []string{"KRB5_CONFIG=" + k.Config, "KRB5CCNAME=" + cache}
	kerberosJob := func(a *authority) job {
		j := a.job(t)
		j.Host, j.Kerberos, j.Domain, j.Password = mitHost, true, k.Realm, ""
		j.Truncate = true
		return j
	}
	t.Run("refused", func(t *testing.T) {
		a := serveAuthority(t, serving{host: mitHost, keytab: keytab})
		r := impacket(t, kerberosJob(a), env...)
		if !strings.Contains(r.Error, "rpc_s_access_denied") {
			t.Errorf("it ends with %q, not as refused", r.Error)
		}
		if got := a.users(); got != "kerberos refused" {
			t.Errorf("logons: %s", got)
		}
	})
	a := serveAuthority(t, serving{host: mitHost, keytab: keytab, database: 300 << 10, configure: func(c *dcerpc.ServerConfig) {
		c.RequireHeaderSigning = func(string) bool { return false }
	}})
	for _, full := range []bool{true, false} {
		t.Run(fmt.Sprintf("full %v", full), func(t *testing.T) {
			j := kerberosJob(a)
			j.Sizes, j.DatabaseSizes = []int{64 << 10, 100_001}, []int{4 << 20}
			if !full {
				a.issue(t, 2)
				j.Jet = 1
			}
			impacket(t, j, env...).check(t, a, j, full)
			if got, want := a.users(), "kerberos "+k.Realm+`\`+mitUser; got != want {
				t.Errorf("logons: %s, not %s", got, want)
			}
		})
	}
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/internal/kerberos"
)

// The commands that settle a cause, by what they are about.
const (
	settleGroup      = `net localgroup "Certificate Service DCOM Access"`
	settleLimits     = "dcomcnfg: My Computer, COM Security, Launch and Activation Permissions, Edit Limits"
	settleAccess     = "dcomcnfg: My Computer, COM Security, Access Permissions, Edit Limits"
	settleUAC        = `reg query HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System /v LocalAccountTokenFilterPolicy`
	settleFlags      = `certutil -getreg CA\InterfaceFlags`
	settleSeparation = `certutil -getreg CA\RoleSeparationEnabled`
	settleRead       = `certutil -getreg CA\Security`
	settleOperators  = `net localgroup "Backup Operators"`
	settleOwn        = "certkeep ca user list DIR"
	settleOwnFlags   = "interface_flags in DIR/config.json"
)

func settles(c Check) (s []string) {
	for _, p := range c.Candidates {
		s = append(s, p.Settle)
	}
	return s
}

func TestHealthy(t *testing.T) {
	f := healthy(t)
	rep := examine(t, network(timed{f, time.Second, true}))
	if !rep.OK || rep.Authority != "Example CA" || rep.Roles != "operator,read" || rep.LogonBy != "ntlm" || f.closed != 1 {
		t.Errorf("%+v, closed %d times", rep, f.closed)
	}
	var names []string
	for _, c := range rep.Checks {
		names = append(names, c.Name)
		if c.State != Good || c.Mend != "" || c.Candidates != nil {
			t.Errorf("%+v", c)
		}
	}
	want := []string{checkName, checkPort, checkResolver, checkAuthentication, checkActivation, checkDynamicPort, checkPrivacy, checkRoles, checkSeparation, checkBackup, checkCAName, checkClock}
	if !slices.Equal(names, want) {
		t.Errorf("order %v", names)
	}
}

// TestTheWayThere: each step that fails ends the way, and says why.
func TestTheWayThere(t *testing.T) {
	timeout := &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	denied := &certadm.Error{Op: "connect", Code: certadm.EAccessDenied}
	for name, v := range map[string]struct {
		change  func(o *RemoteOptions)
		failed  string
		before  int // checks that went well
		settles []string
		mend    string
	}{
		"unknown name": {func(o *RemoteOptions) {
			o.Lookup = func(context.Context, string) ([]string, error) {
				return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
			}
		}, checkName, 0, []string{"nslookup ca01.example.test"}, "spelling"},
		"port closed": {func(o *RemoteOptions) {
			o.Connect = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
		}, checkPort, 1, []string{"sc query certsvc & sc query rpcss", "certkeep ca serve says its address when it starts"}, "nothing listens on port 135"},
		"port filtered": {func(o *RemoteOptions) {
			o.Connect = func(context.Context, string, string) (net.Conn, error) { return nil, timeout }
		}, checkPort, 1, []string{"tracepath -p 135 ca01.example.test, or nmap -Pn -p 135 ca01.example.test"}, "gives no answer"},
		"network unreachable": {func(o *RemoteOptions) {
			o.Connect = func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ENETUNREACH }
		}, checkPort, 1, nil, ""},
		"no resolver": {func(o *RemoteOptions) { o.Dial = stops(connect.StageResolver, errors.New("HTTP/1.1 400"), nil) },
			checkResolver, 2, []string{"netstat -abno | findstr :135", `reg query HKLM\SOFTWARE\Microsoft\Ole /v EnableDCOM`}, "does not answer as"},
		"logon refused": {func(o *RemoteOptions) {
			o.User = `CORP\backup`
			o.Dial = stops(connect.StageAuthenticate, gss.ErrLogon, nil)
		},
			checkAuthentication, 3, []string{`try the same elsewhere, once: net use \\ca01.example.test\IPC$ /user:CORP\backup`, "net user backup /domain",
				"secedit /export /areas USER_RIGHTS /cfg rights.inf & findstr NetworkLogon rights.inf",
				`reg query HKLM\SYSTEM\CurrentControlSet\Control\Lsa\MSV1_0 /v RestrictReceivingNTLMTraffic`, settleOwn}, ""},
		"kerberos refused": {func(o *RemoteOptions) {
			o.Kerberos = true
			o.Dial = stops(connect.StageAuthenticate, gss.ErrLogon, nil)
		},
			checkAuthentication, 3, []string{"klist", "kvno RPCSS/ca01.example.test host/ca01.example.test", "chronyc tracking, and w32tm /query /status on the CA",
				"how was certkeep ca serve called?"}, ""},
		"too many logons": {func(o *RemoteOptions) {
			o.Dial = stops(connect.StageAuthenticate, &certadm.Error{Op: "connect", Code: certadm.RPCServerTooBusy, Hint: "try again later"}, nil)
		}, checkAuthentication, 3, nil, "try again later"},
		"denied at activation, domain account": {func(o *RemoteOptions) { o.User = `CORP\backup`; o.Dial = stops(connect.StageActivate, denied, nil) },
			checkActivation, 4, []string{settleGroup, settleLimits}, "may log on, and may not"},
		"denied at activation, kerberos": {func(o *RemoteOptions) {
			o.User, o.Kerberos = "backup@CORP", true
			o.Dial = stops(connect.StageActivate, denied, nil)
		},
			checkActivation, 4, []string{settleGroup, settleLimits}, "may log on, and may not"},
		"denied at activation, bare name": {func(o *RemoteOptions) { o.Dial = stops(connect.StageActivate, fmt.Errorf("x: %w", denied), nil) },
			checkActivation, 4, []string{settleGroup, settleLimits, settleUAC}, "may log on, and may not"},
		"denied at activation, machine's account": {func(o *RemoteOptions) {
			o.User = `CA01\backup`
			o.Dial = stops(connect.StageActivate, certadm.EAccessDenied, nil)
		},
			checkActivation, 4, []string{settleGroup, settleLimits, settleUAC}, "may log on, and may not"},
		"denied at activation, own advice": {func(o *RemoteOptions) {
			o.Dial = stops(connect.StageActivate, &certadm.Error{Op: "connect", Code: certadm.EAccessDenied, Hint: "as the error says"}, nil)
		}, checkActivation, 4, []string{settleGroup, settleLimits, settleUAC}, "as the error says"},
		"not installed": {func(o *RemoteOptions) {
			o.Dial = stops(connect.StageActivate, &certadm.Error{Op: "connect", Code: certadm.RegdbClassNotReg}, nil)
		},
			checkActivation, 4, []string{"sc query certsvc", "certutil -dump, on any Windows machine of the domain"}, "not installed there"},
		"not started": {func(o *RemoteOptions) {
			o.Dial = stops(connect.StageActivate, fmt.Errorf("x: %w", serverExecFailure), nil)
		},
			checkActivation, 4, []string{"sc query certsvc", "certutil -dump, on any Windows machine of the domain"}, "not installed there"},
		"another failure of activation": {func(o *RemoteOptions) { o.Dial = stops(connect.StageActivate, certadm.EFail, nil) }, checkActivation, 4, nil, ""},
		"dynamic port filtered": {func(o *RemoteOptions) { o.Dial = stops(connect.StageExporter, timeout, nil) }, checkDynamicPort, 5,
			[]string{"tracepath -p 49152 ca01.example.test, or nmap -Pn -p 49152 ca01.example.test", "netsh int ipv4 show dynamicport tcp"}, "gives no answer"},
		"denied at the bind":          {func(o *RemoteOptions) { o.Dial = stops(connect.StageBind, denied, nil) }, checkPrivacy, 6, []string{settleAccess, settleUAC}, ""},
		"another failure of the bind": {func(o *RemoteOptions) { o.Dial = stops(connect.StageBind, certadm.EFail, nil) }, checkPrivacy, 6, nil, ""},
		"no ticket, nothing sent": {func(o *RemoteOptions) {
			o.Kerberos = true
			o.Dial = func(context.Context, func(connect.Stage, error)) (Session, error) {
				return nil, &certadm.Error{Op: "connect", Code: certadm.SecNoCredentials, Err: errors.New("no ticket"), Hint: "kinit"}
			}
		}, checkAuthentication, 2, []string{"klist", "kvno RPCSS/ca01.example.test host/ca01.example.test", "chronyc tracking, and w32tm /query /status on the CA",
			"how was certkeep ca serve called?"}, "kinit"},
		"the stage's error says less than the last one": {func(o *RemoteOptions) {
			dial := stops(connect.StageActivate, errors.New("fault 0x5"), nil)
			o.Dial = func(ctx context.Context, stage func(connect.Stage, error)) (Session, error) {
				_, err := dial(ctx, stage)
				return nil, &certadm.Error{Op: "connect", Code: certadm.EAccessDenied, Err: err}
			}
		}, checkActivation, 4, []string{settleGroup, settleLimits, settleUAC}, "may log on, and may not"},
		"gone before any stage": {func(o *RemoteOptions) {
			o.Dial = func(context.Context, func(connect.Stage, error)) (Session, error) {
				return nil, &certadm.Error{Op: "connect", Code: certadm.RPCServerUnavailable}
			}
		}, checkResolver, 2, []string{"netstat -abno | findstr :135", `reg query HKLM\SOFTWARE\Microsoft\Ole /v EnableDCOM`}, ""},
		"gone after the last stage": {func(o *RemoteOptions) { o.Dial = stops("", nil, nil) }, checkRoles, 7, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := network(nil)
			v.change(&o)
			rep := examine(t, o)
			if rep.Failed() != v.failed || rep.Unreached() != (v.failed != checkRoles) {
				t.Fatalf("failed at %q: %v", rep.Failed(), rep.Err)
			}
			bad := check(t, rep, v.failed)
			if !slices.Equal(settles(bad), v.settles) {
				t.Errorf("candidates\n got %q\nwant %q", settles(bad), v.settles)
			}
			if (v.mend == "") != (bad.Mend == "") && v.failed != checkResolver || !strings.Contains(bad.Mend, v.mend) {
				t.Errorf("mend %q", bad.Mend)
			}
			for n, c := range rep.Checks {
				want := NotChecked
				if n < v.before {
					want = Good
				} else if c.Name == v.failed {
					want = Failed
				}
				if c.State != want {
					t.Errorf("%s is %s", c.Name, c.State)
				}
			}
		})
	}
}

// TestReticentResolver: one that answers no strangers is no obstacle, unless the
// connection ends with it.
func TestReticentResolver(t *testing.T) {
	refused := errors.New("access denied")
	dial := func(after error) func(context.Context, func(connect.Stage, error)) (Session, error) {
		return func(_ context.Context, stage func(connect.Stage, error)) (Session, error) {
			stage(connect.StageResolver, refused)
			for _, s := range stagesInOrder[1:] {
				stage(s, after)
				stage(s, nil) // a second time counts for nothing
				if after != nil {
					return nil, after
				}
			}
			return timed{healthy(t), 0, true}, nil
		}
	}
	o := network(nil)
	o.Dial = dial(nil)
	rep := examine(t, o)
	if c := check(t, rep, checkResolver); !rep.OK || c.State != Warning || !strings.Contains(c.Detail, "access denied") {
		t.Errorf("%v, %+v", rep.Err, c)
	}
	o.Dial = dial(gss.ErrLogon)
	rep = examine(t, o)
	if c := check(t, rep, checkResolver); rep.Failed() != checkAuthentication || !errors.Is(rep.Err, gss.ErrLogon) || c.State != Warning {
		t.Errorf("%v, %+v", rep.Err, c)
	}
}

// TestAddressesAndKerberos: there are no tickets for addresses.
func TestAddressesAndKerberos(t *testing.T) {
	for _, withKerberos := range []bool{false, true} {
		o := network(healthy(t))
		o.Host, o.Kerberos = "192.0.2.1", withKerberos
		o.Lookup = func(context.Context, string) ([]string, error) {
			t.Error("an address was looked up")
			return nil, nil
		}
		rep := examine(t, o)
		if c := check(t, rep, checkName); (c.State == Warning) != withKerberos || (c.State == Good) == withKerberos || rep.LogonBy != map[bool]string{true: "kerberos", false: "ntlm"}[withKerberos] {
			t.Errorf("%+v", c)
		}
	}
}

// TestKerberosSaysWhy: where Kerberos tells the cause there are no guesses, and a
// clock that is off shows as that.
func TestKerberosSaysWhy(t *testing.T) {
	cl, err := kerberos.NewClient(kerberos.ClientConfig{Cache: t.TempDir() + "/absent", Krb5Conf: emptyFile(t)})
	if err == nil {
		t.Fatal(cl)
	}
	o := network(nil)
	o.Kerberos = true
	o.Dial = stops(connect.StageAuthenticate, &certadm.Error{Op: "connect", Code: certadm.ErrorLogonFailure, Err: err, Hint: hint.Of(err)}, nil)
	rep := examine(t, o)
	if c := check(t, rep, checkAuthentication); c.Candidates != nil || !strings.Contains(c.Mend, "kinit") {
		t.Errorf("%+v", c)
	}
	if c := check(t, rep, checkClock); c.State != NotChecked {
		t.Errorf("%+v", c)
	}
	o.Dial = stops(connect.StageAuthenticate, &kerberos.Error{Op: "authenticate", Code: 37, Skew: 10 * time.Minute, Err: gss.ErrLogon}, nil)
	rep = examine(t, o)
	if !errors.Is(rep.Err, gss.ErrLogon) {
		t.Errorf("the first failure is %v", rep.Err)
	}
	if c := check(t, rep, checkClock); rep.Failed() != checkAuthentication || c.State != Failed || !strings.Contains(c.Detail, "10m0s") || !strings.Contains(c.Mend, "NTP") {
		t.Errorf("%+v", c)
	}
}

func emptyFile(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/krb5.conf"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConnectionLost: what was not answered is not a verdict on the account.
func TestConnectionLost(t *testing.T) {
	gone := &certadm.Error{Op: "x", Code: certadm.RPCServerUnavailable, Hint: "connect anew"}
	for at, break1 := range map[string]func(*fake){
		checkRoles:      func(f *fake) { f.rolesErr = gone },
		checkSeparation: func(f *fake) { f.separateErr = gone },
		checkBackup:     func(f *fake) { f.locateErr = gone },
		checkCAName:     func(f *fake) { f.nameErr = gone },
		checkClock:      func(f *fake) { f.crlErr = gone },
	} {
		f := healthy(t)
		break1(f)
		rep := examine(t, network(f))
		past := false
		for _, c := range rep.Checks {
			want := Good
			switch {
			case c.Name == at:
				past, want = true, Failed
			case past:
				want = NotChecked
			}
			if c.State != want || c.State == Failed && (c.Candidates != nil || c.Mend != "connect anew") {
				t.Errorf("lost at %s: %+v", at, c)
			}
		}
	}
}

// TestInterrupted: nothing is said to have failed because the user had enough.
func TestInterrupted(t *testing.T) {
	for name, during := range map[string]func(f *fake, o *RemoteOptions, cancel func()){
		"name": func(_ *fake, o *RemoteOptions, cancel func()) {
			o.Lookup = func(ctx context.Context, _ string) ([]string, error) { cancel(); return nil, ctx.Err() }
		},
		"dial": func(f *fake, o *RemoteOptions, cancel func()) {
			o.Dial = func(ctx context.Context, stage func(connect.Stage, error)) (Session, error) {
				cancel()
				err := &certadm.Error{Op: "connect", Code: certadm.ErrorCancelled, Err: ctx.Err()}
				stage(connect.StageResolver, err)
				return nil, err
			}
		},
		"roles": func(f *fake, o *RemoteOptions, cancel func()) {
			dial := o.Dial
			o.Dial = func(ctx context.Context, stage func(connect.Stage, error)) (Session, error) {
				s, err := dial(ctx, stage)
				cancel()
				f.rolesErr = &certadm.Error{Op: "x", Code: certadm.ErrorCancelled, Err: ctx.Err()}
				return s, err
			}
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		f := healthy(t)
		o := network(f)
		during(f, &o, cancel)
		rep, err := Remote(ctx, o)
		if !errors.Is(err, context.Canceled) || len(rep.Checks) != 12 {
			t.Errorf("%s: %v, %d checks", name, err, len(rep.Checks))
		}
		if name == "roles" && (rep.Failed() != "" || f.closed != 1) {
			t.Errorf("%s: %q failed, closed %d times", name, rep.Failed(), f.closed)
		}
		for _, c := range rep.Checks {
			if name == "dial" && c.Candidates != nil {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
}

// TestJSON is the shape that scripts rely on.
func TestJSON(t *testing.T) {
	f := healthy(t)
	f.locateErr = &certadm.Error{Op: "x", Code: certadm.EAccessDenied}
	b, err := json.Marshal(examine(t, network(f)))
	if err != nil {
		t.Fatal(err)
	}
	var rep map[string]any
	if err := json.Unmarshal(b, &rep); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"server": "adcs://backup@ca01.example.test", "ok": false, "authority": "Example CA", "roles": "operator,read", "logon_by": "ntlm"} {
		if rep[key] != want {
			t.Errorf("%s is %v", key, rep[key])
		}
	}
	if len(rep) != 6 {
		t.Errorf("%d keys in %s", len(rep), b)
	}
	checks := rep["checks"].([]any)
	good := checks[0].(map[string]any)
	if good["name"] != "name" || good["state"] != "good" || good["detail"] != "192.0.2.1" || len(good) != 4 {
		t.Errorf("%v", good)
	}
	if _, ok := good["seconds"].(float64); !ok {
		t.Errorf("%v", good)
	}
	bad := checks[9].(map[string]any)
	first := bad["candidates"].([]any)[0].(map[string]any)
	if bad["name"] != "backup flag" || bad["state"] != "failed" || first["settle"] != settleFlags || first["where"] != "on the CA" || first["cause"] == "" || first["mend"] == "" || len(first) != 4 {
		t.Errorf("%v", bad)
	}
	// Also a report of nothing has a list.
	if b, err := json.Marshal(newExamination("x", nil).finish("")); err != nil || !strings.Contains(string(b), `"checks":[]`) {
		t.Errorf("%s", b)
	}
}

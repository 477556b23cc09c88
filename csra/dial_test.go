package csra

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcom"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/kerberos"
	"github.com/certkeep/certkeep/internal/ndr"
)

// whole takes a full backup of the fake through c, with truncation, and checks
// what came.
func whole(t testing.TB, c certadm.Service) {
	t.Helper()
	if err := backUp(t.Context(), c); err != nil {
		t.Error(err)
	}
}

func backUp(ctx context.Context, c certadm.Service) (err error) {
	b, err := c.BackupPrepare(ctx, certadm.BackupFull)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.End(ctx)) }()
	dbs, err := b.DatabaseNames(ctx)
	if err != nil {
		return err
	}
	logs, err := b.Logs(ctx)
	if err != nil {
		return err
	}
	want := newFake().files
	for _, e := range append(dbs, logs...) {
		f, err := b.OpenFile(ctx, e.Path, 64<<10)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(f)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if string(got) != string(want[e.Path]) {
			return errors.New(e.Path + " differs")
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return b.TruncateLogs(ctx)
}

// stages notes what Dial reports.
type stages struct{ failed, last string }

func (s *stages) options(o *Options) {
	o.Stage = func(stage string, err error) {
		s.last = stage
		if err != nil {
			s.failed = stage
		}
	}
}

// wantDial checks an error of Dial: its stage, code and advice.
func wantDial(t *testing.T, c *Client, err error, s stages, stage dcom.Stage, code certadm.HRESULT, advice string) {
	t.Helper()
	if err == nil {
		c.Close()
		t.Fatal("Dial succeeds")
	}
	var e *certadm.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T: %v", err, err)
	}
	if s.failed != string(stage) || e.Code != code || !strings.Contains(e.Hint, advice) || advice == "" && e.Hint != "" {
		t.Errorf("stage %q, code %v, hint %q (%v)\nwant %q, %v, and %q", s.failed, e.Code, e.Hint, err, stage, code, advice)
	}
	if e.Op != fnConnect {
		t.Errorf("the error is of %q", e.Op)
	}
}

// peer is a TCP server that is no DCOM resolver.
func peer(t *testing.T, serve func(net.Conn)) int {
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return port(l.Addr())
}

func closedPort(t *testing.T) int {
	l := listen(t)
	l.Close()
	return port(l.Addr())
}

// What keeps a client from connecting is told apart by where it came: the user
// learns the stage, a code as Windows has it, and what to do.
func TestDialFails(t *testing.T) {
	s, _ := serveFake(t, nil)
	denied, _ := serveFake(t, func(o *ServerOptions) {
		o.Open = func(context.Context, Caller) (certadm.Service, error) { return nil, certadm.EAccessDenied }
	})
	stopped, _ := serveFake(t, func(o *ServerOptions) {
		o.Open = func(context.Context, Caller) (certadm.Service, error) {
			return nil, certadm.ErrorServiceNotActive
		}
	})
	nowhere := closedPort(t)
	other := (&odd{class: ndr.MustGUID("d99e6e74-fc88-11d0-b498-00a0c90312f3")}).serve(t)
	noInterface := (&odd{iids: []ndr.GUID{dcom.IIDRemUnknown}}).serve(t)
	web := peer(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 16))
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	})
	hangsUp := peer(t, func(net.Conn) {})
	for name, v := range map[string]struct {
		server *served
		change func(*Options)
		stage  dcom.Stage
		code   certadm.HRESULT
		advice string
	}{
		"no name": {s, func(o *Options) { o.Host = "" }, "", certadm.EInvalidArg, ""},
		"no port": {s, func(o *Options) { o.Port = 70000 }, "", certadm.EInvalidArg, ""},
		"unknown name": {s, func(o *Options) { o.Dialer = nil; o.Host = "no such name" }, // is not asked for: it has spaces
			dcom.StageResolve, certadm.RPCServerUnavailable, "DNS"},
		"no credentials":  {s, func(o *Options) { o.Credentials = Credentials{} }, "", certadm.SecNoCredentials, ""},
		"no user":         {s, func(o *Options) { o.Credentials = NTLM("", "", []byte("x")) }, "", certadm.SecNoCredentials, ""},
		"closed port":     {s, func(o *Options) { o.Port = nowhere }, dcom.StageConnect, certadm.RPCServerUnavailable, "firewall"},
		"a web server":    {s, func(o *Options) { o.Port = web }, dcom.StageServerAlive, certadm.RPCProtocolError, "no DCOM resolver"},
		"hangs up":        {s, func(o *Options) { o.Port = hangsUp }, dcom.StageServerAlive, certadm.RPCServerUnavailable, "no DCOM resolver"},
		"wrong password":  {s, func(o *Options) { o.Credentials = NTLM("alice", "", []byte("wrong")) }, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "user, domain and password"},
		"unknown user":    {s, func(o *Options) { o.Credentials = NTLM("mallory", "", []byte("wrong")) }, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "user, domain and password"},
		"raw, password":   {s, func(o *Options) { o.Credentials = NTLM("alice", "", []byte("wrong")); o.RawMechanism = true }, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "user, domain and password"},
		"raw, user":       {s, func(o *Options) { o.Credentials = NTLM("mallory", "", []byte("wrong")); o.RawMechanism = true }, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "user, domain and password"},
		"may not":         {denied, nil, dcom.StageActivate, certadm.EAccessDenied, "Certificate Service DCOM Access"},
		"not running":     {stopped, nil, dcom.StageActivate, certadm.ErrorServiceNotActive, ""},
		"no such class":   {other, func(o *Options) { o.RawMechanism = true }, dcom.StageActivate, certadm.RegdbClassNotReg, "no Certificate Services"},
		"no interface":    {noInterface, func(o *Options) { o.RawMechanism = true }, dcom.StageActivate, certadm.HRESULT(dcom.ENoInterface), ""},
		"closed exporter": {s, throughClosed(s, nowhere), dcom.StageExporter, certadm.RPCServerUnavailable, "dynamic TCP ports"},
	} {
		t.Run(name, func(t *testing.T) {
			var at stages
			c, _, err := v.server.dial(t, func(o *Options) {
				at.options(o)
				if v.change != nil {
					v.change(o)
				}
			})
			wantDial(t, c, err, at, v.stage, v.code, v.advice)
			if v.code == certadm.ErrorLogonFailure && !errors.Is(err, gss.ErrLogon) && !strings.Contains(err.Error(), "denied") {
				t.Errorf("the reason is lost: %v", err)
			}
		})
	}
}

// throughClosed has the client find the exporter's port closed.
func throughClosed(s *served, closed int) func(*Options) {
	return func(o *Options) {
		l := &lifeline{through: func(port int) int {
			if port == s.exporter {
				return closed
			}
			return port
		}}
		o.Dialer = l.dial
	}
}

// A client that has connected went through all stages, and used no address but
// the one that it was given.
func TestDialStages(t *testing.T) {
	s, _ := serveFake(t, func(o *ServerOptions) { o.Names = []string{"192.0.2.1", "elsewhere.example"} })
	var seen []string
	var dialled []string
	s.mustDial(t, func(o *Options) {
		o.Stage = func(stage string, err error) {
			if err != nil {
				t.Errorf("%s: %v", stage, err)
			}
			seen = append(seen, stage)
		}
		dial := o.Dialer
		o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(address)
			dialled = append(dialled, host)
			return dial(ctx, network, address)
		}
	})
	if got := strings.Join(seen, ", "); got != "resolve name, connect, ServerAlive2, authenticate, activate, connect to exporter, bind" {
		t.Errorf("stages: %s", got)
	}
	if got := strings.Join(dialled, " "); got != "localhost localhost localhost" {
		t.Errorf("connected to %s", got)
	}
}

// Who cannot log on learns nothing about who is known: a wrong password and an
// unknown user look the same. The server's log has them both.
func TestLogonsLookTheSame(t *testing.T) {
	s, _ := serveFake(t, nil)
	var errs []string
	for i, user := range []string{"alice", "mallory"} {
		_, _, err := s.dial(t, func(o *Options) { o.Credentials = NTLM(user, "", []byte("wrong")) })
		if err == nil {
			t.Fatal("logged on")
		}
		errs = append(errs, err.Error())
		if l := s.lastLogon(t, i+1); !errors.Is(l.Err, gss.ErrLogon) || l.Remote == nil {
			t.Errorf("OnLogon heard %+v", l)
		}
	}
	if errs[0] != errs[1] {
		t.Errorf("%q is not %q", errs[0], errs[1])
	}
	s.mustDial(t, nil)
	if l := s.lastLogon(t, 3); l.Err != nil || l.User != "alice" || l.Mechanism != "ntlm" || !strings.HasPrefix(l.Remote.String(), "127.0.0.1:") {
		t.Errorf("OnLogon heard %+v", l)
	}
}

// Too many failing logons are answered as a busy server does; others' succeed.
func TestTooManyLogons(t *testing.T) {
	s, _ := serveFake(t, func(o *ServerOptions) { o.Limits.FailedLogons = 1 })
	wrong := func(o *Options) { o.Credentials = NTLM("alice", "", []byte("wrong")) }
	if _, _, err := s.dial(t, wrong); certadm.CodeOf(err) != certadm.ErrorLogonFailure {
		t.Errorf("the first: %v", err)
	}
	// One is free again after a second; so many at once are too many in any case.
	var busy error
	for range 20 {
		_, _, err := s.dial(t, wrong)
		if certadm.CodeOf(err) == certadm.RPCServerTooBusy {
			busy = err
			break
		}
	}
	var e *certadm.Error
	if !errors.As(busy, &e) || !strings.Contains(e.Hint, "try again later") {
		t.Errorf("after many: %v", busy)
	}
	s.mustDialBy(t, &lifeline{from: net.IPv4(127, 0, 0, 2)}, nil)
}

// A server that says nothing holds a client no longer than the client wants.
func TestDialGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	silent := peer(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 16)) // something came
		cancel()
		io.Copy(io.Discard, c)
	})
	c, err := Dial(ctx, Options{Host: "127.0.0.1", Port: silent, Credentials: testSecrets.as("alice")})
	if err == nil {
		c.Close()
	}
	wantCode(t, err, certadm.ErrorCancelled, "Dial")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v", err)
	}
}

// Kerberos: what goes wrong is told, and nothing is ever done by NTLM instead.
func TestDialKerberosFails(t *testing.T) {
	k := startRealm(t)
	k.AddPrincipal("RPCSS/elsewhere", "")
	good, _ := serveFake(t, func(o *ServerOptions) { o.Keytab, o.NTLM = k.service, nil })
	both, _ := serveFake(t, func(o *ServerOptions) { o.Keytab = k.service })
	onlyNTLM, _ := serveFake(t, nil)
	wrongKey, _ := serveFake(t, func(o *ServerOptions) { o.Keytab, o.NTLM = k.Keytab("RPCSS/elsewhere"), nil })
	user := k.as(1)
	cache := func(path string) func(*Options) {
		return func(o *Options) { user(o); o.Credentials = KerberosCache(path) }
	}
	password := func(who string) func(*Options) {
		return func(o *Options) { user(o); o.Credentials = KerberosPassword(who+"@"+k.Realm, []byte("wrong")) }
	}
	raw := func(o *Options) { user(o); o.RawMechanism = true }
	for name, v := range map[string]struct {
		server *served
		change func(*Options)
		stage  dcom.Stage
		code   certadm.HRESULT
		advice string
	}{
		"unknown service": {good, func(o *Options) { user(o); o.Host = "unknown" }, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "setspn -L"},
		"no tickets":      {good, cache(filepath.Join(k.Dir, "none")), "", certadm.SecNoCredentials, "kinit"},
		"wrong password":  {good, password("u1"), dcom.StageAuthenticate, certadm.ErrorLogonFailure, "password"},
		"no such user":    {good, password("nobody"), dcom.StageAuthenticate, certadm.ErrorLogonFailure, "user name"},
		"KDC is down":     {good, func(o *Options) { user(o); o.KDCs = []string{"127.0.0.1:1"} }, dcom.StageAuthenticate, certadm.RPCServerUnavailable, "KDC"},
		"wrong clock":     {good, func(o *Options) { user(o); o.Credentials = k.late(o) }, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "ahead of the server"},
		"wrong key":       {wrongKey, user, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "clocks agree"},
		"raw, wrong key":  {wrongKey, raw, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "clocks agree"},
		"only NTLM there": {onlyNTLM, user, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "klist"},
		"raw, only NTLM":  {onlyNTLM, raw, dcom.StageAuthenticate, certadm.RPCUnknownAuthn, "the other way round"},
		"no NTLM there":   {good, nil, dcom.StageAuthenticate, certadm.ErrorLogonFailure, "password"},
		"raw, no NTLM":    {good, func(o *Options) { o.RawMechanism = true }, dcom.StageAuthenticate, certadm.RPCUnknownAuthn, "the other way round"},
	} {
		t.Run(name, func(t *testing.T) {
			var at stages
			c, _, err := v.server.dial(t, func(o *Options) {
				at.options(o)
				if v.change != nil {
					v.change(o)
				}
			})
			wantDial(t, c, err, at, v.stage, v.code, v.advice)
		})
	}
	for _, s := range []*served{onlyNTLM, good, wrongKey} {
		s.mu.Lock()
		for _, l := range s.logons {
			if l.Err == nil {
				t.Errorf("somebody logged on: %+v", l)
			}
		}
		s.mu.Unlock()
	}
	// With the right things, and a server that would take NTLM too, it is Kerberos.
	c, _ := both.mustDial(t, user)
	whole(t, c)
	if l := both.lastLogon(t, 1); l.Mechanism != "kerberos" || l.User != "u1" || l.Domain != k.Realm {
		t.Errorf("OnLogon heard %+v", l)
	}
}

// late are the credentials of a client whose clock is an hour off.
func (k *realm) late(o *Options) Credentials {
	conf := kerberos.ClientConfig{Principal: "u1@" + k.Realm, Keytab: k.users, Krb5Conf: k.Config, Dial: o.Dialer,
		Now: func() time.Time { return time.Now().Add(time.Hour) }}
	return Credentials{func(*Options) (login, error) {
		c, err := kerberos.NewClient(conf)
		if err != nil {
			return login{}, err
		}
		return login{kerberos: true, close: func() { c.Close() },
			initiate: func(service, host string) gss.Context { return c.Initiator(principals(service, host)...) }}, nil
	}}
}

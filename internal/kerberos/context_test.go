package kerberos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/kerberos/kdctest"
)

const (
	service  = "host/ca.example.test"
	password = "correct horse"
)

// realm starts a KDC with a user and a service.
func realm(t *testing.T, o ...kdctest.Options) *kdctest.KDC {
	t.Helper()
	k := kdctest.Start(t, o...)
	k.AddPrincipal("backup", password)
	k.AddPrincipal(service, "")
	return k
}

func client(t *testing.T, c ClientConfig) *Client {
	t.Helper()
	cl, err := NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

func acceptorConfig(t *testing.T, keytab string) AcceptorConfig {
	t.Helper()
	kt, err := LoadKeytab(keytab)
	if err != nil {
		t.Fatal(err)
	}
	return AcceptorConfig{Keytab: kt, Replay: NewReplayCache(0)}
}

// handshake runs all legs.
func handshake(i, a gss.Context) error {
	ctx := context.Background()
	var token []byte
	for leg := 1; leg <= 4; leg++ {
		out, idone, err := i.Step(ctx, token)
		if err != nil {
			return fmt.Errorf("initiator: %w", err)
		}
		answer, adone, err := a.Step(ctx, out)
		if err != nil {
			return fmt.Errorf("acceptor: %w", err)
		}
		if idone != adone {
			return fmt.Errorf("initiator done: %v, acceptor done: %v", idone, adone)
		}
		if idone {
			if len(answer) != 0 {
				return errors.New("acceptor has more to say")
			}
			return nil
		}
		token = answer
	}
	return errors.New("too many legs")
}

// talk sends messages of several sizes both ways, sealed and signed.
func talk(t *testing.T, a, b gss.Context) {
	t.Helper()
	for n, size := range []int{0, 1, 15, 16, 17, 31, 32, 100, 4096, 5840} {
		for _, signHeader := range []bool{false, true} {
			for _, seal := range []bool{false, true} {
				from, to := a, b
				if n%2 == 1 {
					from, to = b, a
				}
				plain := counting(byte(n), size)
				m := gss.Message{Header: []byte("a header of 24 bytes, or"), Body: bytes.Clone(plain), Trailer: []byte("8 bytes."), SignHeader: signHeader}
				token := make([]byte, from.TokenSize(seal, size))
				if err := from.Wrap(token, m, seal); err != nil {
					t.Fatal(err)
				}
				if seal && size >= 15 && bytes.Equal(m.Body, plain) {
					t.Error("body was not encrypted")
				}
				if err := to.Unwrap(token, m, seal); err != nil {
					t.Fatalf("%d bytes, seal %v, header %v: %v", size, seal, signHeader, err)
				}
				if !bytes.Equal(m.Body, plain) {
					t.Fatalf("%d bytes changed on the way", size)
				}
			}
		}
	}
}

func TestAgainstKDC(t *testing.T) {
	k := realm(t)
	serviceKeytab := k.Keytab(service)
	sc := acceptorConfig(t, serviceKeytab)
	cache := k.Kinit("backup", password)
	for _, v := range []struct {
		name string
		c    ClientConfig
	}{
		{"password", ClientConfig{Principal: "backup@" + k.Realm, Password: []byte(password)}},
		{"password, default realm", ClientConfig{Principal: "backup", Password: []byte(password)}},
		{"keytab", ClientConfig{Keytab: k.Keytab("backup")}},
		{"cache", ClientConfig{Cache: cache}},
		{"cache with type", ClientConfig{Cache: "FILE:" + cache}},
	} {
		t.Run(v.name, func(t *testing.T) {
			v.c.Krb5Conf = k.Config
			cl := client(t, v.c)
			i, a := cl.Initiator("RPCSS/ca.example.test", service), NewAcceptor(sc)
			if err := handshake(i, a); err != nil {
				t.Fatal(err)
			}
			if p := a.Peer(); p != (gss.Peer{Mechanism: "kerberos", User: "backup", Domain: k.Realm}) {
				t.Errorf("acceptor's peer %+v", p)
			}
			if p := i.Peer(); p != (gss.Peer{Mechanism: "kerberos", User: service, Domain: k.Realm}) {
				t.Errorf("initiator's peer %+v", p)
			}
			for _, dir := range [][2]gss.MIC{{i, a}, {a, i}} {
				mic, err := dir[0].MIC([]byte("mechanisms"))
				if err != nil {
					t.Fatal(err)
				}
				if err := dir[1].VerifyMIC([]byte("mechanisms"), mic); err != nil {
					t.Error(err)
				}
			}
			i.AfterMIC()
			a.AfterMIC()
			talk(t, i, a)
			// a second context from the same client needs no KDC
			if err := handshake(cl.Initiator(service), NewAcceptor(sc)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEtypes(t *testing.T) {
	for _, e := range etypes {
		t.Run(e.name, func(t *testing.T) {
			k := realm(t, kdctest.Options{Etypes: []string{e.name}})
			cl := client(t, ClientConfig{Principal: "backup", Password: []byte(password), Krb5Conf: k.Config})
			i, a := cl.Initiator(service), NewAcceptor(acceptorConfig(t, k.Keytab(service)))
			if err := handshake(i, a); err != nil {
				t.Fatal(err)
			}
			talk(t, i, a)
		})
	}
}

// TestKvnoCache uses a cache that has a service's ticket, and a KDC that is
// not there any more.
func TestKvnoCache(t *testing.T) {
	k := realm(t)
	cache := k.Kinit("backup", password)
	k.Kvno(cache, service)
	cl := client(t, ClientConfig{Cache: cache, Krb5Conf: k.Config, KDCs: []string{"127.0.0.1:1"}})
	if err := handshake(cl.Initiator("RPCSS/ca.example.test", service), NewAcceptor(acceptorConfig(t, k.Keytab(service)))); err != nil {
		t.Fatal(err)
	}
	// for another service the KDC is needed
	_, _, err := cl.Initiator("RPCSS/ca.example.test").Step(context.Background(), nil)
	if err == nil || errors.Is(err, gss.ErrLogon) {
		t.Errorf("no KDC: %v", err)
	}
}

// TestKeytabVersions changes the service's key twice: tickets of the versions
// in the keytab are accepted.
func TestKeytabVersions(t *testing.T) {
	k := realm(t)
	cache := k.Kinit("backup", password)
	k.Kvno(cache, service)
	old := k.Keytab(service)
	k.Admin("cpw -randkey -keepold "+service, "cpw -randkey -keepold "+service)
	all := k.Keytab(service)
	fresh := k.Kinit("backup", password)
	k.Kvno(fresh, service)
	for _, v := range []struct {
		name, cache, keytab string
		ok                  bool
	}{
		{"old ticket, old keytab", cache, old, true},
		{"old ticket, all keys", cache, all, true},
		{"new ticket, all keys", fresh, all, true},
		{"new ticket, old keytab", fresh, old, false},
	} {
		cl := client(t, ClientConfig{Cache: v.cache, Krb5Conf: k.Config})
		err := handshake(cl.Initiator(service), NewAcceptor(acceptorConfig(t, v.keytab)))
		if (err == nil) != v.ok {
			t.Errorf("%s: %v", v.name, err)
		}
		if err != nil && (!errors.Is(err, gss.ErrLogon) || !strings.Contains(err.Error(), "key version 3")) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

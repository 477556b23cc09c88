package kerberos

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/keytab"

	"github.com/certkeep/certkeep/internal/gss"
)

// exportCache writes a cache file with these tickets.
func exportCache(version byte, owner principal, tickets ...*credential) []byte {
	b := []byte{5, version}
	u16 := func(v int) { b = append(b, byte(v>>8), byte(v)) }
	u32 := func(v int) { u16(v >> 16); u16(v & 0xffff) }
	data := func(v string) { u32(len(v)); b = append(b, v...) }
	name := func(p principal) {
		u32(1)
		u32(len(p.name))
		data(p.realm)
		for _, n := range p.name {
			data(n)
		}
	}
	if version == 4 {
		u16(12)
		u16(1)
		u16(8)
		u32(0)
		u32(0)
	}
	name(owner)
	for _, c := range tickets {
		name(c.client)
		name(c.server)
		u16(int(c.etype))
		if version == 3 {
			u16(int(c.etype))
		}
		var value []byte
		if c.key != nil {
			value = c.key.value
		}
		data(string(value))
		u32(int(c.start.Unix()))
		u32(int(c.start.Unix()))
		u32(int(c.end.Unix()))
		u32(0)
		b = append(b, 0)
		u32(0)
		u32(1) // one address
		u16(2)
		data("\x7f\x00\x00\x01")
		u32(1) // one authorization datum
		u16(1)
		data("authorization")
		data(string(c.raw))
		data("") // second ticket
	}
	return b
}

// FuzzCache: a ticket cache is read to its end or refused.
func FuzzCache(f *testing.F) {
	c := fuzzForge(f).client()
	config := &credential{client: c.self, server: principal{[]string{"krb5_ccache_conf_data", "fast_avail"}, "X-CACHECONF:"}, raw: []byte("yes"), start: time.Unix(0, 0), end: time.Unix(0, 0)}
	rc4 := *c.cached[0]
	rc4.etype, rc4.key = 23, nil
	for _, version := range []byte{3, 4} {
		b := exportCache(version, c.self, config, c.cached[0], &rc4)
		if owner, tickets, err := parseCache(b); err != nil || owner.String() != c.self.String() || len(tickets) != 2 ||
			!bytes.Equal(tickets[0].key.value, c.cached[0].key.value) || !bytes.Equal(tickets[0].raw, c.cached[0].raw) || tickets[1].key != nil {
			f.Fatalf("version %d: %v, %d tickets, %v", version, owner, len(tickets), err)
		}
		f.Add(b)
		f.Add(bytes.Clone(b[:len(b)-1]))
		f.Add(exportCache(version, c.self))
	}
	f.Add([]byte{5, 4, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		owner, tickets, err := parseCache(b)
		if err != nil {
			return
		}
		if len(owner.name) == 0 {
			t.Fatal("nobody's")
		}
		for _, c := range tickets {
			if (c.key != nil) != (etypes[c.etype] != nil) || c.key != nil && len(c.key.value) != c.key.et.key || !bytes.Contains(b, c.raw) {
				t.Fatalf("%+v", c)
			}
		}
		// Tickets of any content are used, or not, without harm.
		k := fuzzForge(t).client()
		k.self, k.cached = owner, tickets
		k.lookup([]string{"host", "ca.example.test"}, "")
	})
}

// FuzzKeytab: gokrb5's decoder may panic over it, and this must not show.
func FuzzKeytab(f *testing.F) {
	g := fuzzForge(f)
	for _, id := range []int32{etypeAES128SHA1, 23} {
		k := keytab.New()
		if err := k.AddEntry("host/ca.example.test", testRealm, "a password", testNow, 3, id); err != nil {
			f.Fatal(err)
		}
		b, err := k.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(bytes.Clone(b[:len(b)-5]))
	}
	for _, b := range [][]byte{nil, {5, 2}, {5, 1, 0, 0, 0, 1}, {5, 2, 0x80, 0, 0, 0, 0, 0, 0, 0}, {5, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		{5, 2, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff}, {5, 2, 0x7f, 0xff, 0xff, 0xff}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeytab(b)
		if err != nil {
			return
		}
		if len(k.Principals()) == 0 {
			t.Fatal("a keytab of nobody")
		}
		for i := range k.entries {
			if e := &k.entries[i]; len(e.key.value) != e.key.et.key || len(e.name) == 0 {
				t.Fatalf("%+v", e)
			}
		}
		g.t = t
		c := g.acceptor()
		c.Keytab = k
		if _, _, err := NewAcceptor(c).Step(t.Context(), g.request()); err != nil && !errors.Is(err, gss.ErrLogon) {
			t.Fatal(err)
		}
	})
}

// FuzzConfig: a krb5.conf is read or refused.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		"[libdefaults]\n default_realm = EXAMPLE.TEST\n default_tgs_enctypes = aes256-cts-hmac-sha1-96 rc4-hmac\n ticket_lifetime = 1d\n clockskew = 300\n" +
			"[realms]\n EXAMPLE.TEST = {\n  kdc = 127.0.0.1:88\n  kdc = tcp/kdc.example.test*\n  admin_server = x\n }\n[domain_realm]\n .example.test = EXAMPLE.TEST\n",
		"[realms]\n A = {\n B = {\n }\n", "[realms]\n}\n", "[realms]\n = {\n}\n", "[libdefaults]\n x\n", "[domain_realm]\n = \n", "[libdefaults]\n default_tgs_enctypes = rc4-hmac\n",
		"[realms]\n A = {\n v4_instance_convert = {\n }\n }\n", "[libdefaults]\n renew_lifetime = -1:\n forwardable = maybe\n", "[", "#\n;\n", "",
		"[realms]\n A = {}\n", // gokrb5 panics over it
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig("krb5.conf", text)
		if err != nil {
			return
		}
		if len(c.etypes) == 0 {
			t.Fatal("no encryption type is left")
		}
		for _, host := range []string{"ca.example.test", "", ".", "a..b", "EXAMPLE.test."} {
			c.realmOf(host)
		}
		for _, id := range c.etypes {
			if etypes[id] == nil {
				t.Fatalf("type %d would be asked for", id)
			}
		}
	})
}

// FuzzPrincipal: a name that is read can be written.
func FuzzPrincipal(f *testing.F) {
	for _, s := range []string{"backup@EXAMPLE.TEST", "host/ca.example.test@", "a/b/c", "", "@", "/", `a\@b@C`, "a@b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePrincipal(s, testRealm)
		if err != nil {
			return
		}
		if len(p.name) == 0 || p.realm == "" || p.String() == "" {
			t.Fatalf("%q is read as %+v", s, p)
		}
		if again, err := parsePrincipal(p.String(), "OTHER"); err == nil && (again.realm != p.realm || !equalNames(again.name, p.name)) {
			t.Fatalf("%q is read as %+v, and then as %+v", s, p, again)
		}
	})
}

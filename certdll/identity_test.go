package certdll

import (
	"context"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
)

func TestIdentity(t *testing.T) {
	e, d := authority(t)
	c := d.client(t)
	want := certadm.Identity{Name: certsrvtest.Name, SanitizedName: certadm.SanitizeName(certsrvtest.Name), Host: "CA1", Engine: "sqlite"}
	same := func(got certadm.Identity, err error) {
		t.Helper()
		got.Host = strings.ToUpper(got.Host)
		if err != nil || got.Name != want.Name || got.SanitizedName != want.SanitizedName || got.Host != want.Host || got.Engine != want.Engine {
			t.Errorf("Identity = %+v, %v, want %+v", got, err, want)
		}
	}
	same(c.Identity(t.Context())) // by a session of its own
	prepares := d.called(expPrepare)
	same(c.Identity(t.Context()))
	b := prepare(t, c)
	same(c.Identity(t.Context()))
	if n := d.called(expPrepare); n != prepares+1 {
		t.Errorf("%d sessions for an identity that is known", n-prepares-1)
	}
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}

	d2 := newFake(d.connect) // in the caller's session
	c2 := d2.client(t)
	b = prepare(t, c2)
	same(c2.Identity(t.Context()))
	if n := d2.called(expPrepare); n != 1 {
		t.Errorf("%d sessions", n)
	}
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}

	d3 := newFake(d.connect)
	c3 := d3.client(t)
	c3.identify = func(context.Context) (certadm.Identity, error) { return certadm.Identity{Name: "told"}, nil }
	if id, err := c3.Identity(t.Context()); id.Name != "told" || err != nil {
		t.Errorf("%+v, %v", id, err)
	}
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	c4 := newFake(d.connect)
	_, err := c4.client(t).Identity(t.Context())
	if err == nil {
		t.Error("Identity of a stopped service succeeds")
	}
}

func TestIdentityOf(t *testing.T) {
	c := &Client{server: "srv"}
	for path, want := range map[string]certadm.Identity{
		`\\CA01\C$\Windows\system32\CertLog\Corp CA.edb`:  {Name: "Corp CA", SanitizedName: "Corp CA", Host: "CA01", Engine: "ese"},
		`\\CA01\C$\CertLog\!00dcber!002fCA.EDB`:           {Name: "Über/CA", SanitizedName: "!00dcber!002fCA", Host: "CA01", Engine: "ese"},
		`\\CA01\C$\CertLog\bad!escape.db`:                 {Name: "bad!escape", SanitizedName: "bad!escape", Host: "CA01", Engine: "sqlite"},
		`C:\CertLog\Corp CA.v2.edb`:                       {Name: "Corp CA.v2", SanitizedName: "Corp CA.v2", Host: "srv", Engine: "ese"},
		`\\CA01`:                                          {Name: "CA01", SanitizedName: "CA01", Host: "srv"},
		`\\CA01\x\other.mdb`:                              {Name: "other", SanitizedName: "other", Host: "CA01"},
		`\\` + strings.Repeat("x", 10) + `\.edb`:          {Host: "xxxxxxxxxx", Engine: "ese"},
		`\\CA01\C$\CertLog\` + strings.Repeat("n", 40000): {Name: strings.Repeat("n", 40000), SanitizedName: strings.Repeat("n", 40000), Host: "CA01"},
	} {
		got := c.identityOf(certadm.FileList{{Type: certadm.FileDatabase, Path: path}})
		if got.Name != want.Name || got.SanitizedName != want.SanitizedName || got.Host != want.Host || got.Engine != want.Engine {
			t.Errorf("%.80s: %+v, want %+v", path, got, want)
		}
	}
	if got := c.identityOf(nil); got.Host != "srv" || got.Name != "" {
		t.Errorf("without locations: %+v", got)
	}
}

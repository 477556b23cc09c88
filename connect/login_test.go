package connect

import (
	"errors"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		address, env string
		auth         Auth
		keytab       string
		user         string
		from         source
	}{
		{"adcs://srv", "", "", "", "", fromCache},
		{"adcs://srv", "", AuthAuto, "", "", fromCache},
		{"adcs://srv", "", AuthKerberos, "", "", fromCache},
		{"adcs://bob@srv", "", "", "", "bob", fromNTLMPassword},
		{`adcs://CORP\bob@srv`, "", "", "", `CORP\bob`, fromNTLMPassword},
		{"adcs://bob@CORP.EXAMPLE@srv", "", "", "", "bob@CORP.EXAMPLE", fromTicketPassword},
		{"adcs://bob@CORP.EXAMPLE@srv", "", "", "bob.keytab", "bob@CORP.EXAMPLE", fromKeytab},
		{"adcs://bob@srv", "", AuthKerberos, "", "bob", fromTicketPassword},
		{"adcs://bob@srv", "", AuthKerberos, "bob.keytab", "bob", fromKeytab},
		{"adcs://bob@CORP.EXAMPLE@srv", "", AuthNTLM, "", "bob@CORP.EXAMPLE", fromNTLMPassword},
		{"adcs://srv", "eve@CORP.EXAMPLE", "", "", "eve@CORP.EXAMPLE", fromTicketPassword},
		{"adcs://srv", "eve", "", "", "eve", fromNTLMPassword},
		{"adcs://bob@srv", "eve@CORP.EXAMPLE", "", "", "bob", fromNTLMPassword},
	} {
		a, err := Parse(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		user, from, err := Login{User: tt.env, Auth: tt.auth, Keytab: tt.keytab}.choose(a)
		if err != nil || user != tt.user || from != tt.from {
			t.Errorf("%+v: %q from %q, %v", tt, user, from, err)
		}
	}
}

func TestChooseRefuses(t *testing.T) {
	for _, tt := range []struct {
		address string
		auth    Auth
		keytab  string
		want    string
	}{
		{"adcs://srv", AuthNTLM, "", "NTLM needs a user"},
		{"adcs://srv", AuthAuto, "k", "whose key"},
		{"adcs://bob@srv", AuthAuto, "k", "a keytab is for Kerberos"},
		{"adcs://bob@srv", AuthNTLM, "k", "a keytab is for Kerberos"},
		{`adcs://CORP\bob@srv`, AuthKerberos, "", "USER@REALM"},
		{"adcs://bob@srv", "basic", "", `no way "basic"`},
	} {
		a, err := Parse(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = Login{Auth: tt.auth, Keytab: tt.keytab}.choose(a)
		if !errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestSplitDomain(t *testing.T) {
	for in, want := range map[string][2]string{`CORP\bob`: {"CORP", "bob"}, "bob": {"", "bob"}, "bob@corp": {"", "bob@corp"}, `a\b\c`: {"a", `b\c`}} {
		if d, n := splitDomain(in); d != want[0] || n != want[1] {
			t.Errorf("%s: %q, %q", in, d, n)
		}
	}
}

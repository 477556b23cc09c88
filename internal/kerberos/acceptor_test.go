package kerberos

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"golang.org/x/crypto/cryptobyte"

	"github.com/certkeep/certkeep/internal/gss"
)

// frameOf puts the frame of RFC 4121 section 4.1 around a message.
func frameOf(t testing.TB, oid asn1.ObjectIdentifier, id uint16, msg []byte) []byte {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(application(0), func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddUint16(id)
		b.AddBytes(msg)
	})
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func frame(t testing.TB, id uint16, msg []byte) []byte { return frameOf(t, oidKRB5, id, msg) }

// TestAcceptedRequests: what a request may be like.
func TestAcceptedRequests(t *testing.T) {
	for name, change := range map[string]func(f *forge, c *AcceptorConfig){
		"as it is":                func(*forge, *AcceptorConfig) {},
		"clock four minutes slow": func(f *forge, _ *AcceptorConfig) { f.auth.CTime = f.auth.CTime.Add(-4 * time.Minute) },
		"clock four minutes fast": func(f *forge, _ *AcceptorConfig) { f.auth.CTime = f.auth.CTime.Add(4 * time.Minute) },
		"ticket ended within the skew": func(f *forge, _ *AcceptorConfig) {
			f.part.EndTime = testNow.Add(-4 * time.Minute).Truncate(time.Second)
		},
		"ticket begins within the skew": func(f *forge, _ *AcceptorConfig) {
			f.part.StartTime = testNow.Add(4 * time.Minute).Truncate(time.Second)
		},
		"a realm that is named": func(f *forge, c *AcceptorConfig) {
			f.part.CRealm, f.auth.CRealm, c.Realms = "OTHER", "OTHER", []string{"OTHER"}
		},
		"through realms that the KDC has checked": func(f *forge, c *AcceptorConfig) {
			f.part.CRealm, f.auth.CRealm, c.Realms = "OTHER", "OTHER", []string{"OTHER"}
			f.part.Transited = messages.TransitedEncoding{TRType: 1, Contents: []byte("BETWEEN")}
			types.SetFlag(&f.part.Flags, transitPolicyChecked)
		},
		"another key version":            func(f *forge, _ *AcceptorConfig) { f.ticket.EncPart.KVNO = 258 },
		"as another service of that key": func(f *forge, _ *AcceptorConfig) { f.ticket.SName.NameString = []string{"RPCSS", "ca.example.test"} },
		"no subkey":                      func(f *forge, _ *AcceptorConfig) { f.auth.SubKey = types.EncryptionKey{} },
		"a subkey, which is not used": func(f *forge, _ *AcceptorConfig) {
			f.auth.SubKey = types.EncryptionKey{KeyType: 23, KeyValue: make([]byte, 16)}
		},
		"more in the checksum, as Windows": func(f *forge, _ *AcceptorConfig) {
			f.auth.Cksum.Checksum = append(f.auth.Cksum.Checksum, make([]byte, 8)...)
		},
		"identify and extended error flags": func(f *forge, _ *AcceptorConfig) { f.flags(0x6000 | gssDCE | gssMutual) },
		"channel bindings of the client's":  func(f *forge, _ *AcceptorConfig) { copy(f.auth.Cksum.Checksum[4:20], "channel bindings") },
		"a sequence number above 2^31":      func(f *forge, _ *AcceptorConfig) { f.auth.SeqNumber = 0xfffffffe },
	} {
		f := newForge(t, etypeAES256SHA1)
		c := f.acceptor()
		change(f, &c)
		a := NewAcceptor(c)
		out, done, err := a.Step(t.Context(), f.request())
		if err != nil || done || out[0] != octetAPRep || a.Peer() != (gss.Peer{}) {
			t.Errorf("%s: done %v, %v", name, done, err)
			continue
		}
		part, err := openAPRep(out, f.sessionKey.sealer(usageAPRep))
		if err != nil {
			t.Fatal(err)
		}
		if part.time != (stamp{f.auth.CTime.Unix(), int64(f.auth.Cusec)}) || part.subkeyID != etypeAES256SHA1 || len(part.subkey) != 32 || !part.hasSeq {
			t.Errorf("%s: answered with %+v", name, part)
		}
		third := f.reply(f.sessionKey, apRepPart{time: stampOf(testNow), hasSeq: true, seqNumber: part.seqNumber})
		if out, done, err := a.Step(t.Context(), third); err != nil || !done || out != nil {
			t.Errorf("%s: done %v, %v", name, done, err)
		}
		if p := a.Peer(); p.User != "backup" || p.Domain != f.part.CRealm {
			t.Errorf("%s: peer %+v", name, p)
		}
	}
}

// TestRefusedRequests: one thing is wrong with each request.
func TestRefusedRequests(t *testing.T) {
	other := newForge(t, etypeAES256SHA1)
	for name, v := range map[string]struct {
		change func(f *forge, c *AcceptorConfig)
		says   string
	}{
		"wrong service key":       {func(f *forge, _ *AcceptorConfig) { f.ticketKey = other.serviceKey }, "no key in the keytab"},
		"ticket of another realm": {func(f *forge, _ *AcceptorConfig) { f.ticket.Realm = "OTHER" }, "no key in the keytab"},
		"no keytab":               {func(_ *forge, c *AcceptorConfig) { c.Keytab = nil }, "no keytab"},
		"rc4 ticket":              {func(f *forge, _ *AcceptorConfig) { f.ticket.EncPart.EType = 23 }, "type 23"},
		"ticket of another type":  {func(f *forge, _ *AcceptorConfig) { f.ticket.EncPart.EType = etypeAES128SHA1 }, "no key in the keytab"},
		"rc4 session key": {func(f *forge, _ *AcceptorConfig) {
			f.part.Key = types.EncryptionKey{KeyType: 23, KeyValue: make([]byte, 16)}
		}, "type 23"},
		"short session key": {func(f *forge, _ *AcceptorConfig) { f.part.Key.KeyValue = make([]byte, 16) }, "32"},
		"ticket expired": {func(f *forge, _ *AcceptorConfig) {
			f.part.EndTime = testNow.Add(-6 * time.Minute).Truncate(time.Second)
		}, "expired"},
		"ticket of the future": {func(f *forge, _ *AcceptorConfig) {
			f.part.StartTime = testNow.Add(6 * time.Minute).Truncate(time.Second)
		}, "valid from"},
		"made in the future": {func(f *forge, _ *AcceptorConfig) {
			f.part.AuthTime = testNow.Add(6 * time.Minute).Truncate(time.Second)
		}, "valid from"},
		"invalid ticket":          {func(f *forge, _ *AcceptorConfig) { types.SetFlag(&f.part.Flags, flags.Invalid) }, "invalid"},
		"client of another realm": {func(f *forge, _ *AcceptorConfig) { f.part.CRealm, f.auth.CRealm = "OTHER", "OTHER" }, "not accepted here"},
		"through realms that nobody checked": {func(f *forge, c *AcceptorConfig) {
			f.part.CRealm, f.auth.CRealm, c.Realms = "OTHER", "OTHER", []string{"OTHER"}
			f.part.Transited = messages.TransitedEncoding{TRType: 1, Contents: []byte("BETWEEN")}
		}, "did not check"},
		"no client":      {func(f *forge, _ *AcceptorConfig) { f.part.CName.NameString = []string{""} }, "names no client"},
		"anonymous name": {func(f *forge, _ *AcceptorConfig) { f.part.CName.NameString = []string{"WELLKNOWN", "ANONYMOUS"} }, "anonymous"},
		"anonymous realm": {func(f *forge, c *AcceptorConfig) {
			f.part.CRealm = "WELLKNOWN:ANONYMOUS"
			c.Realms = []string{f.part.CRealm}
		}, "anonymous"},
		"anonymous flag":          {func(f *forge, _ *AcceptorConfig) { types.SetFlag(&f.part.Flags, anonymousFlag) }, "anonymous"},
		"user to user":            {func(f *forge, _ *AcceptorConfig) { f.option = 0x60 }, "user-to-user"},
		"protocol version 4":      {func(f *forge, _ *AcceptorConfig) { f.pvno = 4 }, "protocol version"},
		"ticket version 4":        {func(f *forge, _ *AcceptorConfig) { f.ticket.TktVNO = 4 }, "protocol version"},
		"another session key":     {func(f *forge, _ *AcceptorConfig) { f.authKey = other.sessionKey }, "not made with"},
		"the service's key":       {func(f *forge, _ *AcceptorConfig) { f.authKey = f.serviceKey }, "not made with"},
		"authenticator of a type": {func(f *forge, _ *AcceptorConfig) { f.authType = etypeAES128SHA1 }, "encryption type"},
		"another user's":          {func(f *forge, _ *AcceptorConfig) { f.auth.CName.NameString = []string{"mallory"} }, "different clients"},
		"another realm's":         {func(f *forge, _ *AcceptorConfig) { f.auth.CRealm = "OTHER" }, "different clients"},
		"another user's, longer":  {func(f *forge, _ *AcceptorConfig) { f.auth.CName.NameString = []string{"backup", "admin"} }, "different clients"},
		"clock six minutes slow":  {func(f *forge, _ *AcceptorConfig) { f.auth.CTime = f.auth.CTime.Add(-6 * time.Minute) }, "off by -6m"},
		"clock six minutes fast":  {func(f *forge, _ *AcceptorConfig) { f.auth.CTime = f.auth.CTime.Add(6 * time.Minute) }, "off by 6m"},
		"clock off, less allowed": {func(f *forge, c *AcceptorConfig) {
			f.auth.CTime = f.auth.CTime.Add(90 * time.Second)
			c.MaxSkew = time.Minute
		}, "off by 1m"},
		"a million microseconds":    {func(f *forge, _ *AcceptorConfig) { f.auth.Cusec = 1000000 }, "microseconds"},
		"no checksum":               {func(f *forge, _ *AcceptorConfig) { f.auth.Cksum = types.Checksum{} }, "no GSS checksum"},
		"checksum of another type":  {func(f *forge, _ *AcceptorConfig) { f.auth.Cksum.CksumType = 16 }, "no GSS checksum"},
		"short checksum":            {func(f *forge, _ *AcceptorConfig) { f.auth.Cksum.Checksum = f.auth.Cksum.Checksum[:23] }, "no GSS checksum"},
		"bindings of wrong length":  {func(f *forge, _ *AcceptorConfig) { f.auth.Cksum.Checksum[0] = 15 }, "no GSS checksum"},
		"not in DCE style":          {func(f *forge, _ *AcceptorConfig) { f.flags(gssMutual | gssConf | gssInteg) }, "DCE style"},
		"not mutual":                {func(f *forge, _ *AcceptorConfig) { f.flags(gssDCE | gssConf | gssInteg) }, "mutual"},
		"ticket that is no ticket":  {func(f *forge, _ *AcceptorConfig) { f.ticketPlain = []byte("ticket") }, "malformed"},
		"empty ticket":              {func(f *forge, _ *AcceptorConfig) { f.ticketPlain = []byte{} }, "malformed"},
		"authenticator that is not": {func(f *forge, _ *AcceptorConfig) { f.authPlain = []byte("authenticator") }, "malformed"},
	} {
		f := newForge(t, etypeAES256SHA1)
		c := f.acceptor()
		v.change(f, &c)
		a := NewAcceptor(c)
		out, done, err := a.Step(t.Context(), f.request())
		if !errors.Is(err, gss.ErrLogon) || out != nil || done || a.Peer() != (gss.Peer{}) {
			t.Errorf("%s: answered %x, done %v, %v", name, out, done, err)
			continue
		}
		if !strings.Contains(err.Error(), v.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := a.Step(t.Context(), newForge(t, etypeAES256SHA1).request()); err == nil {
			t.Errorf("%s: another try", name)
		}
	}
}

// TestFrames: a request comes alone, or in the frame of other styles.
func TestFrames(t *testing.T) {
	f := newForge(t, etypeAES128SHA2)
	req := f.request()
	good := frame(t, 0x0100, req)
	for name, v := range map[string]struct {
		token []byte
		ok    bool
	}{
		"alone":                     {req, true},
		"framed":                    {good, true},
		"framed by the other":       {frameOf(t, oidMSKRB5, 0x0100, req), true},
		"of another mechanism":      {frameOf(t, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}, 0x0100, req), false},
		"framed as something else":  {frame(t, 0x0200, req), false},
		"framed twice":              {frame(t, 0x0100, good), false},
		"an empty frame":            {frame(t, 0x0100, nil), false},
		"nothing":                   {nil, false},
		"something behind":          {append(bytes.Clone(req), 0), false},
		"something behind in frame": {frame(t, 0x0100, append(bytes.Clone(req), 0)), false},
		"too long":                  {make([]byte, maxToken+1), false},
		"an AP-REP":                 {f.reply(f.sessionKey, apRepPart{time: stampOf(testNow)}), false},
		"one octet":                 {[]byte{octetAPReq}, false},
		"a header alone":            {[]byte{octetAPReq, 0}, false},
	} {
		_, _, err := NewAcceptor(f.acceptor()).Step(t.Context(), v.token)
		if (err == nil) != v.ok || err != nil && !errors.Is(err, gss.ErrLogon) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReplay: a request is good once; for as long as its time would be.
func TestReplay(t *testing.T) {
	f := newForge(t, etypeAES256SHA2)
	c := f.acceptor()
	now := testNow
	c.Now, c.Replay = func() time.Time { return now }, NewReplayCache(2)
	req := f.request()
	if _, _, err := NewAcceptor(c).Step(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	for _, token := range [][]byte{req, frame(t, 0x0100, req)} {
		if _, _, err := NewAcceptor(c).Step(t.Context(), token); !errors.Is(err, gss.ErrLogon) || !strings.Contains(err.Error(), "replayed") {
			t.Errorf("%v", err)
		}
	}
	// The same client, the same microsecond, another authenticator.
	if _, _, err := NewAcceptor(c).Step(t.Context(), f.request()); err != nil {
		t.Errorf("another request: %v", err)
	}
	now = testNow.Add(DefaultMaxSkew)
	if _, _, err := NewAcceptor(c).Step(t.Context(), req); err == nil || !strings.Contains(err.Error(), "replayed") {
		t.Errorf("at the last moment: %v", err)
	}
	// A request that was refused for its clock takes no room in the cache.
	late := newForge(t, etypeAES256SHA2)
	late.serviceKey, late.auth.CTime = f.serviceKey, testNow.Add(-time.Hour)
	if _, _, err := NewAcceptor(c).Step(t.Context(), late.request()); err == nil {
		t.Error("a clock that is off is accepted")
	}
	if len(c.Replay.seen) != 2 || len(c.Replay.order) != 2 {
		t.Errorf("%d are remembered", len(c.Replay.seen))
	}
}

func TestReplayCache(t *testing.T) {
	c := NewReplayCache(2)
	at := func(n int) time.Time { return testNow.Add(time.Duration(n) * time.Second) }
	for _, v := range []struct {
		name       string
		now, until int
		fresh      bool
	}{
		{"a", 0, 10, true}, {"b", 0, 5, true}, {"a", 0, 10, false}, {"b", 5, 5, false},
		{"b", 6, 12, true}, // its time is over, and it begins anew
		{"c", 6, 11, true}, // full: "a", which ends first, is forgotten
		{"b", 6, 12, false}, {"c", 6, 11, false}, {"a", 6, 10, true},
	} {
		if got := c.add([]byte(v.name), at(v.now), at(v.until)); got != v.fresh {
			t.Errorf("%s at %d: %v", v.name, v.now, got)
		}
		if len(c.seen) > 2 || len(c.seen) != len(c.order) {
			t.Fatalf("%d remembered, %d in order", len(c.seen), len(c.order))
		}
	}
	if d := NewReplayCache(0); d.limit != DefaultReplayEntries {
		t.Errorf("limit %d", d.limit)
	}
}

// TestThirdLeg: only who can read our number and has the session key is let in.
// This is what holds against whoever replays a request where no cache is.
func TestThirdLeg(t *testing.T) {
	for name, leg := range map[string]func(f *forge, ours *apRepPart, answer []byte) []byte{
		"missing":           func(*forge, *apRepPart, []byte) []byte { return nil },
		"our own":           func(_ *forge, _ *apRepPart, answer []byte) []byte { return answer },
		"the request again": func(f *forge, _ *apRepPart, _ []byte) []byte { return f.request() },
		"garbage":           func(*forge, *apRepPart, []byte) []byte { return []byte("garbage") },
		"another number": func(f *forge, p *apRepPart, _ []byte) []byte {
			return f.reply(f.sessionKey, apRepPart{time: p.time, hasSeq: true, seqNumber: p.seqNumber + 1})
		},
		"no number":     func(f *forge, p *apRepPart, _ []byte) []byte { return f.reply(f.sessionKey, apRepPart{time: p.time}) },
		"with a subkey": func(f *forge, p *apRepPart, _ []byte) []byte { return f.reply(f.sessionKey, *p) },
		"another key": func(f *forge, p *apRepPart, _ []byte) []byte {
			return f.reply(f.serviceKey, apRepPart{time: p.time, hasSeq: true, seqNumber: p.seqNumber})
		},
		"another type of key": func(f *forge, p *apRepPart, _ []byte) []byte {
			return f.reply(randomKey(etypes[etypeAES128SHA1]), apRepPart{time: p.time, hasSeq: true, seqNumber: p.seqNumber})
		},
		"an error": func(f *forge, _ *apRepPart, _ []byte) []byte { return krbErrorMessage(f.t, codeSkew, testNow) },
	} {
		f := newForge(t, etypeAES256SHA1)
		a := NewAcceptor(f.acceptor())
		answer, _, err := a.Step(t.Context(), f.request())
		if err != nil {
			t.Fatal(err)
		}
		ours, err := openAPRep(answer, f.sessionKey.sealer(usageAPRep))
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := a.Step(t.Context(), leg(f, ours, answer))
		if !errors.Is(err, gss.ErrLogon) || done || a.Peer() != (gss.Peer{}) || a.TokenSize(true, 0) != 0 {
			t.Errorf("%s: done %v, %v", name, done, err)
		}
		if a.Wrap(make([]byte, 76), gss.Message{}, true) == nil || a.Unwrap(make([]byte, 76), gss.Message{}, true) == nil {
			t.Errorf("%s: messages pass", name)
		}
		right := f.reply(f.sessionKey, apRepPart{time: ours.time, hasSeq: true, seqNumber: ours.seqNumber})
		if _, _, err := a.Step(t.Context(), right); err == nil {
			t.Errorf("%s: another try", name)
		}
	}
}

// TestOneTokenTooMany: a context that stands takes no more.
func TestOneTokenTooMany(t *testing.T) {
	i, a := newForge(t, etypeAES256SHA1).established()
	for _, c := range []gss.Context{i, a} {
		if _, _, err := c.Step(t.Context(), nil); err == nil {
			t.Errorf("%T takes another token", c)
		}
	}
}

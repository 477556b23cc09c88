package kerberos

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

const testRealm = "EXAMPLE.TEST"

var testNow = time.Date(2025, 1, 2, 3, 4, 5, 678000, time.UTC)

// forge plays the KDC: it makes tickets and authenticators of any content, with
// keys that are all known. Its fields are what goes into the next request.
type forge struct {
	t          testing.TB
	serviceKey *key
	sessionKey *key

	part   messages.EncTicketPart
	ticket messages.Ticket
	auth   types.Authenticator
	option byte // first byte of the AP options

	ticketPlain, authPlain []byte // instead of part's and auth's encodings
	ticketKey, authKey     *key   // instead of serviceKey and sessionKey
	authType               int32  // instead of authKey's
	pvno                   int64
	now                    time.Time // the client's clock
}

func newForge(t testing.TB, id int32) *forge {
	t.Helper()
	et := etypes[id]
	f := &forge{t: t, serviceKey: randomKey(et), sessionKey: randomKey(et), option: 0x20, pvno: 5, now: testNow}
	user := types.PrincipalName{NameType: 1, NameString: []string{"backup"}}
	f.part = messages.EncTicketPart{
		Flags: types.NewKrbFlags(), Key: types.EncryptionKey{KeyType: id, KeyValue: f.sessionKey.value},
		CRealm: testRealm, CName: user, AuthTime: testNow.Add(-time.Hour).Truncate(time.Second), EndTime: testNow.Add(time.Hour).Truncate(time.Second),
	}
	f.ticket = messages.Ticket{TktVNO: 5, Realm: testRealm, SName: types.PrincipalName{NameType: 2, NameString: []string{"host", "ca.example.test"}},
		EncPart: types.EncryptedData{EType: id, KVNO: 2}}
	sum := make([]byte, gssChecksumLen)
	binary.LittleEndian.PutUint32(sum, 16)
	binary.LittleEndian.PutUint32(sum[20:], gssDCE|gssMutual|gssReplay|gssSequence|gssConf|gssInteg)
	at := stampOf(f.now)
	f.auth = types.Authenticator{AVNO: 5, CRealm: testRealm, CName: user, Cusec: int(at.usec), CTime: time.Unix(at.sec, 0).UTC(), SeqNumber: 7,
		Cksum: types.Checksum{CksumType: gssChecksum, Checksum: sum}}
	return f
}

// flags are the GSS flags that the client asks with.
func (f *forge) flags(v uint32) { binary.LittleEndian.PutUint32(f.auth.Cksum.Checksum[20:], v) }

// keytab has the service's key.
func (f *forge) keytab() *Keytab {
	return &Keytab{entries: []keytabEntry{{name: []string{"host", "ca.example.test"}, realm: testRealm, kvno: 2,
		key: f.serviceKey, ticket: f.serviceKey.sealer(usageTicket)}}}
}

func (f *forge) acceptor() AcceptorConfig {
	return AcceptorConfig{Keytab: f.keytab(), Now: func() time.Time { return testNow }}
}

func (f *forge) must(b []byte, err error) []byte {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// makeTicket returns the ticket's encoding.
func (f *forge) makeTicket() []byte {
	f.t.Helper()
	plain, k := f.ticketPlain, f.ticketKey
	if plain == nil {
		plain = asn1tools.AddASNAppTag(f.must(asn1.Marshal(f.part)), 3)
	}
	if k == nil {
		k = f.serviceKey
	}
	t := f.ticket
	t.EncPart.Cipher = k.sealer(usageTicket).seal(plain)
	return f.must(t.Marshal())
}

// request returns the AP-REQ.
func (f *forge) request() []byte {
	f.t.Helper()
	plain, k := f.authPlain, f.authKey
	if plain == nil {
		plain = f.must(f.auth.Marshal())
	}
	if k == nil {
		k = f.sessionKey
	}
	et := k.et
	if f.authType != 0 {
		et = &etype{id: f.authType}
	}
	req := f.must(apReq(f.makeTicket(), true, et, k.sealer(usageAPReqAuth).seal(plain)))
	// Two fields that apReq leaves no choice about; they stand at its front.
	for n := range req {
		if n+5 <= len(req) && string(req[n:n+4]) == "\xa0\x03\x02\x01" {
			req[n+4] = byte(f.pvno)
			break
		}
	}
	for n := range req {
		if string(req[n:n+4]) == "\x03\x05\x00\x20" {
			req[n+3] = f.option
			break
		}
	}
	return req
}

// client has the ticket in its cache, and no KDC.
func (f *forge) client() *Client {
	f.t.Helper()
	c, err := parseConfig("krb5.conf", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	self := principal{[]string{"backup"}, testRealm}
	return &Client{conf: c, self: self, now: func() time.Time { return f.now }, cached: []*credential{{
		client: self, server: principal{f.ticket.SName.NameString, f.ticket.Realm}, key: &key{f.sessionKey.et, append([]byte(nil), f.sessionKey.value...)},
		etype: f.sessionKey.et.id, start: f.part.AuthTime, end: f.part.EndTime, raw: f.makeTicket(),
	}}}
}

// established returns the two sides of a context.
func (f *forge) established() (*Initiator, *Acceptor) {
	f.t.Helper()
	i, a := f.client().Initiator(service), NewAcceptor(f.acceptor())
	if err := handshake(i, a); err != nil {
		f.t.Fatal(err)
	}
	return i, a
}

// reply is an AP-REP of any content, under any key.
func (f *forge) reply(k *key, p apRepPart) []byte {
	f.t.Helper()
	return f.must(apRep(k.et, k.sealer(usageAPRep).seal(f.must(p.marshal()))))
}

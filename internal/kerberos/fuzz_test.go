package kerberos

import (
	"bytes"
	"errors"
	"testing"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/certkeep/certkeep/internal/gss"
)

// fuzzForge has keys that are the same in every process, so that what fuzzing
// finds stays found.
func fuzzForge(t testing.TB) *forge {
	f := newForge(t, etypeAES128SHA1)
	f.serviceKey, f.sessionKey = &key{f.serviceKey.et, counting(0, 16)}, &key{f.sessionKey.et, counting(16, 16)}
	f.part.Key.KeyValue = f.sessionKey.value
	return f
}

// FuzzFrame: a frame is taken off or not; what is left is one element of it.
func FuzzFrame(f *testing.F) {
	req := fuzzForge(f).request()
	for _, b := range [][]byte{req, frame(f, 0x0100, req), frame(f, 0x0200, req), frameOf(f, oidMSKRB5, 0x0300, krbErrorMessage(f, codeSkew, testNow)), {0x60, 0}, nil} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, err := unframe(b)
		if err == nil && (len(msg) < 2 || !bytes.HasSuffix(b, msg)) {
			t.Fatalf("%x is in %x", msg, b)
		}
	})
}

// FuzzAcceptor: nobody is let in with two tokens of any kind.
func FuzzAcceptor(f *testing.F) {
	g := fuzzForge(f)
	req := g.request()
	for _, b := range [][]byte{req, frame(f, 0x0100, req), krbErrorMessage(f, codeSkew, testNow), req[:len(req)/2], {octetAPReq, 0}, nil} {
		f.Add(b, g.reply(g.sessionKey, apRepPart{time: stampOf(testNow), hasSeq: true, seqNumber: 1}))
		f.Add(b, req)
		f.Add(b, []byte{octetAPRep, 0})
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a := NewAcceptor(fuzzForge(t).acceptor())
		for _, in := range [][]byte{one, two} {
			_, done, err := a.Step(t.Context(), in)
			if done || a.Peer() != (gss.Peer{}) || a.Wrap(nil, gss.Message{}, true) == nil {
				t.Fatalf("let in: %v", err)
			}
			if err != nil {
				if !errors.Is(err, gss.ErrLogon) {
					t.Fatal(err)
				}
				return
			}
		}
	})
}

// FuzzSealedParts: what a KDC or a client has encrypted may be anything, too:
// a ticket's content (kind 0) and an authenticator's (1), for an acceptor.
func FuzzSealedParts(f *testing.F) {
	g := fuzzForge(f)
	ticket := asn1tools.AddASNAppTag(g.must(asn1.Marshal(g.part)), 3)
	auth := g.must(g.auth.Marshal())
	empty := types.Authenticator{}
	for kind, seeds := range [][][]byte{{ticket, auth, {0x63, 0}, nil}, {auth, ticket, g.must(empty.Marshal()), {0x62, 0}, nil}} {
		for _, b := range seeds {
			f.Add(byte(kind), b)
			f.Add(byte(kind), bytes.Clone(b[:len(b)/2]))
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, plain []byte) {
		g := fuzzForge(t)
		plain = append([]byte{}, plain...) // not nil
		if kind%2 == 0 {
			g.ticketPlain = plain
		} else {
			g.authPlain = plain
		}
		a := NewAcceptor(g.acceptor())
		out, done, err := a.Step(t.Context(), g.request())
		if done || a.Peer() != (gss.Peer{}) || err != nil && !errors.Is(err, gss.ErrLogon) {
			t.Fatalf("done %v, %v", done, err)
		}
		if err != nil {
			return
		}
		// It was a good one. Then the rest of the way works as well.
		part, err := openAPRep(out, g.sessionKey.sealer(usageAPRep))
		if err != nil {
			t.Skip("with a session key of its own")
		}
		if _, done, err := a.Step(t.Context(), g.reply(g.sessionKey, apRepPart{hasSeq: true, seqNumber: part.seqNumber, time: part.time})); err != nil || !done {
			t.Fatalf("done %v, %v", done, err)
		}
		if p := a.Peer(); p.User == "" || p.Domain == "" {
			t.Fatalf("somebody without a name: %+v", p)
		}
	})
}

// FuzzInitiator: a server that has not the key does not convince a client.
func FuzzInitiator(f *testing.F) {
	g := fuzzForge(f)
	for _, b := range [][]byte{g.reply(g.serviceKey, apRepPart{time: stampOf(testNow), hasSeq: true}), g.request(), krbErrorMessage(f, codeSkew, testNow),
		frame(f, 0x0300, krbErrorMessage(f, codeRepeat, testNow)), {octetKRBError, 0}, {octetAPRep, 0}, nil} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		i := fuzzForge(t).client().Initiator(service)
		if _, _, err := i.Step(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		i.time.usec = 1 << 40 // which no seed has
		out, done, err := i.Step(t.Context(), b)
		if err == nil || done || out != nil || i.Peer() != (gss.Peer{}) || !errors.Is(err, gss.ErrLogon) {
			t.Fatalf("convinced: %v", err)
		}
	})
}

// FuzzAPRepPart: what is read can be written, and is the same when read again.
func FuzzAPRepPart(f *testing.F) {
	for _, p := range []apRepPart{{time: stampOf(testNow)}, {time: stampOf(testNow), subkeyID: 18, subkey: counting(0, 32), hasSeq: true, seqNumber: 0xffffffff}} {
		b, err := p.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(bytes.Clone(b[:len(b)-1]))
	}
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseAPRepPart(b)
		if err != nil {
			return
		}
		b, err = p.marshal()
		if err != nil {
			return // years that cannot be written
		}
		again, err := parseAPRepPart(b)
		if err != nil {
			t.Fatalf("%+v, written and read: %v", p, err)
		}
		if again.time != p.time || again.subkeyID != p.subkeyID || !bytes.Equal(again.subkey, p.subkey) || again.hasSeq != p.hasSeq || again.seqNumber != p.seqNumber {
			t.Fatalf("%+v became %+v", p, again)
		}
	})
}

// FuzzAPRep: the ciphertext is in the message, and of the type that is expected.
func FuzzAPRep(f *testing.F) {
	g := fuzzForge(f)
	f.Add(g.reply(g.sessionKey, apRepPart{time: stampOf(testNow)}))
	f.Add([]byte{octetAPRep, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		cipher, err := parseAPRep(b, etypes[etypeAES128SHA1])
		if err == nil && !bytes.Contains(b, cipher) {
			t.Fatalf("%x is not in %x", cipher, b)
		}
	})
}

// FuzzUnwrap: no token and body are taken for the peer's that are not, whatever
// filler and rotation they name; and no other message after them.
func FuzzUnwrap(f *testing.F) {
	k := &key{etypes[etypeAES256SHA1], counting(1, 32)} // not that of the test
	for _, ec := range []int{0, 3, 16} {
		m := testMessage("a body of some length", true)
		token := wrapAs(k, usageAcceptorSeal, 7, 5, make([]byte, ec), 28, counting(0, 16), &m)
		f.Add(token, m.Body, true, true)
		f.Add(bytes.Clone(token[:len(token)-1]), m.Body, true, false)
		f.Add(token, []byte(nil), true, false)
	}
	var s session
	s.establish(k, true, true, 5, 0)
	mic, err := s.MIC([]byte("a body"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(mic, []byte("a body"), false, false)
	f.Add([]byte(nil), []byte(nil), true, false)
	f.Fuzz(func(t *testing.T, token, body []byte, seal, signHeader bool) {
		for _, id := range []int32{etypeAES256SHA1, etypeAES128SHA2} {
			from, to := sides(etypes[id])
			m := gss.Message{Header: []byte("h"), Body: bytes.Clone(body), Trailer: []byte("t"), SignHeader: signHeader}
			if err := to.Unwrap(bytes.Clone(token), m, seal); !errors.Is(err, gss.ErrIntegrity) {
				t.Fatalf("taken: %v", err)
			}
			good := make([]byte, from.TokenSize(seal, len(body)))
			m.Body = bytes.Clone(body)
			if err := from.Wrap(good, m, seal); err != nil {
				t.Fatal(err)
			}
			if err := to.Unwrap(good, m, seal); !errors.Is(err, gss.ErrIntegrity) {
				t.Fatalf("goes on: %v", err)
			}
		}
	})
}

// FuzzKDCReply: what a KDC sends, or somebody in its place, may be anything:
// answers, errors with lists of methods in them, and what is encrypted in an
// answer by a KDC that has the key and is broken.
func FuzzKDCReply(f *testing.F) {
	g := fuzzForge(f)
	krberr := messages.NewKRBError(types.PrincipalName{NameType: 2, NameString: []string{"krbtgt", testRealm}}, testRealm, codePreauthRequired, "")
	infos := g.must(asn1.Marshal(types.ETypeInfo2{{EType: etypeAES128SHA1, Salt: "salt", S2KParams: []byte{0, 0, 0, 1}}, {EType: 23}}))
	methods := g.must(asn1.Marshal(types.PADataSequence{{PADataType: 19, PADataValue: infos}, {PADataType: 133, PADataValue: []byte("cookie")}, {PADataType: 2}}))
	krberr.EData = methods
	part := messages.EncKDCRepPart{Key: g.part.Key, Nonce: 1, AuthTime: g.part.AuthTime, EndTime: g.part.EndTime, Flags: types.NewKrbFlags(),
		SRealm: testRealm, SName: g.ticket.SName, LastReqs: []messages.LastReq{{LRType: 0, LRValue: g.part.AuthTime}}}
	rep := messages.ASRep{KDCRepFields: messages.KDCRepFields{PVNO: 5, MsgType: 11, CRealm: testRealm, CName: g.part.CName,
		Ticket: g.ticket, EncPart: types.EncryptedData{EType: etypeAES128SHA1, Cipher: []byte("ciphertext")}}}
	rep.Ticket.EncPart.Cipher = []byte("ciphertext")
	encPart := g.must(part.Marshal())
	for kind, seeds := range [][][]byte{
		{g.must(krberr.Marshal()), krbErrorMessage(f, codeSkew, testNow), {octetKRBError, 0}},
		{methods, {0x30, 0}}, {infos, {0x30, 0}}, {g.must(rep.Marshal()), {0x6b, 0}, {0x6d, 0}}, {encPart, {0x79, 0}, {0x7a, 0}},
	} {
		for _, b := range append(seeds, nil) {
			f.Add(byte(kind), b)
			f.Add(byte(kind), bytes.Clone(b[:len(b)/2]))
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		c := fuzzForge(t).client()
		c.password = []byte("a password")
		req := messages.ASReq{}
		req.ReqBody = c.requestBody(testRealm, []string{"krbtgt", testRealm})
		pas := types.PADataSequence{{PADataType: 19, PADataValue: b}}
		const maxCount = 1 << 10 // of iterations: more only takes its time
		switch kind % 5 {
		case 0:
			if k := krbError(b); k != nil {
				if e := fromKRBError("test", k, testNow); e.Error() == "" || !errors.Is(e, gss.ErrLogon) {
					t.Fatal("an error of no words")
				}
			}
		case 1:
			if cheap(b, maxCount) {
				c.preauthenticate("test", &req, &messages.KRBError{EData: b}) //nolint:errcheck // that it comes back is all
			}
		case 2:
			if cheap(b, maxCount) {
				if k, err := c.secret("test", pas, 0); err == nil && len(k.value) != k.et.key {
					t.Fatalf("a key of %d bytes", len(k.value))
				}
			}
		case 3:
			if _, err := c.readASRep("test", &req, b); err == nil {
				t.Fatal("a ticket that nobody has encrypted")
			}
		default:
			rep := messages.KDCRepFields{CRealm: testRealm, CName: types.PrincipalName{NameString: c.self.name}, Ticket: fuzzForge(t).ticket}
			body := req.ReqBody
			body.Nonce = 1
			if got, err := c.readKDCRep("test", &rep, &body, bytes.Clone(b)); err == nil && (got.key == nil || !got.end.After(testNow) || len(got.server.name) == 0) {
				t.Fatalf("%+v", got)
			}
		}
	})
}

// cheap says that no count of iterations in a list of encryption types is high.
func cheap(b []byte, limit uint32) bool {
	var pas types.PADataSequence
	if guard("", func() error { return pas.Unmarshal(b) }) != nil {
		pas = types.PADataSequence{{PADataType: 19, PADataValue: b}}
	}
	for _, pa := range pas {
		var infos types.ETypeInfo2
		if guard("", func() error { return infos.Unmarshal(pa.PADataValue) }) != nil {
			continue
		}
		for _, i := range infos {
			if len(i.S2KParams) != 4 || i.S2KParams[0]|i.S2KParams[1] != 0 || uint32(i.S2KParams[2])<<8 > limit {
				return false
			}
		}
	}
	return true
}

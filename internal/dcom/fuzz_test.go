package dcom

import (
	"reflect"
	"testing"

	"github.com/certkeep/certkeep/internal/ndr"
)

// What decodes here is encoded again, and must decode to the same: so nothing
// is understood in a way in which it could not have been meant.

// same fails the test unless a message survives being written and read.
func same[T any](t *testing.T, v T, write func(T) []byte, read func([]byte) (T, error)) {
	t.Helper()
	b := write(v)
	again, err := read(b)
	if err != nil {
		t.Fatalf("%+v is written as %x, which is refused: %v", v, b, err)
	}
	if !reflect.DeepEqual(again, v) {
		t.Fatalf("%+v is written as %x, which is read as %+v", v, b, again)
	}
}

func encoded(f func(*ndr.Encoder)) []byte {
	var e ndr.Encoder
	f(&e)
	return e.Bytes()
}

// writable is r as pack writes it: extended references are only ever read.
func writable(r objRef) objRef {
	if r.kind == refExtended {
		r.kind = refStandard
	}
	return r
}

func FuzzObjRef(f *testing.F) {
	std := objRef{kind: refStandard, iid: adminIID, std: testStd, bindings: testBindings}
	handler, custom := std, objRef{kind: refCustom, iid: adminIID, clsid: adminCLSID, data: []byte{1, 2, 3}}
	handler.kind, handler.clsid = refHandler, adminCLSID
	f.Add(std.pack(nil))
	f.Add(handler.pack(nil))
	f.Add(custom.pack(nil))
	f.Add(vector(f, "4d454f5708000000"+adminIIDHex+stdHex+"5659534e"+bindingsHex))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := unpackObjRef(b)
		if err != nil {
			return
		}
		same(t, writable(r), func(r objRef) []byte { return r.pack(nil) }, unpackObjRef)
	})
}

func FuzzBindings(f *testing.F) {
	f.Add(vector(f, bindingsHex))
	f.Add(vector(f, "04000200"+"0000000000000000"))
	f.Add(vector(f, "18000000"+bindingsHex))
	f.Add(Bindings{Strings: []StringBinding{{TowerTCP, "::1[65535]"}, {8, ""}}}.pack(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 60000 {
			return // what lacks its ends is longer when written
		}
		packed := func(b []byte) (Bindings, error) {
			d := ndr.NewDecoder(b)
			return unpackBindings(d), d.Err()
		}
		array := func(b []byte) (Bindings, error) {
			d := ndr.NewDecoder(b)
			return decodeBindings(d), d.Err()
		}
		if v, err := packed(b); err == nil {
			same(t, v, func(v Bindings) []byte { return v.pack(nil) }, packed)
			if port, ok := v.Port("ca1"); ok != (port > 0) || port > 65535 {
				t.Errorf("port %d, %v", port, ok)
			}
			switch s := v.Service("ca1", "def"); s {
			case "RPCSS", "host", "RestrictedKrbHost", "def":
			default:
				t.Errorf("service %q", s)
			}
		}
		if v, err := array(b); err == nil {
			same(t, v, func(v Bindings) []byte { return encoded(v.encode) }, array)
		}
	})
}

func FuzzActivationRequest(f *testing.F) {
	_, theirs := decodeCreateRequest(ndr.NewDecoder(vector(f, createRequestHex)))
	f.Add(theirs)
	f.Add(activationRequest{
		clsid: adminCLSID, iids: []ndr.GUID{admin2IID, adminIID}, version: Current, protseqs: []uint16{TowerTCP, 31},
	}.pack())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := unpackRequest(b); err == nil {
			same(t, r, activationRequest.pack, unpackRequest)
		}
	})
}

// written is r as pack writes it: without references where there is a failure.
func (r activationReply) written() activationReply {
	for i := range r.results {
		if r.results[i].hr != OK {
			r.results[i].ref = objRef{}
		}
		r.results[i].ref = writable(r.results[i].ref)
	}
	return r
}

func FuzzActivationReply(f *testing.F) {
	r := vectorReply()
	f.Add(r.pack())
	r.results = append(r.results, ifaceResult{iid: admin2IID, hr: ENoInterface})
	f.Add(r.pack())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := unpackReply(b); err == nil {
			same(t, r.written(), activationReply.pack, unpackReply)
		}
	})
}

func FuzzCreateRequest(f *testing.F) {
	f.Add(vector(f, createRequestHex))
	f.Add(vector(f, thisHex+"0000000000000200"+"0400000004000000"+"01020304"))
	f.Add(vector(f, thisHex+"00000200"+"0400000004000000"+"01020304"+"00000000"))
	type request struct {
		this       orpcThis
		properties []byte
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(b []byte) (r request, err error) {
			d := ndr.NewDecoder(b)
			r.this, r.properties = decodeCreateRequest(d)
			return r, d.Err()
		}
		r, err := read(b)
		if err != nil || r.properties == nil {
			return
		}
		same(t, r, func(r request) []byte {
			return encoded(func(e *ndr.Encoder) {
				r.this.encode(e)
				encodeCreateRequest(e, r.properties)
			})
		}, read)
		unpackRequest(r.properties) // as the server goes on
	})
}

func FuzzCreateReply(f *testing.F) {
	f.Add(vector(f, createReplyHex))
	f.Add(vector(f, "0000000000000000"+"00000000"+"54010480"))
	f.Add(vector(f, "00000000"+thisHex[56:]+"00000000"+"05000780"))
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(b []byte) (activationReply, error) {
			d := ndr.NewDecoder(b)
			skipThat(d)
			return decodeCreateReply(d)
		}
		if r, err := read(b); err == nil {
			same(t, r.written(), func(r activationReply) []byte {
				return encoded(func(e *ndr.Encoder) {
					encodeThat(e)
					encodeCreateReply(e, r.pack(), OK)
				})
			}, read)
		}
	})
}

func FuzzORPC(f *testing.F) {
	f.Add(vector(f, thisHex))
	f.Add(vector(f, createRequestHex)[:32])
	f.Add(vector(f, "00000000"+thisHex[56:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := ndr.NewDecoder(b)
		if r := decodeThis(d); d.Err() == nil {
			same(t, r, func(r orpcThis) []byte { return encoded(r.encode) }, func(b []byte) (orpcThis, error) {
				d := ndr.NewDecoder(b)
				return decodeThis(d), d.Err()
			})
		}
		if err := header(ndr.NewDecoder(b)); err == nil && d.Err() != nil {
			t.Error("a header that cannot be read is accepted")
		}
		skipThat(ndr.NewDecoder(b))
	})
}

func FuzzRemUnknown(f *testing.F) {
	query := queryRequest{ipid: testStd.IPID, refs: 5, iids: []ndr.GUID{adminIID, admin2IID}}
	f.Add(encoded(func(e *ndr.Encoder) { query.encode(e, true) }))
	f.Add(encoded(func(e *ndr.Encoder) { query.encode(e, false) }))
	f.Add(encoded(func(e *ndr.Encoder) { encodeQueryReply(e, []queryResult{{std: testStd}, {hr: ENoInterface}}, OK) }))
	f.Add(encoded(func(e *ndr.Encoder) { encodeRefs(e, []interfaceRef{{testStd.IPID, 5, 1}, {adminIID, 1, 0}}) }))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, with := range []bool{true, false} {
			read := func(b []byte) (queryRequest, error) {
				d := ndr.NewDecoder(b)
				return decodeQuery(d, with), d.Err()
			}
			if r, err := read(b); err == nil {
				same(t, r, func(r queryRequest) []byte {
					return encoded(func(e *ndr.Encoder) { r.encode(e, with) })
				}, read)
			}
		}
		results := func(b []byte) ([]queryResult, error) { return decodeQueryReply(ndr.NewDecoder(b)) }
		if r, err := results(b); err == nil {
			same(t, r, func(r []queryResult) []byte {
				return encoded(func(e *ndr.Encoder) { encodeQueryReply(e, r, OK) })
			}, results)
		}
		refs := func(b []byte) ([]interfaceRef, error) {
			d := ndr.NewDecoder(b)
			return decodeRefs(d), d.Err()
		}
		if r, err := refs(b); err == nil {
			same(t, r, func(r []interfaceRef) []byte {
				return encoded(func(e *ndr.Encoder) { encodeRefs(e, r) })
			}, refs)
		}
	})
}

func FuzzResolver(f *testing.F) {
	f.Add(encoded(aliveReply{version: Current, bindings: testBindings}.encode))
	f.Add(encoded(oxidRequest{oxid: testStd.OXID, protseqs: []uint16{TowerTCP, 31}}.encode))
	reply := oxidReply{exporter: testBindings, remUnknown: testStd.IPID, authnHint: 6, version: Current}
	f.Add(encoded(func(e *ndr.Encoder) { reply.encode(e, true, 0) }))
	f.Add(encoded(func(e *ndr.Encoder) { reply.encode(e, false, 0) }))
	f.Add(encoded(pingRequest{set: 1, sequence: 2, add: []uint64{3, 4}, del: []uint64{5}}.encode))
	f.Add(encoded(func(e *ndr.Encoder) { encodePingReply(e, 6, 0) }))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 60000 {
			return // see FuzzBindings
		}
		if r, err := decodeAlive(b); err == nil {
			same(t, r, func(r aliveReply) []byte { return encoded(r.encode) }, decodeAlive)
		}
		if r, err := decodeOxidRequest(b); err == nil {
			same(t, r, func(r oxidRequest) []byte { return encoded(r.encode) }, decodeOxidRequest)
		}
		for _, with := range []bool{true, false} {
			read := func(b []byte) (oxidReply, error) { return decodeOxidReply(b, with) }
			if r, err := read(b); err == nil {
				same(t, r, func(r oxidReply) []byte {
					return encoded(func(e *ndr.Encoder) { r.encode(e, with, 0) })
				}, read)
			}
		}
		if r, err := decodePing(b); err == nil {
			same(t, r, func(r pingRequest) []byte { return encoded(r.encode) }, decodePing)
		}
		if set, err := decodePingReply(b); err == nil {
			same(t, set, func(set uint64) []byte {
				return encoded(func(e *ndr.Encoder) { encodePingReply(e, set, 0) })
			}, decodePingReply)
		}
	})
}

package dcerpc

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// vectorContext seals as NTLM does, with given keys: enough of the mechanism to
// make and read whole PDUs that other implementations accepted.
type vectorContext struct {
	gss.Context
	send, recv vectorKeys
}

type vectorKeys struct {
	sign   []byte
	cipher *rc4.Cipher
	seq    uint32
}

func newVectorContext(client bool) *vectorContext {
	keys := func(sign, seal string) vectorKeys {
		c, err := rc4.NewCipher(unhex(seal))
		if err != nil {
			panic(err)
		}
		return vectorKeys{sign: unhex(sign), cipher: c}
	}
	v := &vectorContext{
		send: keys("4788dc861b4782f35d43fd98fe1a2d39", "59f600973cc4960a25480a7c196e4c58"),
		recv: keys("d04d6f10741041d1d246d64188d7a8ad", "9355f3a957c1583d25c4c2f11e40390e"),
	}
	if !client {
		v.send, v.recv = v.recv, v.send
	}
	return v
}

func (k *vectorKeys) token(m gss.Message) []byte {
	mac := hmac.New(md5.New, k.sign)
	mac.Write(binary.LittleEndian.AppendUint32(nil, k.seq))
	mac.Write(m.Header)
	mac.Write(m.Body)
	mac.Write(m.Trailer)
	return mac.Sum(nil)[:8]
}

func (k *vectorKeys) finish(sum []byte) []byte {
	k.cipher.XORKeyStream(sum, sum)
	k.seq++
	return binary.LittleEndian.AppendUint32(append([]byte{1, 0, 0, 0}, sum...), k.seq-1)
}

func (v *vectorContext) TokenSize(bool, int) int { return 16 }

func (v *vectorContext) Wrap(token []byte, m gss.Message, _ bool) error {
	sum := v.send.token(m)
	v.send.cipher.XORKeyStream(m.Body, m.Body)
	copy(token, v.send.finish(sum))
	return nil
}

func (v *vectorContext) Unwrap(token []byte, m gss.Message, _ bool) error {
	v.recv.cipher.XORKeyStream(m.Body, m.Body)
	if !bytes.Equal(v.recv.finish(v.recv.token(m)), token) {
		return gss.ErrIntegrity
	}
	return nil
}

// sealedVectors are complete PDUs, sealed under the session key 55…55, in the
// order in which they travelled.
var sealedVectors = []struct {
	name, pdu, stub string
	m               message
}{
	{"ping", "050000831000000080001000020000003e000000000012000100000002000300040000000000000501e56a65de195fdcf76054c1e40a5535cb0a69f12e0d9db0c6a2da3c64e0ffa25fe798235653ac4a79e774fa303858cdd510f3122dac10154550e2d4b842ffc80a060200010000000100000004df0f887c15a1be00000000",
		"05000700000000000000000000112233445566778899aabbccddeeff000000000000020007000000000000000700000052006f006f007400430041000000",
		message{ptype: ptypeRequest, callID: 2, opnum: 18}},
	{"its response", "050002031000000040001000020000000c0000000000000046081db751ba1de928c427d7235b2c270a0604000100000001000000aed7cc5da1249a6000000000",
		"000000000000000000000000", message{ptype: ptypeResponse, callID: 2}},
	{"backup end", "050000831000000060001000030000002000000000001500010000000200030004000000000000057a4b52bbddf807b53ea8ed28bda4638c109ca81c92f0feff5676f60c69b7b6510a06000001000000010000004b57248227743ac501000000",
		"05000700000000000000000000112233445566778899aabbccddeeff00000000",
		message{ptype: ptypeRequest, callID: 3, opnum: 21}},
	{"its response", "050002031000000040001000030000000c0000000000000015d26db8c2186936b5eed5a71d46cfb50a0604000100000001000000a1e3fb170e37312601000000",
		"000000000000000000000000", message{ptype: ptypeResponse, callID: 3}},
}

// TestSealedVectors makes the PDUs, and reads them again.
func TestSealedVectors(t *testing.T) {
	client := &security{id: 1, typ: AuthNTLM, level: LevelPrivacy, ctx: newVectorContext(true)}
	server := &security{id: 1, typ: AuthNTLM, level: LevelPrivacy, ctx: newVectorContext(false)}
	object := ndr.GUID(unhex("01000000020003000400000000000005"))
	for _, v := range sealedVectors {
		m, from, to := v.m, client, server
		if m.ptype == ptypeRequest {
			m.object = &object
		} else {
			from, to = server, client
		}
		m.stub = unhex(v.stub)
		made := pdus(m, defaultFragment, from)
		if len(made) != 1 {
			t.Fatalf("%s: %d fragments", v.name, len(made))
		}
		equal(t, v.name, made[0], unhex(v.pdu))

		pdu := unhex(v.pdu)
		h, err := parseHeader(pdu)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parseCall(h, pdu)
		if err != nil || f.opnum != v.m.opnum || f.hasObject != (m.object != nil) || f.object != object && f.hasObject {
			t.Fatalf("%s: %+v, %v", v.name, f, err)
		}
		body, ver, err := splitVerifier(h, pdu, f.size)
		if err != nil || !to.matches(ver) {
			t.Fatalf("%s: %+v, %v", v.name, ver, err)
		}
		stub, err := to.unwrap(pdu[:f.size], body, ver)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		equal(t, v.name+": stub", stub, unhex(v.stub))
	}
}

// Whatever the sizes of stub and fragments, the fragments keep to what was
// agreed on, are as few as that allows, and bring the stub to the other side.
func TestFragments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxFrag := rapid.OneOf(rapid.IntRange(minFragment, minFragment+40), rapid.IntRange(minFragment, maxPDU)).Draw(t, "fragment")
		stub := pattern(nil, rapid.OneOf(rapid.IntRange(0, 4*maxFrag), rapid.IntRange(maxFrag-100, maxFrag)).Draw(t, "stub"))
		level := rapid.SampledFrom([]Level{LevelNone, LevelConnect, LevelIntegrity, LevelPrivacy}).Draw(t, "level")
		m := message{ptype: ptypeRequest, callID: 5, contextID: 3, opnum: 4, stub: stub}
		if rapid.Bool().Draw(t, "object") {
			m.object = (*ndr.GUID)(unhex("000102030405060708090a0b0c0d0e0f"))
		}
		var from, to *security
		if level > LevelNone {
			sign := rapid.Bool().Draw(t, "sign headers")
			from = &security{id: 1, typ: AuthNTLM, level: level, ctx: newFake(1), signHeader: sign}
			to = &security{id: 1, typ: AuthNTLM, level: level, ctx: acceptFake(1), signHeader: sign}
		}
		before := bytes.Clone(stub)
		made := pdus(m, maxFrag, from)
		if !bytes.Equal(stub, before) {
			t.Fatal("the caller's stub was changed")
		}
		var got []byte
		for n, pdu := range made {
			h, err := parseHeader(pdu)
			if err != nil || h.fragLen > maxFrag {
				t.Fatalf("fragment %d of %d bytes: %v", n, h.fragLen, err)
			}
			if first, last := h.flags&flagFirst != 0, h.flags&flagLast != 0; first != (n == 0) || last != (n == len(made)-1) {
				t.Fatalf("fragment %d of %d: flags %x", n, len(made), h.flags)
			}
			f, err := parseCall(h, pdu)
			if err != nil || f.contextID != 3 || f.opnum != 4 || f.hasObject != (m.object != nil) {
				t.Fatalf("fragment %d: %+v, %v", n, f, err)
			}
			if hint := binary.LittleEndian.Uint32(pdu[16:]); int(hint) != len(stub)-len(got) {
				t.Fatalf("fragment %d: alloc_hint %d, %d bytes are left", n, hint, len(stub)-len(got))
			}
			body, v, err := splitVerifier(h, pdu, f.size)
			if err == nil && h.authLen != 0 {
				if len(body)%bodyAlign != 0 {
					t.Fatalf("fragment %d: body of %d bytes is not aligned", n, len(body))
				}
				body, err = to.unwrap(pdu[:f.size], body, v)
			}
			if err != nil || (h.authLen != 0) != to.protects() {
				t.Fatalf("fragment %d: verifier of %d bytes, %v", n, h.authLen, err)
			}
			if n < len(made)-1 && (len(body)%8 != 0 || h.fragLen < maxFrag-2*bodyAlign) {
				t.Fatalf("fragment %d: %d bytes of stub in %d of %d", n, len(body), h.fragLen, maxFrag)
			}
			got = append(got, body...)
		}
		if !bytes.Equal(got, stub) {
			t.Fatalf("stub of %d bytes, %d came", len(stub), len(got))
		}
	})
}

// A failing connection, or mechanism, ends what is sent.
func TestWriterFails(t *testing.T) {
	broken := errors.New("broken")
	for _, n := range []int{100, 1 << 20} {
		w := writer{dst: failWriter{broken}}
		if err := w.send(message{stub: make([]byte, n)}, defaultFragment, nil); !errors.Is(err, broken) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	w := writer{dst: io.Discard}
	sec := &security{level: LevelPrivacy, ctx: brokenContext{newFake(1), broken}}
	if err := w.send(message{stub: make([]byte, 10)}, defaultFragment, sec); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failWriter struct{ err error }

func (w failWriter) Write([]byte) (int, error) { return 0, w.err }

type brokenContext struct {
	*fakeContext
	err error
}

func (c brokenContext) Wrap([]byte, gss.Message, bool) error { return c.err }

// However a stream is cut into reads, the same PDUs come out of it; the buffer
// is never more than twice what came in, and never more than its limit.
func TestReaderCutsStreams(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(headerSize, 200), rapid.IntRange(headerSize, maxPDU)), 1, 8).Draw(t, "sizes")
		var stream []byte
		for n, size := range sizes {
			pdu := appendHeader(nil, ptypeRequest, 0, uint32(n))
			pdu = pattern(pdu, size-headerSize)
			putLengths(pdu, size, 0)
			stream = append(stream, pdu...)
		}
		left := rapid.IntRange(0, headerSize-1).Draw(t, "cut")
		if left > 0 {
			stream = append(stream, make([]byte, left)...)
		}
		src := io.Reader(bytes.NewReader(stream))
		switch rapid.SampledFrom([]string{"whole", "halves", "with eof", "bytes"}).Draw(t, "reads") {
		case "halves":
			src = iotest.HalfReader(src)
		case "with eof":
			src = iotest.DataErrReader(src)
		case "bytes":
			if len(stream) < 1<<14 {
				src = iotest.OneByteReader(src)
			}
		}
		r := reader{src: src}
		largest, off := 0, 0
		for n, size := range sizes {
			h, pdu, err := r.next()
			if err != nil || h.callID != uint32(n) || !bytes.Equal(pdu, stream[off:off+size]) || cap(pdu) != size {
				t.Fatalf("pdu %d: %+v, %d bytes, %v", n, h, len(pdu), err)
			}
			off += size
			largest = max(largest, size)
			if len(r.buf) > readBufferMax || len(r.buf) > max(readBufferMin, 2*off) {
				t.Fatalf("buffer of %d bytes after %d", len(r.buf), off)
			}
		}
		want := io.EOF
		if left > 0 {
			want = io.ErrUnexpectedEOF
		}
		if _, _, err := r.next(); err != want {
			t.Fatalf("at the end: %v, want %v", err, want)
		}
	})
}

// A length alone costs nothing: the buffer grows with what arrives.
func TestReaderDoesNotTrustLengths(t *testing.T) {
	pdu := appendHeader(nil, ptypeBind, flagWhole, 1)
	putLengths(pdu, maxPDU, 0)
	for _, sent := range []int{headerSize, 5000, readBufferMin, readBufferMin + 1, 3 * readBufferMin} {
		r := reader{src: bytes.NewReader(append(pdu, make([]byte, sent-headerSize)...))}
		if _, _, err := r.next(); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes: %v", sent, err)
		}
		if len(r.buf) > max(readBufferMin, 2*sent) {
			t.Errorf("%d bytes sent, buffer of %d", sent, len(r.buf))
		}
	}
}

// Only buffers with nothing in them are given back.
func TestReaderRelease(t *testing.T) {
	pdu := appendHeader(nil, ptypeBind, flagWhole, 1)
	putLengths(pdu, readBufferMin+100, 0)
	pdu = append(pdu, make([]byte, readBufferMin+100-headerSize)...)
	r := reader{src: bytes.NewReader(append(bytes.Clone(pdu), pdu...))}
	r.next()
	if r.release(); r.start == r.end || r.buf == nil {
		t.Fatal("gave back what it had read")
	}
	r.next()
	if r.release(); r.buf != nil {
		t.Error("kept an empty buffer")
	}
}

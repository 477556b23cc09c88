package sqlitelog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func sampleHeader() Header {
	return Header{
		Signature: Signature{Random: [16]byte{1, 2, 3}, Created: 12345}, Generation: 7,
		Previous: [32]byte{9}, Digest: [32]byte{8}, PageSize: 4096, Frames: 3, DatabasePages: 5,
		MarkPage: 2, MarkFrame: 1, Opened: time.Unix(1, 0).UTC(), Closed: time.Unix(2, 5).UTC(),
		CopyFirst: 5, EarliestTarget: 6,
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []Header{
		sampleHeader(),
		func() Header {
			h := sampleHeader()
			h.CopyFirst, h.EarliestTarget, h.Opened, h.Salvaged = 0, 0, time.Time{}, true
			return h
		}(),
	} {
		got, err := ReadHeader(bytes.NewReader(h.encode()))
		must(t, err)
		if got != h {
			t.Fatalf("%+v became %+v", h, got)
		}
	}
}

// Every byte of a header is covered.
func TestHeaderFlips(t *testing.T) {
	good := sampleHeader().encode()
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1 << (i % 8)
		_, err := ReadHeader(bytes.NewReader(b))
		if !errors.Is(err, ErrLogDamaged) && !errors.Is(err, ErrNotLog) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
	}
	for _, n := range []int{0, 1, 7, 8, 4095} {
		if _, err := ReadHeader(bytes.NewReader(good[:n])); !errors.Is(err, ErrLogTruncated) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// resum makes a header's checksum right again.
func resum(b []byte) []byte {
	sum := sha256.Sum256(b[:headerSum])
	copy(b[headerSum:], sum[:])
	return b
}

func TestHeaderRefusesNonsense(t *testing.T) {
	for name, change := range map[string]func(*Header){
		"no signature":    func(h *Header) { h.Signature = Signature{} },
		"generation 0":    func(h *Header) { h.Generation, h.CopyFirst, h.EarliestTarget = 0, 0, 0 },
		"generation":      func(h *Header) { h.Generation = MaxGeneration + 1 },
		"page size":       func(h *Header) { h.PageSize = 1000 },
		"no frames":       func(h *Header) { h.Frames = 0 },
		"mark page 1":     func(h *Header) { h.MarkPage = 1 },
		"mark behind":     func(h *Header) { h.MarkFrame = 4 },
		"half a copy":     func(h *Header) { h.CopyFirst = 0 },
		"copy upside":     func(h *Header) { h.CopyFirst = 7 },
		"earliest behind": func(h *Header) { h.EarliestTarget = 8 },
	} {
		h := sampleHeader()
		change(&h)
		if _, err := ReadHeader(bytes.NewReader(h.encode())); !errors.Is(err, ErrNotLog) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := sampleHeader().encode()
	b[2000] = 1 // reserved
	if _, err := ReadHeader(bytes.NewReader(resum(b))); !errors.Is(err, ErrNotLog) {
		t.Errorf("reserved: %v", err)
	}
	b = sampleHeader().encode()
	b[80] = 1 // an unknown flag
	if _, err := ReadHeader(bytes.NewReader(resum(b))); !errors.Is(err, ErrNotLog) {
		t.Errorf("flag: %v", err)
	}
	b = sampleHeader().encode()
	b[7] = 2 // a later version
	if _, err := ReadHeader(bytes.NewReader(resum(b))); !errors.Is(err, ErrNotLog) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("version: %v", err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(sampleHeader().encode())
	f.Add([]byte("certlog"))
	f.Add(make([]byte, HeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHeader(bytes.NewReader(b))
		if err != nil && len(b) == HeaderSize {
			h, err = ReadHeader(bytes.NewReader(resum(bytes.Clone(b))))
			b = resum(bytes.Clone(b))
		}
		if err == nil && !bytes.Equal(h.encode(), b[:HeaderSize]) {
			t.Fatalf("%+v is encoded otherwise", h)
		}
	})
}

func TestLogName(t *testing.T) {
	for g, name := range map[uint32]string{1: "log00001.log", 255: "log000ff.log", MaxGeneration: "logfffff.log"} {
		if LogName(g) != name {
			t.Error(LogName(g))
		}
		if got, ok := ParseLogName(name); !ok || got != g {
			t.Error(name, got, ok)
		}
	}
	for _, bad := range []string{"", "log00000.log", "log000FF.log", "log1.log", "log+0001.log", "log00001.LOG", "log00001.log.", "Log00001.log", "log0x001.log"} {
		if g, ok := ParseLogName(bad); ok {
			t.Error(bad, g)
		}
	}
}

func FuzzLogName(f *testing.F) {
	f.Add("log00001.log")
	f.Fuzz(func(t *testing.T, s string) {
		if g, ok := ParseLogName(s); ok && (LogName(g) != s || g == 0 || g > MaxGeneration) {
			t.Fatal(s, g)
		}
	})
}

func TestSignature(t *testing.T) {
	s := newSignature()
	got, err := ParseSignature(s.String())
	must(t, err)
	if got != s || s.IsZero() || s == newSignature() {
		t.Fatal(s, got)
	}
	for _, bad := range []string{"", s.String()[1:], strings.ToUpper(s.String()) + "", s.String() + "0", strings.Replace(s.String(), "-", "+", 1)} {
		if bad == s.String() {
			continue // no letters in it
		}
		if _, err := ParseSignature(bad); err == nil {
			t.Error(bad)
		}
	}
}

func sampleState() state {
	now := time.Unix(3, 4).UTC()
	return state{Signature: Signature{Random: [16]byte{5}, Created: 6}, Open: 9, Checkpointed: 8, PageSize: 4096, MarkPage: 2,
		WAL:   &walState{Salt: [2]uint32{1, 2}, Frame: 3, Sum: [2]uint32{4, 5}, Opened: now},
		Adopt: &adoptState{Generation: 3}, LossAccepted: &now, LossAside: "a\xff\"b"}
}

func TestState(t *testing.T) {
	for _, s := range []state{sampleState(), {Signature: newSignature(), Open: 1, PageSize: 512, MarkPage: 2}} {
		b, err := s.encode()
		must(t, err)
		got, err := decodeState(b)
		must(t, err)
		again, err := got.encode()
		must(t, err)
		if !bytes.Equal(again, b) {
			t.Fatalf("%s\n%s", b, again)
		}
		for i := range b {
			c := bytes.Clone(b)
			c[i] ^= 1
			if _, err := decodeState(c); err == nil {
				t.Fatalf("byte %d of %s flipped", i, b)
			}
		}
		if _, err := decodeState(b[:len(b)-1]); err == nil {
			t.Fatal("cut off")
		}
	}
}

func FuzzState(f *testing.F) {
	b, err := sampleState().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"schema":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		if again, err := s.encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q %v", b, err)
		}
	})
}

// markPage builds a page as SQLite does for a table of one row.
func markPage(size int, m mark) []byte {
	p := make([]byte, size)
	cell := size - 6 - markSize
	p[0] = 0x0d
	binary.BigEndian.PutUint16(p[3:], 1)
	binary.BigEndian.PutUint16(p[5:], uint16(cell))
	binary.BigEndian.PutUint16(p[8:], uint16(cell))
	copy(p[cell:], []byte{markSize + 4, 1, 4, 0, 0x81, (12 + 2*markSize) & 0x7f})
	copy(p[cell+6:], m.encode())
	return p
}

func TestMark(t *testing.T) {
	m := mark{newSignature(), 77, [32]byte{3}}
	got, err := parseMark(markPage(512, m))
	must(t, err)
	if got != m {
		t.Fatal(got)
	}
	for i := range m.encode() {
		b := m.encode()
		b[i] ^= 4
		if _, err := decodeMark(b); err == nil {
			t.Fatalf("byte %d flipped", i)
		}
	}
}

func FuzzMark(f *testing.F) {
	p := markPage(512, mark{Signature{Created: 1}, 2, [32]byte{3}})
	f.Add(p)
	q := bytes.Clone(p)
	q[8], q[9] = 0xff, 0xff
	f.Add(q)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseMark(b); err == nil && !bytes.Contains(b, m.encode()) {
			t.Fatal(m)
		}
	})
}

// walBuilder makes WALs without SQLite.
type walBuilder struct {
	h walHeader
	b []byte
	s walSum
}

func newWAL(bigEndian bool, pageSize uint32, salt [2]uint32) *walBuilder {
	w := &walBuilder{h: walHeader{bigEndian: bigEndian, pageSize: pageSize, salt: salt}}
	magic := uint32(walMagic)
	if bigEndian {
		magic |= 1
	}
	for _, v := range []uint32{magic, walVersion, pageSize, 0, salt[0], salt[1]} {
		w.b = binary.BigEndian.AppendUint32(w.b, v)
	}
	w.s = walSum{}.add(bigEndian, w.b)
	w.b = binary.BigEndian.AppendUint32(w.b, w.s[0])
	w.b = binary.BigEndian.AppendUint32(w.b, w.s[1])
	return w
}

func (w *walBuilder) frame(page, commit uint32, data []byte) *walBuilder {
	at := len(w.b)
	for _, v := range []uint32{page, commit, w.h.salt[0], w.h.salt[1]} {
		w.b = binary.BigEndian.AppendUint32(w.b, v)
	}
	w.s = w.s.add(w.h.bigEndian, w.b[at:at+8]).add(w.h.bigEndian, data)
	w.b = binary.BigEndian.AppendUint32(w.b, w.s[0])
	w.b = binary.BigEndian.AppendUint32(w.b, w.s[1])
	w.b = append(w.b, data...)
	return w
}

func randomPage(r *rand.Rand, size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// sampleWAL has three transactions of two frames each.
func sampleWAL(bigEndian bool) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	w := newWAL(bigEndian, 512, [2]uint32{11, 22})
	for i := range uint32(3) {
		w.frame(2*i+1, 0, randomPage(r, 512)).frame(2*i+2, 2*i+2, randomPage(r, 512))
	}
	return w.b
}

func readFrames(b []byte) (frames []frame, err error) {
	fr, err := newFrameReader(bytes.NewReader(b), 0, int64(len(b)), nil)
	if err != nil {
		return nil, err
	}
	for {
		f, err := fr.next()
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		f.data = bytes.Clone(f.data)
		frames = append(frames, f)
	}
}

func TestFrameReader(t *testing.T) {
	for _, big := range []bool{false, true} {
		b := sampleWAL(big)
		f, err := readFrames(b)
		must(t, err)
		if len(f) != 6 || f[5].commit != 6 || f[5].page != 6 || f[5].number != 6 {
			t.Fatalf("%d frames", len(f))
		}
		for i := range b {
			c := bytes.Clone(b)
			c[i] ^= 0x10
			got, err := readFrames(c)
			want := 0
			if i >= walHeaderSize {
				want = (i - walHeaderSize) / (512 + frameHeaderSize)
			}
			if err == nil || len(got) != want {
				t.Fatalf("byte %d flipped: %d good frames, %v", i, len(got), err)
			}
		}
		for n := range b {
			got, err := readFrames(b[:n])
			whole := n >= walHeaderSize && (n-walHeaderSize)%(512+frameHeaderSize) == 0
			if (err == nil) != whole {
				t.Fatalf("cut to %d: %d frames, %v", n, len(got), err)
			}
		}
	}
}

// A bad frame is a torn tail if nothing behind it was written after a sync.
func TestGoesOn(t *testing.T) {
	size := 512 + frameHeaderSize
	bad := func(n int) uint32 {
		b := sampleWAL(false)
		b[walHeaderSize+n*size+100] ^= 1
		fr, err := newFrameReader(bytes.NewReader(b), 0, int64(len(b)), nil)
		must(t, err)
		for {
			if _, err := fr.next(); err != nil {
				var fe *frameError
				if !errors.As(err, &fe) {
					t.Fatal(err)
				}
				after, err := fr.goesOn(fe.number)
				must(t, err)
				return after
			}
		}
	}
	for n, want := range []uint32{3, 5, 5, 0, 0, 0} {
		if got := bad(n); got != want {
			t.Errorf("frame %d is bad: goes on at %d, want %d", n+1, got, want)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(sampleWAL(false))
	f.Add(sampleWAL(true))
	f.Add(newWAL(false, 65536, [2]uint32{1, 2}).b)
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := readFrames(b)
		if int64(len(frames))*minPageSize > int64(len(b)) {
			t.Fatal("more frames than bytes")
		}
		if fr, err2 := newFrameReader(bytes.NewReader(b), 0, int64(len(b)), nil); err2 == nil {
			if _, err := fr.goesOn(1); err != nil {
				t.Fatal(err)
			}
			if _, err := fr.torn(0); err != nil {
				t.Fatal(err)
			}
			if err == nil && fr.walHeader.size(uint32(len(frames))) != int64(len(b)) {
				t.Fatal("bytes that belong to no frame")
			}
		}
	})
}

package esetest_test

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

var le = binary.LittleEndian

// The offsets below are those of the format's description, written down a second
// time: neither the writer's nor the reader's constants are used.

// field is a field by its offset.
type field struct {
	what string
	at   int
	want []byte
}

func u32(v ...uint32) (b []byte) {
	for _, x := range v {
		b = le.AppendUint32(b, x)
	}
	return b
}

func expect(t *testing.T, file string, b []byte, fields ...field) {
	t.Helper()
	for _, f := range fields {
		if got := b[f.at : f.at+len(f.want)]; !bytes.Equal(got, f.want) {
			t.Errorf("%s: %s at %d: %x, want %x", file, f.what, f.at, got, f.want)
		}
	}
}

// headerXOR is the checksum of headers, word by word.
func headerXOR(b []byte) uint32 {
	sum := uint32(0x89abcdef)
	for i := 4; i < len(b); i += 4 {
		sum ^= le.Uint32(b[i:])
	}
	return sum
}

// segmentSum is the checksum with error correction of a segment, in the words of the description.
func segmentSum(b []byte, number uint32) uint64 {
	var c [4]uint32
	var p uint32
	for row := range len(b) / 16 {
		var all uint32
		for j := range 4 {
			w := le.Uint32(b[16*row+4*j:])
			if row == 0 && j < 2 {
				w = 0
			}
			c[j] ^= w
			all ^= w
		}
		if bits.OnesCount32(all)%2 == 1 {
			p ^= uint32(row)<<7 | (^uint32(row)&0x1ff)<<23
		}
	}
	for _, x := range []struct{ v, bit uint32 }{{c[0] ^ c[1], 0x00400000}, {c[2] ^ c[3], 0x40}, {c[0] ^ c[2], 0x00200000}, {c[1] ^ c[3], 0x20}} {
		if bits.OnesCount32(x.v)%2 == 1 {
			p ^= x.bit
		}
	}
	r := c[0] ^ c[1] ^ c[2] ^ c[3]
	var q uint32
	for k := range uint32(32) {
		if r>>k&1 == 1 {
			q ^= k | (^k&0xffff)<<16
		}
	}
	m := uint32(4096<<19) - 1
	return uint64(p&0xffe0ffe0&m|q&0x001f001f)<<32 | uint64(r^number)
}

// at is 2025-08-19 13:04:11.123 UTC, and some hours later, as a LOGTIME with the milliseconds
// ms.
func at(hour, minute, second byte, ms int) []byte {
	return []byte{second, minute, hour, 19, 8, 125, byte(1 | ms<<1), byte(ms >> 7 << 1)}
}

// goldenBackup is a backup of generations 3 to 5 with known signatures.
func goldenBackup(t *testing.T, o esetest.Options) (*esetest.Folder, []byte) {
	t.Helper()
	f, err := esetest.WriteBackup(t.TempDir(), esetest.FolderOptions{Options: o}, fewRequests(t, 5))
	if err != nil {
		t.Fatal(err)
	}
	return f, read(t, f.Database)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fewRequests(t testing.TB, n int) func(*esetest.CA) error {
	t.Helper()
	g, err := esetest.NewGenerator(7, time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return func(ca *esetest.CA) error { return g.Fill(t.Context(), ca, n) }
}

// signatures are those that the files of a backup must share.
func signatures(f *esetest.Folder) (db, logs []byte) {
	return f.Stream.Database[:], f.Stream.Signature[:]
}

func TestHeaderFields(t *testing.T) {
	f, b := goldenBackup(t, esetest.Options{})
	db, logs := signatures(f)
	bkinfo := append([]byte{0x40, 0, 5, 0, 5, 0, 0, 0}, at(18, 24, 11, 123)...)
	bkinfo = append(bkinfo, u32(3, 0)...) // genHigh is not known yet
	expect(t, "header", b[:4096],
		field{"checksum", 0, u32(headerXOR(b[:4096]))},
		field{"magic", 4, []byte{0xef, 0xcd, 0xab, 0x89}},
		field{"version", 8, u32(0x620)},
		field{"database", 12, u32(0)},
		field{"signDb", 24, db},
		field{"signDb's time", 28, at(13, 4, 11, 123)},
		field{"signDb's computer", 36, make([]byte, 16)},
		field{"dbstate dirty", 52, u32(2)},
		field{"detached", 88, make([]byte, 16)},
		field{"dbid", 104, u32(1)},
		field{"signLog", 108, logs},
		field{"bkinfoFullPrev", 136, make([]byte, 24)},
		field{"bkinfoFullCur", 184, bkinfo},
		field{"revision", 232, u32(20)},
		field{"cbPageSize", 236, u32(4096)},
		field{"repairCount", 240, u32(0)},
		field{"lGenMinRequired", 296, u32(3, 4)},
		field{"createVersion", 340, u32(0x620, 20)},
		field{"logtimeGenMaxCreate", 348, at(17, 4, 11, 123+137)},
		field{"lGenMaxCommitted", 416, u32(4)},
		field{"filetype", 667, u32(1)},
	)
	if !bytes.Equal(b[:4096], b[4096:8192]) {
		t.Error("the shadow is not the same")
	}
	if len(b)%(1<<20) != 4096 {
		t.Errorf("%d bytes: not whole MiB and a trailer", len(b))
	}
}

func TestCleanHeaderFields(t *testing.T) {
	f, err := esetest.WriteLive(t.TempDir(), esetest.FolderOptions{Options: esetest.Options{FullPrevLow: 2, FullPrevHigh: 3}}, true, fewRequests(t, 5))
	if err != nil {
		t.Fatal(err)
	}
	b := read(t, f.Database)
	expect(t, "header", b,
		field{"dbstate clean", 52, u32(3)},
		field{"bkinfoFullPrev's generations", 152, u32(2, 3)},
		field{"bkinfoFullCur", 184, make([]byte, 24)},
		field{"required", 296, u32(0, 0)},
		field{"committed", 416, u32(0)},
	)
	if bytes.Equal(b[88:96], make([]byte, 8)) {
		t.Error("no time of detachment")
	}
	if len(b)%(1<<20) != 0 {
		t.Errorf("%d bytes", len(b))
	}
}

func TestTrailerFields(t *testing.T) {
	for _, revision := range []uint32{20, 300} {
		f, b := goldenBackup(t, esetest.Options{Revision: revision})
		db, logs := signatures(f)
		trailer := b[len(b)-4096:]
		bkinfo := append([]byte{0x40, 0, 5, 0, 5, 0, 0, 0}, at(18, 24, 11, 123)...)
		fields := []field{
			{"checksum", 0, u32(headerXOR(trailer))},
			{"zero page header", 4, make([]byte, 36)},
			{"BKINFO", 40, append(bkinfo, u32(3, 5)...)},
			{"signDb", 64, db},
			{"signLog", 92, logs},
		}
		if revision < 300 {
			fields = append(fields, field{"rest", 120, make([]byte, 4096-120)})
		} else {
			fields = append(fields, field{"lgenMinReq, lgenMaxReq, lgenMaxCommitted", 120, u32(3, 5, 5)},
				field{"logtimeGenMaxRequired", 132, at(18, 4, 11, 260)}, field{"logtimeGenMaxCommitted", 140, at(18, 4, 11, 260)},
				field{"rest", 148, make([]byte, 4096-148)})
		}
		expect(t, "trailer", trailer, fields...)
	}
}

func TestLogFields(t *testing.T) {
	f, _ := goldenBackup(t, esetest.Options{})
	db, logs := signatures(f)
	var sums uint64
	for i, path := range f.Logs {
		generation := uint32(3 + i)
		b := read(t, path)
		if want := []string{"edb00003.log", "edb00004.log", "edb00005.log"}[i]; filepath.Base(path) != want || len(b) != 1<<20 {
			t.Errorf("%s of %d bytes", path, len(b))
		}
		path := append([]byte(`C:\Windows\system32\CertLog\`), 0)
		expect(t, filepath.Base(f.Logs[i]), b,
			field{"checksum", 0, u32(headerXOR(b[:4096]))},
			field{"lGeneration", 4, u32(generation)},
			field{"cbSec, csecHeader, csecLGFile, cbPageSize", 8, []byte{0, 16, 1, 0, 0, 1, 0, 16}},
			field{"tmCreate", 16, at(13+byte(generation), 4, 11, 260)},
			field{"tmPrevGen", 24, at(12+byte(generation), 4, 11, 260)},
			field{"version", 32, u32(8, 4000, 5)},
			field{"signLog", 44, logs},
			field{"system path", 72, path},
			field{"log path", 72 + 261, path},
			field{"updateMinor", 648, u32(16)},
			field{"filetype", 667, u32(3)},
			field{"attached dbid, flags", 671, []byte{1, 0x20}},
			field{"attached signDb", 671 + 36, db},
			field{"attached path", 671 + 64, []byte("C\x00:\x00\\\x00W\x00")},
		)
		if i > 0 && le.Uint64(b[653:]) != sums {
			t.Errorf("generation %d: checksumPrevLogAllSegments %x, want %x", generation, le.Uint64(b[653:]), sums)
		}
		sums = 0
		last := 254
		if generation == 5 {
			last = 17
		}
		for n := 1; n <= last; n++ {
			s := b[n*4096:][:4096]
			expect(t, "segment", s,
				field{"checksum", 0, le.AppendUint64(nil, segmentSum(s, uint32(n)))},
				field{"LGPOS", 8, []byte{0, 0, byte(n), 0, byte(generation), 0, 0, 0}},
				field{"LOGTIME", 16, at(13+byte(generation), 4, 11, 260)},
				field{"zero", 24, make([]byte, 12)},
				field{"flags", 36, u32(0x2000)})
			sums ^= le.Uint64(s)
		}
		if shadow := b[(last+1)*4096:][:4096]; !bytes.Equal(shadow, b[last*4096:][:4096]) {
			t.Errorf("generation %d: no shadow", generation)
		}
		if rest := b[(last+2)*4096:]; !bytes.Equal(rest, make([]byte, len(rest))) {
			t.Errorf("generation %d: something behind the shadow", generation)
		}
	}
}

func TestFirstAndOldLogFields(t *testing.T) {
	s := esetest.NewLogStream(esetest.Options{}, `C:\CA.edb`)
	expect(t, "first log", s.Log(1), field{"tmPrevGen", 24, make([]byte, 8)}, field{"sums", 653, make([]byte, 8)}, field{"attached", 671, make([]byte, 64)})
	s.Major, s.Update = 7, 15
	b := s.Log(2)
	expect(t, "old log", b,
		field{"checksum", 0, u32(headerXOR(b[:4096]))},
		field{"cbSec, csecHeader, csecLGFile", 8, []byte{0, 2, 8, 0, 0, 8}},
		field{"version", 32, u32(7, 3704, 15)},
		field{"sums", 653, make([]byte, 8)},
		field{"unused space", 4096, bytes.Repeat([]byte{0xda}, 1<<20-4096)})
	if len(b) != 1<<20 {
		t.Errorf("%d bytes", len(b))
	}
}

func TestCheckpointFields(t *testing.T) {
	s := esetest.NewLogStream(esetest.Options{}, `C:\CA.edb`)
	b := s.Checkpoint(3)
	expect(t, "checkpoint", b,
		field{"checksum", 0, u32(headerXOR(b[:4096]))},
		field{"checkpoint", 12, []byte{0, 0, 1, 0, 3, 0, 0, 0}},
		field{"signLog", 20, s.Signature[:]},
		field{"system path", 48, []byte(`C:\Windows`)},
		field{"attach info is there", 647, []byte{1}},
		field{"dbConsistency", 648, []byte{0, 0, 1, 0, 3, 0, 0, 0}},
		field{"filetype", 667, u32(4)},
		field{"attached dbid", 679, []byte{1}},
		field{"attached signDb", 679 + 36, s.Database[:]},
	)
	if len(b) != 8192 || !bytes.Equal(b[:4096], b[4096:]) {
		t.Error("the shadow is not the same")
	}
}

// TestPageFields holds pages in places that are always the same against the
// description.
func TestPageFields(t *testing.T) {
	for _, size := range pageSizes {
		b := writeSample(t, esetest.Options{PageSize: size, TempDir: t.TempDir()}, 20)
		pages := uint32(len(b)/size - 2)
		page := func(n uint32) []byte { return b[(int(n)+1)*size:][:size] }
		head := 40
		if size > 8192 {
			head = 80
		}
		root := page(1)
		expect(t, "page 1", root,
			field{"pgnoPrev, pgnoNext, objidFDP", 16, u32(0, 0, 1)},
			field{"cbFree", 28, []byte{byte(size - head - 20), byte((size - head - 20) >> 8), 0, 0}},
			field{"ibMicFree, itagState", 32, []byte{16, 0, 1, 0}},
			field{"flags", 36, u32(0x1 | 0x2 | 0x800 | 0x2000 | 0x8000)},
			field{"SPACE_HEADER", head, u32(pages, 0, 1, 2)},
			field{"tag 0", size - 4, []byte{16, 0, 0, 0}},
		)
		expect(t, "page 2", page(2),
			field{"flags", 36, u32(0x1 | 0x2 | 0x20 | 0x800 | 0x2000 | 0x8000)},
			field{"split buffer", head, make([]byte, 16)},
			field{"owned extent", head + 16, append([]byte{4, 0, byte(pages >> 24), byte(pages >> 16), byte(pages >> 8), byte(pages)}, u32(pages)...)},
			field{"tags", size - 8, []byte{10, 0, 16, 0, 16, 0, 0, 0}},
		)
		expect(t, "page 4", page(4), field{"objidFDP", 24, u32(2)}, field{"SPACE_HEADER", head, u32(20, 1, 1, 5)})
		expect(t, "page 7", page(7), field{"objidFDP", 24, u32(4)}, field{"SPACE_HEADER", head, u32(3, 4, 1, 8)})
		expect(t, "page 10", page(10), field{"objidFDP", 24, u32(5)}, field{"SPACE_HEADER", head, u32(3, 4, 1, 11)})
		expect(t, "page 24", page(24), field{"objidFDP", 24, u32(3)}, field{"SPACE_HEADER", head, u32(5, 1, 1, 25)})
		if size == 4096 {
			if got, want := le.Uint64(root), segmentSum(root, 1); got != want {
				t.Errorf("page 1: checksum %x, want %x", got, want)
			}
		}
		if size > 8192 && le.Uint32(root[64:]) != 1 {
			t.Errorf("%d: page 1 has number %d", size, le.Uint32(root[64:]))
		}
		for n := uint32(1); n <= pages; n++ {
			if err := ese.CheckPage(page(n), n).Err(); err != nil {
				t.Errorf("%d: %v", size, err)
			}
		}
	}
}

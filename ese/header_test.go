package ese_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

var le = binary.LittleEndian

// backup makes the sample a streaming backup, generations 3 to 5.
func backup(pageSize int) seed.DB {
	d := seed.Sample(pageSize, false)
	d.Header = func(b []byte) {
		le.PutUint32(b[52:], 2)
		copy(b[184:192], []byte{9, 0, 8, 0, 3, 0, 0, 0})
		copy(b[192:200], seed.Time(9))
		le.PutUint32(b[200:], 3)
		le.PutUint32(b[296:], 4)
		le.PutUint32(b[300:], 4)
		le.PutUint32(b[416:], 4)
	}
	d.Trailer = func(b []byte) { le.PutUint32(b[60:], 5) }
	return d
}

func TestHeaderAndShadow(t *testing.T) {
	for _, size := range pageSizes {
		good := seed.Sample(size, false).Bytes()
		for bit := 0; bit < 8*size; bit += 8*size/4096 - 1 {
			for copyAt, want := range map[int]ese.HeaderCopies{
				0:    {ShadowGood: true, UsedShadow: true},
				size: {PrimaryGood: true},
			} {
				good[copyAt+bit/8] ^= 1 << (bit % 8)
				h, copies, err := ese.ReadHeader(bytes.NewReader(good), int64(len(good)))
				if err != nil || copies != want || h.PageSize != size {
					t.Fatalf("%d: bit %d at %d: %+v, %v", size, bit, copyAt, copies, err)
				}
				good[copyAt+bit/8] ^= 1 << (bit % 8)
			}
		}
		b := bytes.Clone(good)
		b[size+500]++
		le.PutUint32(b[size:], seed.XOR(b[size:2*size]))
		if _, copies, err := ese.ReadHeader(bytes.NewReader(b), int64(len(b))); err != nil || !copies.Differ || copies.UsedShadow {
			t.Errorf("%+v, %v", copies, err)
		}
		b[size+501]++
		b[300]++
		if _, _, err := ese.ReadHeader(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ese.ErrChecksum) {
			t.Errorf("both damaged: %v", err)
		}
	}
}

func TestNotDatabases(t *testing.T) {
	log, _ := seed.Log{Generation: 1, Sectors: 4, Segments: 1, Signature: "logs"}.Bytes()
	for what, b := range map[string][]byte{
		"nothing": nil, "short": make([]byte, 2000), "zeros": make([]byte, 100000), "a log": log,
		"only a header":  seed.Sample(4096, false).Bytes()[:8192],
		"a flush map":    sealed(func(b []byte) { b[667] = 7 }),
		"future version": sealed(func(b []byte) { b[8] = 0x30 }),
	} {
		if _, err := ese.Open(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ese.ErrNotDatabase) && !errors.Is(err, ese.ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func sealed(change func(b []byte)) []byte {
	d := seed.Sample(4096, true)
	d.Header = change
	return d.Bytes()
}

func TestStreamingBackup(t *testing.T) {
	for _, size := range pageSizes {
		d := backup(size)
		b := d.Bytes()
		db := open(t, b)
		trailer, err := db.Trailer()
		if err != nil || trailer.Backup.GenLow != 3 || trailer.Backup.GenHigh != 5 || trailer.Backup.Mark != (ese.LogPosition{Generation: 3, Sector: 8, Byte: 9}) {
			t.Fatalf("%+v, %v", trailer, err)
		}
		if low, high, last := db.Header().RequiredLogs(trailer); low != 3 || high != 5 || last != 5 {
			t.Errorf("logs %d to %d, %d", low, high, last)
		}
		if db.Pages() != 30 || len(db.Notes()) != 1 || !strings.Contains(db.Notes()[0], "logs 3 to 5 not replayed") {
			t.Errorf("%d pages, %q", db.Pages(), db.Notes())
		}
		if len(requests(t, db)) != 4 {
			t.Error("rows are missing")
		}
		// No bit of it can be wrong unseen.
		for bit := 0; bit < 8*size; bit += 8*size/4096 - 1 {
			at := len(b) - size + bit/8
			b[at] ^= 1 << (bit % 8)
			if _, err := ese.ParseTrailer(b[len(b)-size:]); !errors.Is(err, ese.ErrTrailer) {
				t.Fatalf("bit %d: %v", bit, err)
			}
			b[at] ^= 1 << (bit % 8)
		}
		b[len(b)-1]++
		bad := open(t, b)
		if _, err := bad.Trailer(); !errors.Is(err, ese.ErrTrailer) || bad.Pages() != 30 || len(bad.Notes()) != 2 {
			t.Errorf("damaged trailer: %v, %d pages, %q", err, bad.Pages(), bad.Notes())
		}
		cut := open(t, b[:len(b)-size])
		if _, err := cut.Trailer(); !errors.Is(err, ese.ErrTrailer) || cut.Pages() != 30 {
			t.Errorf("no trailer: %v, %d pages", err, cut.Pages())
		}
	}
}

func TestForeignTrailers(t *testing.T) {
	for what, change := range map[string]func(b []byte){
		"database":   func(b []byte) { b[64]++ },
		"log stream": func(b []byte) { b[92]++ },
		"mark":       func(b []byte) { b[40]++ },
		"generation": func(b []byte) { b[56]++ },
		"no end":     func(b []byte) { b[60] = 0 },
	} {
		d := backup(4096)
		trailer := d.Trailer
		d.Trailer = func(b []byte) { trailer(b); change(b) }
		if _, err := open(t, d.Bytes()).Trailer(); !errors.Is(err, ese.ErrTrailer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	d := backup(4096)
	trailer := d.Trailer
	d.Trailer = func(b []byte) { trailer(b); b[39] = 1 }
	if _, err := open(t, d.Bytes()).Trailer(); !errors.Is(err, ese.ErrTrailer) {
		t.Errorf("page with a right checksum: %v", err)
	}
}

// TestHistoryNotes: what the header remembers of repairs and bad pages is told.
func TestHistoryNotes(t *testing.T) {
	notes := strings.Join(open(t, sealed(func(b []byte) {
		le.PutUint32(b[240:], 2)
		le.PutUint32(b[384:], 3)
		le.PutUint32(b[400:], 4)
		le.PutUint32(b[232:], 999)
	})).Notes(), "\n")
	for _, want := range []string{"repaired 2 times", "damaged pages in it 4 times", "could not correct wrong bits in it 3 times", "revision 999"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in\n%s", want, notes)
		}
	}
}

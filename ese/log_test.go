package ese

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
)

// when is 2026-11-25 19:22:07.765 UTC.
var when = LogTime{7, 22, 19, 25, 11, 126, 1 | byte(765&0x7f)<<1, byte(765>>7) << 1}

// header builds a log's header, field by field as the format has it.
func header(generation uint32, change func(b []byte)) []byte {
	b := make([]byte, LogHeaderSize)
	le := binary.LittleEndian
	le.PutUint32(b[4:], generation)
	le.PutUint16(b[8:], 4096)
	le.PutUint16(b[10:], 1)
	le.PutUint16(b[12:], 256)
	created, previous := when, when
	created[0] += byte(generation % 50)
	previous[0] += byte((generation - 1) % 50)
	copy(b[16:], created[:])
	if generation > 1 {
		copy(b[24:], previous[:])
	}
	le.PutUint32(b[32:], 8)
	le.PutUint32(b[36:], 4000)
	le.PutUint32(b[40:], 5)
	copy(b[44:], "signature of a stream of log")
	le.PutUint32(b[667:], 3)
	if change != nil {
		change(b)
	}
	le.PutUint32(b, xorChecksum(b))
	return b
}

func read(t *testing.T, b []byte) LogHeader {
	t.Helper()
	h, err := ReadLogHeader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestReadLogHeader(t *testing.T) {
	h := read(t, header(0x1a, nil))
	if h.Generation != 0x1a || h.Size != 1<<20 || h.SectorSize != 4096 || h.Major != 8 || h.Minor != 4000 || h.Update != 5 ||
		string(h.Signature[:]) != "signature of a stream of log" {
		t.Errorf("%+v", h)
	}
	want := time.Date(2026, 11, 25, 19, 22, 7+0x1a, 765e6, time.UTC)
	if got := h.Created.Time(); !got.Equal(want) {
		t.Errorf("created %v, want %v", got, want)
	}
	if got := (LogTime{}).Time(); !got.IsZero() {
		t.Errorf("unset: %v", got)
	}
	// The oldest version that AD CS had, in sectors of a disk.
	h = read(t, header(1, func(b []byte) {
		binary.LittleEndian.PutUint16(b[8:], 512)
		binary.LittleEndian.PutUint16(b[12:], 2048)
		binary.LittleEndian.PutUint32(b[32:], 7)
		binary.LittleEndian.PutUint32(b[36:], 3704)
		binary.LittleEndian.PutUint32(b[667:], 0)
	}))
	if h.Size != 1<<20 || h.Major != 7 || h.Previous != (LogTime{}) {
		t.Errorf("%+v", h)
	}
}

func TestRefusedLogHeaders(t *testing.T) {
	for what, b := range map[string][]byte{
		"nothing":         nil,
		"short":           header(1, nil)[:4095],
		"a checkpoint":    header(1, func(b []byte) { b[667] = 4 }),
		"a later version": header(1, func(b []byte) { b[32] = 9 }),
		"generation 0":    header(0, nil),
		"no sectors":      header(1, func(b []byte) { b[12], b[13] = 0, 0 }),
	} {
		if _, err := ReadLogHeader(bytes.NewReader(b)); !errors.Is(err, ErrNotLog) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for bit := range 8 * LogHeaderSize {
		b := header(7, nil)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := ReadLogHeader(bytes.NewReader(b)); !errors.Is(err, ErrChecksum) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
	}
}

func TestFollows(t *testing.T) {
	first, second, third := read(t, header(7, nil)), read(t, header(8, nil)), read(t, header(9, nil))
	if err := second.Follows(first); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"gap":      third.Follows(first),
		"backward": first.Follows(second),
		"itself":   first.Follows(first),
		"replaced": read(t, header(8, func(b []byte) { b[24]++ })).Follows(first),
	} {
		if !errors.Is(err, ErrSequence) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := read(t, header(8, func(b []byte) { b[50]++ })).Follows(first); !errors.Is(err, ErrSignature) || !strings.Contains(err.Error(), "generation 8") {
		t.Errorf("another stream: %v", err)
	}
}

func FuzzReadLogHeader(f *testing.F) {
	f.Add(header(7, nil))
	f.Add(header(7, nil)[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ReadLogHeader(bytes.NewReader(b)); err == nil {
			h.Created.Time()
			if h.Follows(h) == nil {
				t.Error("a log follows itself")
			}
		}
		if len(b) >= LogHeaderSize { // as if it were sealed
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b, xorChecksum(b[:LogHeaderSize]))
			ReadLogHeader(bytes.NewReader(b))
		}
	})
}

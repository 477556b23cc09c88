package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"time"
	"unicode/utf16"
)

// encode writes a record as Windows does (EVENTLOGRECORD), with a SID and data
// between its strings and its end.
func encode(r Record, computer string, eventID uint32) []byte {
	wide := func(s string) []byte {
		var b []byte
		for _, u := range append(utf16.Encode([]rune(s)), 0) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return b
	}
	body := append(wide(r.Source), wide(computer)...)
	for (recordHead+len(body))%4 != 0 {
		body = append(body, 0)
	}
	sid := recordHead + len(body)
	body = append(body, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0) // S-1-5-18
	strings := recordHead + len(body)
	for _, s := range r.Strings {
		body = append(body, wide(s)...)
	}
	data := recordHead + len(body)
	body = append(body, 0xde, 0xad)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	size := uint32(recordHead + len(body) + 4)
	var b []byte
	for _, v := range []uint32{size, recordSignature, r.Number, uint32(r.Time.Unix()), uint32(r.Time.Unix()) + 1, eventID} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, v := range []uint16{4, uint16(len(r.Strings)), 3, 0} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	for _, v := range []uint32{0, uint32(strings), 12, uint32(sid), 2, uint32(data)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return binary.LittleEndian.AppendUint32(append(b, body...), size)
}

var at = time.Unix(1_795_000_000, 0)

func esent(number uint32, when time.Time, program string) Record {
	return Record{number, when, 225, "ESENT", []string{program, "1234,D,0", "", ""}}
}

func TestDecodeRecords(t *testing.T) {
	want := []Record{
		esent(7, at, "certsrv.exe"),
		{Number: 6, Time: at, ID: 100, Source: "certkeep", Strings: []string{"backup taken and confirmed\r\nexit code: 0"}},
		{Number: 5, Time: at.Add(-time.Hour), ID: 0xffff, Source: ""},
	}
	buf := append(encode(want[0], "CA01", 0x800000e1), encode(want[1], "CA01", 100)...)
	buf = append(buf, encode(want[2], "", 0xc000ffff)...)
	got, err := decodeRecords(buf)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if got, err := decodeRecords(nil); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDecodeMalformed(t *testing.T) {
	good := encode(esent(7, at, "certsrv"), "CA01", 225)
	set := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	strings := bytes.Clone(good)
	binary.LittleEndian.PutUint16(strings[26:], 0xffff)
	unended := bytes.Repeat([]byte{1}, len(good)-4)
	copy(unended, good[:recordHead])
	unended = append(unended, good[len(good)-4:]...)
	odd := append(bytes.Clone(good[:len(good)-4]), 0)
	odd = binary.LittleEndian.AppendUint32(odd, uint32(len(odd)+4))
	binary.LittleEndian.PutUint32(odd, uint32(len(odd)))
	for name, b := range map[string][]byte{
		"cut short": good[:len(good)-4], "shorter than a record": good[:40], "size 0": set(0, 0), "size not of words": odd, "size beyond": set(0, uint32(len(good))+4),
		"signature": set(4, 0), "second size": set(len(good)-4, 64), "strings beyond": set(36, uint32(len(good))), "strings far beyond": set(36, 0xffffffff), "strings in the head": set(36, 8),
		"strings in the data": set(36, uint32(len(good)-8)), "too many strings": strings, "names without end": unended,
	} {
		if r, err := decodeRecords(b); !errors.Is(err, errRecord) || len(r) != 0 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if r, err := decodeRecords(append(bytes.Clone(good), 1)); !errors.Is(err, errRecord) || len(r) != 1 {
		t.Errorf("a good one before: %v, %v", r, err)
	}
}

func TestPick(t *testing.T) {
	since := at.Add(500 * time.Millisecond)
	other := esent(4, at, "svchost")
	other2 := esent(5, at, "certsrv")
	other2.Source = "ESE"
	other3 := esent(6, at, "certsrv")
	other3.ID = 224
	for _, c := range []struct {
		name    string
		records []Record
		want    []uint32
		done    bool
	}{
		{"in the same second", []Record{esent(1, at, "certsrv")}, []uint32{1}, false},
		{"later, in any letters", []Record{esent(1, at.Add(time.Hour), "CertSrv.exe")}, []uint32{1}, false},
		{"before", []Record{esent(1, at.Add(-time.Second), "certsrv")}, nil, false},
		{"long before", []Record{esent(2, at, "certsrv"), esent(1, at.Add(-time.Hour), "certsrv"), esent(0, at, "certsrv")}, []uint32{2}, true},
		{"others", []Record{other, other2, other3, {ID: 225, Source: "ESENT", Time: at}}, nil, false},
	} {
		got, done := pick(nil, c.records, since)
		var numbers []uint32
		for _, r := range got {
			numbers = append(numbers, r.Number)
		}
		if !reflect.DeepEqual(numbers, c.want) || done != c.done {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, numbers, done, c.want, c.done)
		}
	}
}

// FuzzRecords: any buffer decodes or is refused, and what decodes is within it.
func FuzzRecords(f *testing.F) {
	f.Add(encode(esent(7, at, "certsrv"), "CA01", 225))
	f.Add(append(encode(esent(7, at, "certsrv"), "CA01", 225), encode(Record{Source: "x"}, "", 1)...))
	f.Add(encode(Record{Source: "x", Strings: []string{"", "%1"}}, "", 1))
	f.Add([]byte{64, 0, 0, 0, 'L', 'f', 'L', 'e'})
	f.Fuzz(func(t *testing.T, b []byte) {
		records, _ := decodeRecords(b)
		n := 0
		for _, r := range records {
			n += recordMin
			for _, s := range r.Strings {
				n += 2 * (len(utf16.Encode([]rune(s))) + 1)
			}
		}
		if n > len(b)+len(records)*8 {
			t.Errorf("%d bytes of records in %d", n, len(b))
		}
	})
}

package certadm

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

func TestLocationsFile(t *testing.T) {
	want, _ := hex.DecodeString(golden.hex)
	got, err := EncodeLocations(golden.list)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("EncodeLocations = %x, %v", got, err)
	}
	l, err := DecodeLocations(want)
	if err != nil || !slices.Equal(l, golden.list) {
		t.Fatalf("DecodeLocations = %v, %v", l, err)
	}
	m, err := l.RestoreMap()
	if err != nil || m != (RestoreMap{`\\SRV\C$\CA.edb`, `\\SRV\L`, `\\SRV\Ü`}) {
		t.Fatalf("RestoreMap = %+v, %v", m, err)
	}
}

// Nothing promises the order of the entries, and a server may list more.
func TestRestoreMapAnyOrder(t *testing.T) {
	l := FileList{{FileCheckpointDir, "c"}, {FileUnknown, "x"}, {FileLogDir, "l"}, {FileDatabase, "d"}, {FileUnknown, "y"}}
	b, err := EncodeLocations(l)
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeLocations(b)
	if err != nil || !slices.Equal(back, l) {
		t.Fatalf("DecodeLocations = %v, %v", back, err)
	}
	if m, err := back.RestoreMap(); err != nil || m != (RestoreMap{"d", "l", "c"}) {
		t.Errorf("RestoreMap = %+v, %v", m, err)
	}
}

func TestRestoreMapRefuses(t *testing.T) {
	d, l, c := FileEntry{FileDatabase, "d"}, FileEntry{FileLogDir, "l"}, FileEntry{FileCheckpointDir, "c"}
	for _, tt := range []struct {
		list   FileList
		reason string
	}{
		{nil, "0 entries for the database"},
		{FileList{l, c}, "0 entries for the database"},
		{FileList{d, c}, "0 entries for the log directory"},
		{FileList{d, l}, "0 entries for the checkpoint directory"},
		{FileList{d, d, l, c}, "2 entries for the database"},
		{FileList{d, l, c, {FileLogDir, "other"}}, "2 entries for the log directory"},
		{FileList{d, l, c, c}, "2 entries for the checkpoint directory"},
		{FileList{d, {FileLogDir, ""}, c}, "the log directory is empty"},
	} {
		if m, err := tt.list.RestoreMap(); err == nil || !strings.Contains(err.Error(), tt.reason) || m != (RestoreMap{}) {
			t.Errorf("RestoreMap of %v = %+v, %v, want %q", tt.list, m, err, tt.reason)
		}
		_, err := EncodeLocations(tt.list)
		if err == nil || !strings.HasPrefix(err.Error(), "certbkxp.dat: ") {
			t.Errorf("EncodeLocations of %v: %v", tt.list, err)
		}
		b, err := EncodeList(tt.list)
		if err != nil {
			continue // the empty path
		}
		_, err = DecodeLocations(b)
		if CodeOf(err) != ErrorInvalidData || !strings.HasPrefix(err.Error(), "certbkxp.dat: ") {
			t.Errorf("DecodeLocations of %v: %v", tt.list, err)
		}
	}
	if _, err := DecodeLocations([]byte{1, 2, 3}); err == nil || !strings.HasPrefix(err.Error(), "certbkxp.dat: malformed list: odd length") {
		t.Errorf("DecodeLocations of three bytes: %v", err)
	}
	if _, err := EncodeLocations(FileList{d, l, c, {FileUnknown, "a\x00"}}); err == nil || !strings.HasPrefix(err.Error(), "certbkxp.dat: ") {
		t.Errorf("EncodeLocations of a NUL: %v", err)
	}
}

func TestFind(t *testing.T) {
	if p, ok := golden.list.Find(FileLogDir); p != `\\SRV\L` || !ok {
		t.Errorf("Find = %q, %v", p, ok)
	}
	if p, ok := golden.list.Find(FileLog); ok {
		t.Errorf("Find of what is not there = %q", p)
	}
}

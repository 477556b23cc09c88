package adcs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/ese"
)

// logFile is a log of 8 KiB with a header as package ese reads it. Its predecessor
// was made a second earlier.
func logFile(generation uint32, change func(b []byte)) string {
	b := make([]byte, 8192)
	le := binary.LittleEndian
	le.PutUint32(b[4:], generation)
	le.PutUint16(b[8:], 4096)
	le.PutUint16(b[12:], 2)
	copy(b[16:], []byte{byte(generation % 60), 0, 12, 25, 11, 126, 1, 0})
	if generation > 1 {
		copy(b[24:], []byte{byte((generation - 1) % 60), 0, 12, 25, 11, 126, 1, 0})
	}
	le.PutUint32(b[32:], 8)
	le.PutUint32(b[36:], 4000)
	b[44] = 9 // signature
	le.PutUint32(b[667:], 3)
	if change != nil {
		change(b)
	}
	sum := uint32(0x89abcdef)
	for i := 4; i < ese.LogHeaderSize; i += 4 {
		sum ^= le.Uint32(b[i:])
	}
	le.PutUint32(b, sum)
	return string(b)
}

func TestNewerLogs(t *testing.T) {
	good := func(gens ...uint32) map[string]string {
		m := make(map[string]string)
		for _, g := range gens {
			m[fmt.Sprintf("edb%05X.log", g)] = logFile(g, nil)
		}
		return m
	}
	with := func(m map[string]string, name, text string) map[string]string { m[name] = text; return m }
	other := func(b []byte) { b[44] = 8 }
	for _, c := range []struct {
		name    string
		files   map[string]string
		after   uint32
		want    []uint32
		current bool
		stopped string
	}{
		{name: "none", files: map[string]string{"edb.chk": "", "example ca.edb": ""}, after: 5},
		{name: "all older", files: good(3, 4, 5), after: 5},
		{name: "two and the current one", files: with(good(4, 5, 6, 7), "edb.log", logFile(8, nil)), after: 5, want: []uint32{6, 7, 8}, current: true},
		{name: "the current one alone", files: with(good(), "edb.log", logFile(6, nil)), after: 5, want: []uint32{6}, current: true},
		{name: "beyond ten and hexadecimal", files: good(9, 10, 11, 16), after: 9, want: []uint32{10, 11}, stopped: "generation 12 is missing, and there are later ones up to 16"},
		{name: "the first one is missing", files: with(good(7, 8), "edb.log", logFile(9, nil)), after: 5, stopped: "generation 6 is missing"},
		{name: "one is missing", files: with(good(6, 8), "edb.log", logFile(9, nil)), after: 5, want: []uint32{6}, stopped: "generation 7 is missing"},
		{name: "before the current one", files: with(good(6), "edb.log", logFile(8, nil)), after: 5, want: []uint32{6}, stopped: "generation 7 is missing"},
		{name: "the current one is older", files: with(good(), "edb.log", logFile(5, nil)), after: 5},
		{name: "another database's", files: with(good(6, 8), "edb00007.log", logFile(7, other)), after: 5, want: []uint32{6}, stopped: "another database's log"},
		{name: "not that of the set", files: with(good(5), "edb00006.log", logFile(6, other)), after: 5, stopped: "another database's log"},
		{name: "does not follow", files: with(good(6), "edb00007.log", logFile(7, func(b []byte) { b[24] = 50 })), after: 5, want: []uint32{6}, stopped: "does not follow"},
		{name: "current of another", files: with(good(6), "edb.log", logFile(7, other)), after: 5, want: []uint32{6}, stopped: "another database's log"},
		{name: "renamed", files: with(good(6), "edb00007.log", logFile(9, nil)), after: 5, want: []uint32{6}, stopped: "generation 9 by its header"},
		{name: "damaged", files: with(good(6), "edb00007.log", strings.Replace(logFile(7, nil), "\x09", "\x08", 1)), after: 5, want: []uint32{6}, stopped: "checksum"},
		{name: "cut short", files: with(good(6), "edb00007.log", logFile(7, nil)[:6000]), after: 5, want: []uint32{6}, stopped: "6000 bytes"},
		{name: "shorter than a header", files: with(good(6), "edb.log", "x"), after: 5, want: []uint32{6}, stopped: "edb.log"},
		{name: "of the embedded authority", files: map[string]string{"log00006.log": logFile(6, nil)}, after: 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t).stopped()
			f.write(t, below(certLog, c.files))
			h := f.open(t, Options{})
			d, err := h.SetAside(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n, err := h.NewerLogs(t.Context(), d, c.after)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint32
			for i, l := range n.Logs {
				got = append(got, l.Generation)
				if l.Header.Generation != l.Generation || filepath.Dir(l.Path) != d.Dir || l.Current != (filepath.Base(l.Path) == "edb.log") || l.Current && i != len(n.Logs)-1 {
					t.Errorf("%+v", l)
				}
			}
			current := len(n.Logs) > 0 && n.Logs[len(n.Logs)-1].Current
			if !slices.Equal(got, c.want) || current != c.current || !strings.Contains(n.Stopped, c.stopped) || (c.stopped == "") != (n.Stopped == "") {
				t.Errorf("%v, current %v, stopped %q", got, current, n.Stopped)
			}
		})
	}
	f := newFake(t)
	f.write(t, below(certLog, good(6)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.open(t, Options{}).NewerLogs(ctx, backup.Displaced{Dir: f.native(certLog), Files: []string{"edb00006.log"}}, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

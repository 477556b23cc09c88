package ese_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
)

// TestTablesOfFixtures compares the lists of tables and columns.
func TestTablesOfFixtures(t *testing.T) {
	eachFixture(t, func(t *testing.T, f fixture) {
		db := open(t, f.data)
		want := f.want(t)
		tables := db.Tables()
		if len(tables) != len(want) {
			t.Fatalf("%d tables, want %d", len(tables), len(want))
		}
		for i, w := range want {
			if tables[i].Name() != w.Table {
				t.Errorf("table %d is %q, want %q", i, tables[i].Name(), w.Table)
				continue
			}
			columns := tables[i].Columns()
			if len(columns) != len(w.Columns) {
				t.Errorf("table %q: %d columns, want %d", w.Table, len(columns), len(w.Columns))
				continue
			}
			for j, c := range columns {
				got := fmt.Sprintf("%d %s JET_coltyp.%v", c.ID, c.Name, c.Type)
				if want := fmt.Sprintf("%v %v %v", w.Columns[j][0], w.Columns[j][1], w.Columns[j][2]); got != want {
					t.Errorf("table %q: column %q, want %q", w.Table, got, want)
				}
			}
		}
	})
}

// TestRowsOfFixtures compares every value of every row.
func TestRowsOfFixtures(t *testing.T) {
	eachFixture(t, func(t *testing.T, f fixture) {
		db := open(t, f.data)
		before := len(db.Notes())
		values := 0
		for _, w := range f.want(t) {
			table, err := db.Table(w.Table)
			if err != nil {
				t.Error(err)
				continue
			}
			n := 0
			for row, err := range table.Rows() {
				if err != nil {
					t.Fatalf("table %q, row %d: %v", w.Table, n, err)
				}
				if n < len(w.Rows) && w.Error == nil {
					compareRow(t, fmt.Sprintf("table %q, row %d", w.Table, n), row, w.Rows[n])
					values += len(w.Rows[n])
				}
				n++
			}
			if n != w.RowCount {
				t.Errorf("table %q: %d rows, want %d", w.Table, n, w.RowCount)
			}
		}
		if notes := db.Notes(); len(notes) != before {
			t.Errorf("new notes: %q", notes[before:])
		}
		t.Logf("%d values compared", values)
	})
}

func compareRow(t *testing.T, where string, row ese.Row, want map[string]json.RawMessage) {
	t.Helper()
	seen := 0
	for c, values := range row.All() {
		seen++
		w, ok := want[c.Name]
		if !ok {
			t.Errorf("%s: %s is %v, want none", where, c.Name, values)
			continue
		}
		var list []json.RawMessage
		if len(values) == 1 {
			list = []json.RawMessage{w}
		} else if err := json.Unmarshal(w, &list); err != nil || len(list) != len(values) {
			t.Errorf("%s: %s has %d values, want %s", where, c.Name, len(values), w)
			continue
		}
		for i, v := range values {
			if err := same(v, list[i]); err != nil {
				t.Errorf("%s: %s: %v", where, c.Name, err)
			}
		}
		// One column at a time gives the same.
		if v, err := row.ValueOf(c); err != nil || v.IsNull() || same(v, list[0]) != nil {
			t.Errorf("%s: %s asked for alone: %v, %v", where, c.Name, v, err)
		}
	}
	if seen != len(want) {
		t.Errorf("%s: %d values, want %d", where, seen, len(want))
	}
}

// same compares a value with what dissect gives for it.
func same(v ese.Value, want json.RawMessage) error {
	var got any
	var err error
	switch c := v.Column(); c.Type {
	case ese.Bit:
		got, err = v.Bool()
	case ese.IEEESingle, ese.IEEEDouble:
		var f, w float64
		if f, err = v.Float64(); err == nil {
			if w, err = strconv.ParseFloat(string(want), 64); err == nil && math.Float64bits(f) == math.Float64bits(w) {
				return nil
			}
		}
		got = f
	case ese.GUIDType:
		var g ese.GUID
		g, err = v.GUID()
		got = fmt.Sprintf("%q", g.String())
	case ese.Text, ese.LongText:
		var s, w string
		if s, err = v.Text(); err == nil {
			if err = json.Unmarshal(want, &w); err == nil {
				return sameBytes(s, w, "...sha256(utf8)=", s, len([]rune(s)))
			}
		}
	case ese.Binary, ese.LongBinary:
		var b []byte
		var w string
		if b, err = v.Bytes(); err == nil {
			if err = json.Unmarshal(want, &w); err == nil {
				return sameBytes("hex:"+hex.EncodeToString(b), w, "...sha256=", string(b), len(b))
			}
		}
	case ese.UnsignedLongLong:
		got, err = v.Uint64()
	default:
		got, err = v.Int64()
	}
	if err != nil {
		return err
	}
	if fmt.Sprint(got) != string(want) {
		return fmt.Errorf("%v, want %s", got, want)
	}
	return nil
}

// sameBytes compares with a text that is shortened to a prefix, a hash and a length
// where it is long.
func sameBytes(got, want, mark, hashed string, length int) error {
	prefix, rest, short := strings.Cut(want, mark)
	if !short && got == want {
		return nil
	}
	if short && strings.HasPrefix(got, prefix) && rest == fmt.Sprintf("%x len=%d", sha256.Sum256([]byte(hashed)), length) {
		return nil
	}
	return fmt.Errorf("%.200q, want %.200q", got, want)
}

// TestSecondValuesOfFixture: dissect takes the second value of a multi-valued column
// for compressed where only the first one is, and gives up. What the values must be is
// plain: they count up.
func TestSecondValuesOfFixture(t *testing.T) {
	needFixtures(t)
	table, err := open(t, readFixture(t, fixtures+"/ese_parser/test.edb")).Table("testtable")
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range table.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		for name, lengths := range map[string][]int{"Binary": {128, 64}, "LongBinary": {128, 65536}} {
			values, err := row.Values(name)
			if err != nil || len(values) != len(lengths) {
				t.Fatalf("%s: %d values, %v", name, len(values), err)
			}
			for i, v := range values {
				b, err := v.Bytes()
				if err != nil || len(b) != lengths[i] {
					t.Fatalf("%s: %d bytes, %v", name, len(b), err)
				}
				for j, c := range b {
					if c != byte(j%255) {
						t.Fatalf("%s, value %d: byte %d is %d", name, i, j, c)
					}
				}
			}
		}
		values, err := row.Values("Text")
		if err != nil || len(values) != 2 {
			t.Fatalf("%d texts, %v", len(values), err)
		}
		if s, err := values[1].Text(); s != "Hello" || err != nil {
			t.Errorf("%q, %v", s, err)
		}
		if s, err := row.Text("TextDefaultValue"); s != "Default value." || err != nil {
			t.Errorf("%q, %v", s, err)
		}
	}
}

package esetest_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/ese/esetest"
	"pgregory.net/rapid"
)

// longs is a table of values of any length.
var longs = esetest.TableSpec{Name: "Longs", Columns: []esetest.Column{
	{Name: "Key", Type: ese.Binary},
	{Name: "Plain", Type: ese.LongBinary},
	{Name: "Packed", Type: ese.LongBinary, Flags: ese.ColumnCompressed},
	{Name: "Text", Type: ese.LongText, Flags: ese.ColumnCompressed},
	{Name: "Many", Type: ese.LongBinary, Flags: ese.ColumnMultiValued},
}, Indexes: []esetest.Index{{Name: "Primary", Columns: []string{"Key"}, Primary: true}, {Name: "Again", Columns: []string{"Key"}, Unique: true}}}

// runs makes values of few different bytes and runs of them, so that there is something to
// compress.
func runs() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) (b []byte) {
		for range rapid.IntRange(0, 8).Draw(t, "runs") {
			part := rapid.SliceOfN(rapid.ByteRange(30, 34), 0, 20).Draw(t, "part")
			b = append(b, bytes.Repeat(part, rapid.SampledFrom([]int{1, 2, 3, 20, 300}).Draw(t, "times"))...)
		}
		return b
	})
}

// TestAnyValues: whatever values rows have, in pages of any size, what is read is what was
// written.
func TestAnyValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := esetest.Options{PageSize: rapid.SampledFrom(pageSizes).Draw(t, "page size"), Intrinsic: rapid.SampledFrom([]int{1, 50, 1023, 3000, 20000}).Draw(t, "intrinsic"),
			WideLongIDs: rapid.Bool().Draw(t, "wide")}
		var m esetest.Memory
		w, err := esetest.Create(&m, o)
		if err != nil {
			t.Fatal(err)
		}
		table, err := w.CreateTable(longs)
		if err != nil {
			t.Fatal(err)
		}
		keys := rapid.SliceOfNDistinct(rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00\u00ff")), 1, 60, 120), 0, 12, rapid.ID[string]).Draw(t, "keys")
		slices.Sort(keys)
		var want [][][]byte
		for _, key := range keys {
			values := [][]byte{[]byte(key), runs().Draw(t, "plain"), runs().Draw(t, "packed"), runs().Draw(t, "text"), runs().Draw(t, "first"), runs().Draw(t, "second")}
			r := table.Row()
			for i, v := range values {
				r.Bytes(min(i, 4), v)
			}
			if err := table.Insert(r); err != nil {
				t.Fatal(err)
			}
			want = append(want, values)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		b := m.Bytes()
		report, err := esecheck.Check(t.Context(), esecheck.Input{Database: &esecheck.File{R: bytes.NewReader(b), Size: int64(len(b))}, Depth: esecheck.Trees})
		if err != nil || len(report.Findings) > 0 {
			t.Fatalf("%v, %v", report.Findings, err)
		}
		db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		read, err := db.Table("Longs")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for row, err := range read.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			var got [][]byte
			for _, c := range longs.Columns {
				values, err := row.Values(c.Name)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range values {
					b, err := v.Bytes()
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, bytes.Clone(b))
				}
			}
			if !slices.EqualFunc(got, want[n], bytes.Equal) {
				t.Fatalf("row %d: %x, want %x", n, got, want[n])
			}
			n++
		}
		if n != len(want) {
			t.Fatalf("%d rows, want %d", n, len(want))
		}
	})
}

// TestFarMatches: what repeats farther away than XPRESS can refer to is not referred to.
func TestFarMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, distance := range []int{3000, 8190, 8191, 8192, 8193, 8194, 12000} {
		value := make([]byte, distance+2500)
		for i := range value {
			value[i] = byte(r.Uint32())
		}
		copy(value[distance:], value[:2500])
		var m esetest.Memory
		w, err := esetest.Create(&m, esetest.Options{PageSize: 32768, Intrinsic: 30000})
		if err != nil {
			t.Fatal(err)
		}
		table, err := w.CreateTable(longs)
		if err != nil {
			t.Fatal(err)
		}
		row := table.Row()
		row.Bytes(0, []byte("key"))
		row.Bytes(2, value)
		if err := table.Insert(row); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := ese.Open(bytes.NewReader(m.Bytes()), int64(len(m.Bytes())))
		if err != nil {
			t.Fatal(err)
		}
		read, err := db.Table("Longs")
		if err != nil {
			t.Fatal(err)
		}
		for row, err := range read.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			v, err := row.Value("Packed")
			if err != nil {
				t.Fatal(err)
			}
			// A match saves 2,500 bytes, the flags take an eighth of all.
			if got, err := v.Bytes(); !bytes.Equal(got, value) || err != nil || v.Separated() || v.Compressed() != (distance <= 8192) {
				t.Errorf("distance %d: compressed %v, the same %v, %v", distance, v.Compressed(), bytes.Equal(got, value), err)
			}
		}
	}
}

// TestIndexesHaveAllRows: each secondary index has one entry for each row, whose data is
// the row's primary key.
func TestIndexesHaveAllRows(t *testing.T) {
	const n = 300
	b := writeSample(t, esetest.Options{TempDir: t.TempDir(), SortBytes: 1 << 12}, n)
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	table, err := db.Table("Types")
	if err != nil {
		t.Fatal(err)
	}
	primary := make(map[string]bool)
	for row, err := range table.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		primary[string(row.Key())] = true
	}
	without := map[string]int{"ByText": 0, "ByDouble": 0, "ByGUID": n / 7, "ByDate": n - n/4 + n/28} // rows with a NULL
	for _, x := range table.Indexes() {
		if x.Unique() != (x.Name == "Primary" || x.Name == "ByGUID") || x.Primary() != (x.Name == "Primary") {
			t.Errorf("%s: flags %#x", x.Name, x.Flags)
		}
		if x.Primary() {
			continue
		}
		seen := make(map[string]bool)
		for node, err := range db.Nodes(x.Root, x.ObjectID) {
			if err != nil {
				t.Fatal(err)
			}
			if !primary[string(node.Data)] || seen[string(node.Data)] {
				t.Fatalf("%s: entry of %x", x.Name, node.Data)
			}
			seen[string(node.Data)] = true
		}
		if want := n - without[x.Name]; len(seen) != want {
			t.Errorf("%s: %d entries, want %d", x.Name, len(seen), want)
		}
	}
}

// TestNothingStaysBehind: temporary files are removed, whether a database is closed,
// given up or cannot be written.
func TestNothingStaysBehind(t *testing.T) {
	for what, end := range map[string]func(*esetest.Writer) error{
		"closed":   func(w *esetest.Writer) error { _, err := w.Close(); return err },
		"given up": func(w *esetest.Writer) error { w.Abort(); return nil },
	} {
		for _, fails := range []bool{false, true} {
			dir := t.TempDir()
			f := &failing{}
			w, err := esetest.Create(f, esetest.Options{TempDir: dir, SortBytes: 1 << 10})
			if err != nil {
				t.Fatal(err)
			}
			writeTypes(t, w, 60, nil)
			if list, err := os.ReadDir(dir); err != nil || len(list) == 0 {
				t.Fatalf("no temporary files, %v", err)
			}
			f.fails = fails
			if err := end(w); what == "closed" && fails != errors.Is(err, io.ErrShortWrite) {
				t.Errorf("%s, fails %v: %v", what, fails, err)
			}
			if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
				t.Errorf("%s, fails %v: %v, %v", what, fails, list, err)
			}
		}
	}
}

// failing is a file that is full some time.
type failing struct {
	esetest.Memory
	fails bool
}

func (f *failing) WriteAt(b []byte, off int64) (int, error) {
	if f.fails {
		return 0, io.ErrShortWrite
	}
	return f.Memory.WriteAt(b, off)
}

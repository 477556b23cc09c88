package esetest_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
	"github.com/certkeep/certkeep/internal/need"
)

// libesedb runs a program of libesedb-utils.
func libesedb(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), need.Program(t, name, "libesedb-utils"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// exported is a table as esedbexport writes it.
type exported struct {
	columns []string
	rows    [][]string
}

// export exports a database and returns its tables by name.
func export(t *testing.T, path string) map[string]exported {
	t.Helper()
	target := filepath.Join(t.TempDir(), "export")
	out := libesedb(t, "esedbexport", "-t", target, path)
	if !strings.Contains(out, "Export completed") {
		t.Fatal(out)
	}
	files, err := filepath.Glob(target + ".export/*")
	if err != nil {
		t.Fatal(err)
	}
	tables := make(map[string]exported)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var x exported
		for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
			cells := strings.Split(line, "\t")
			if i == 0 {
				x.columns = cells
			} else {
				x.rows = append(x.rows, cells)
			}
		}
		base := filepath.Base(f)
		tables[strings.TrimSuffix(base, filepath.Ext(base))] = x
	}
	return tables
}

// asExported is a value in the form of esedbexport.
func asExported(t *testing.T, c *ese.Column, v ese.Value) string {
	t.Helper()
	b, err := v.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	switch c.Type {
	case ese.Text, ese.LongText:
		s, err := v.Text()
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(s, `\`, `\\`)
	case ese.Binary, ese.LongBinary, ese.GUIDType:
		return hex.EncodeToString(b)
	case ese.Bit:
		return fmt.Sprint(b[0] != 0)
	case ese.IEEESingle, ese.IEEEDouble:
		f, err := v.Float64()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%f", f)
	case ese.DateTime:
		when, err := v.FileTime()
		if err != nil {
			t.Fatal(err)
		}
		return when.Format("Jan 02, 2006 15:04:05.") + fmt.Sprintf("%07d00", when.Nanosecond()/100)
	case ese.UnsignedByte, ese.UnsignedShort, ese.UnsignedLong, ese.Currency:
		n, err := v.Uint64()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(n)
	}
	n, err := v.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(n)
}

// compareExport holds the tables of a database, as package ese reads them, against those
// of esedbexport. It returns how many values were the same.
func compareExport(t *testing.T, path string, skip func(table, column string) bool) (same int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	info := libesedb(t, "esedbinfo", path)
	theirs := export(t, path)
	missing, long := 0, 0
	for _, table := range db.Tables() {
		if table.System() {
			continue
		}
		x, ok := theirs[table.Name()]
		if !ok {
			t.Errorf("table %q is not exported", table.Name())
			continue
		}
		if head := fmt.Sprintf("%s (%d)", table.Name(), table.ID()); !strings.Contains(info, head) {
			t.Errorf("esedbinfo lacks %s", head)
		}
		var names []string
		for _, c := range table.Columns() {
			names = append(names, c.Name)
		}
		if !slices.Equal(names, x.columns) {
			t.Errorf("table %q has columns %q, they have %q", table.Name(), names, x.columns)
			continue
		}
		n := 0
		for row, err := range table.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			if n >= len(x.rows) {
				t.Fatalf("table %q: they have %d rows", table.Name(), len(x.rows))
			}
			for i, c := range table.Columns() {
				if skip(table.Name(), c.Name) {
					continue
				}
				v, err := row.ValueOf(c)
				if err != nil {
					t.Fatal(err)
				}
				got, want := x.rows[n][i], ""
				if v.IsNull() {
					// libesedb does not look at the bits of fixed columns that are NULL.
					if c.ID < 128 {
						continue
					}
				} else {
					want = asExported(t, c, v)
				}
				if v.Separated() {
					if c.Flags&ese.ColumnCompressed != 0 {
						continue // they do not decompress the pieces
					}
					long++
					if got == "" {
						missing++
						continue
					}
				}
				if got == "" && c.Default != nil && bytes.Equal(v.Raw(), c.Default) {
					continue // they know no defaults
				}
				if got != want {
					t.Errorf("table %q, row %d, %s: %q, they have %q", table.Name(), n, c.Name, want, got)
				}
				same++
			}
			n++
		}
		if n != len(x.rows) {
			t.Errorf("table %q has %d rows, they have %d", table.Name(), n, len(x.rows))
		}
	}
	// libesedb 20181229 finds the long value with number 1 and no other one, in databases
	// of Windows too (dissect's text.edb and index.edb): so what is found must be right,
	// and something must be found.
	if long > 0 && missing == long {
		t.Errorf("none of %d long values was found", long)
	}
	return same
}

// TestLibesedbReadsTypes: libesedb finds the same in every type of column and page.
func TestLibesedbReadsTypes(t *testing.T) {
	for _, size := range pageSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "types.edb")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			w, err := esetest.Create(f, esetest.Options{PageSize: size, TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			// libesedb has no empty values among several, no several values of numbers, and
			// takes the bit of a tagged column that is NULL for a part of its place.
			writeTypes(t, w, 60, func(n int, name string) bool {
				return name == "Many" || name == "TaggedLong" || name == "TaggedText" && n%4 == 0
			})
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if n := compareExport(t, path, func(_, column string) bool {
				return column == "Single" // all are 0 there, also in databases of Windows
			}); n < 1000 {
				t.Errorf("%d values", n)
			}
		})
	}
}

// TestLibesedbReadsCA: and in the database of an authority, also as a backup leaves it.
func TestLibesedbReadsCA(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.edb")
	writeCA(t, path, esetest.Options{}, 1200)
	if n := levels(t, path, "CertificateExtensions"); n != 3 {
		t.Errorf("trees of %d levels, want 3", n)
	}
	f, err := esetest.WriteBackup(t.TempDir(), esetest.FolderOptions{Options: esetest.Options{PageSize: 8192, Compress: true}}, fewRequests(t, 150))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, f.Database} {
		if n := compareExport(t, path, func(string, string) bool { return false }); n < 10000 {
			t.Errorf("%d values", n)
		}
	}
}

// levels is how deep a table's tree is.
func levels(t *testing.T, path, name string) int {
	t.Helper()
	b := read(t, path)
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	table, err := db.Table(name)
	if err != nil {
		t.Fatal(err)
	}
	p := esetest.PageOf(b, 4096, table.Root())
	for n := 1; ; n++ {
		h, err := ese.ParsePageHeader(p)
		if err != nil || n > 1 && h.Flags&ese.PageLeaf == 0 && (h.Prev != 0 || h.Next != 0) {
			t.Fatalf("%+v, %v: a branch has no neighbours", h, err)
		}
		if h.Flags&ese.PageLeaf != 0 {
			return n
		}
		child := p[40+le.Uint16(p[4096-6:])&0x1fff:][:le.Uint16(p[4096-8:])]
		p = esetest.PageOf(b, 4096, le.Uint32(child[len(child)-4:]))
	}
}

// writeCA writes the database of an authority with n requests.
func writeCA(t testing.TB, path string, o esetest.Options, n int) esetest.Info {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ca, err := esetest.CreateCA(f, o)
	if err != nil {
		t.Fatal(err)
	}
	g, err := esetest.NewGenerator(o.Seed, time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Fill(t.Context(), ca, n); err != nil {
		t.Fatal(err)
	}
	info, err := ca.Close()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

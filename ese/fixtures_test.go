package ese_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixtures holds databases that Windows wrote, and what two other readers say of
// them. They are not part of the project.
const fixtures = "../../shared/fixtures/ese"

// fixture is one of them.
type fixture struct {
	name string // as in expected/, without the extension
	data []byte
}

// eachFixture runs a test for each database.
func eachFixture(t *testing.T, test func(t *testing.T, f fixture)) {
	t.Helper()
	needFixtures(t)
	want, err := filepath.Glob(filepath.Join(fixtures, "expected", "*.dissect.jsonl"))
	if err != nil || len(want) < 21 {
		t.Fatalf("%d expected results, %v", len(want), err)
	}
	byName := make(map[string]string)
	err = filepath.WalkDir(fixtures, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "expected" {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(fixtures, path)
			byName[strings.NewReplacer("{", "_", "}", "_").Replace(strings.ReplaceAll(filepath.ToSlash(rel), "/", "_"))] = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range want {
		name := strings.TrimSuffix(filepath.Base(path), ".dissect.jsonl")
		t.Run(name, func(t *testing.T) {
			file, ok := byName[name]
			if !ok {
				t.Fatalf("no database for %s", path)
			}
			test(t, fixture{name, readFixture(t, file)})
		})
	}
}

func needFixtures(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(fixtures); err != nil {
		t.Skipf("no databases to test with: %v", err)
	}
}

// readFixture reads a file, unpacked.
func readFixture(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil && strings.HasSuffix(path, ".gz") {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			b, err = io.ReadAll(z)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantTable is what dissect says of one table.
type wantTable struct {
	Table    string                       `json:"table"`
	Columns  [][3]any                     `json:"columns"`
	RowCount int                          `json:"row_count"`
	Rows     []map[string]json.RawMessage `json:"rows"`
	Error    *string                      `json:"error"`
}

func (f fixture) want(t *testing.T) (tables []wantTable) {
	t.Helper()
	file, err := os.Open(filepath.Join(fixtures, "expected", f.name+".dissect.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := json.NewDecoder(bufio.NewReader(file))
	d.UseNumber()
	for {
		var w wantTable
		if err := d.Decode(&w); err == io.EOF {
			return tables
		} else if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, w)
	}
}

package ese_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
)

// TestPagesOfFixtures: pages 143 to 158 of one database hold foreign bytes, all
// others are whole.
func TestPagesOfFixtures(t *testing.T) {
	eachFixture(t, func(t *testing.T, f fixture) {
		h, copies, err := ese.ReadHeader(bytes.NewReader(f.data), int64(len(f.data)))
		if err != nil {
			t.Fatal(err)
		}
		if !copies.PrimaryGood || !copies.ShadowGood || copies.UsedShadow {
			t.Errorf("%+v", copies)
		}
		for _, workers := range []int{1, 3} {
			var bad []uint32
			c := ese.Checker{PageSize: h.PageSize, First: 1, Last: uint32(len(f.data)/h.PageSize - 2), Workers: workers}
			counts, err := c.Check(context.Background(), bytes.NewReader(f.data), func(p ese.PageCheck) error {
				if p.Verdict != ese.PageBad {
					t.Errorf("page %d: %v", p.Page, p.Verdict)
				}
				bad = append(bad, p.Page)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if counts.Good == 0 || counts.Good+counts.Unused+counts.Bad != uint64(c.Last) || counts.Bad != uint64(len(bad)) {
				t.Errorf("%+v of %d", counts, c.Last)
			}
			var want []uint32
			if f.name == "dissect_SRUDB.dat.gz" {
				for p := uint32(143); p <= 158; p++ {
					want = append(want, p)
				}
			}
			if !equal(bad, want) {
				t.Errorf("%d workers: bad pages %v, want %v", workers, bad, want)
			}
		}
	})
}

func equal(a, b []uint32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestHeadersOfFixtures compares with esedbinfo, where that accepts the file.
func TestHeadersOfFixtures(t *testing.T) {
	created := regexp.MustCompile(`Created in format:\s+(0x[0-9a-f]+),(\d+)`)
	current := regexp.MustCompile(`Current format:\s+(0x[0-9a-f]+),(\d+)`)
	pageSize := regexp.MustCompile(`Page size:\s+(\d+) bytes`)
	eachFixture(t, func(t *testing.T, f fixture) {
		h, _, err := ese.ReadHeader(bytes.NewReader(f.data), int64(len(f.data)))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.ReadFile(filepath.Join(fixtures, "expected", f.name+".esedbinfo.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(info), "Unable to open") {
			if h.Revision < 200 {
				t.Errorf("esedbinfo does not open revision %d", h.Revision)
			}
			return
		}
		n := func(re *regexp.Regexp, i, base int) uint64 {
			m := re.FindSubmatch(info)
			if m == nil {
				t.Fatalf("no %v", re)
			}
			n, err := strconv.ParseUint(strings.TrimPrefix(string(m[i]), "0x"), base, 32)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if uint64(h.Version) != n(current, 1, 16) || uint64(h.Revision) != n(current, 2, 10) ||
			uint64(h.CreateVersion) != n(created, 1, 16) || uint64(h.CreateRevision) != n(created, 2, 10) || uint64(h.PageSize) != n(pageSize, 1, 10) {
			t.Errorf("version %#x,%d created %#x,%d page size %d; want\n%s", h.Version, h.Revision, h.CreateVersion, h.CreateRevision, h.PageSize, info[:300])
		}
	})
}

// TestStatesOfFixtures holds the headers against what is known of the files.
func TestStatesOfFixtures(t *testing.T) {
	dirty := map[string][2]uint32{"artemis_win10-qmgr.db": {14, 14}, "artemis_win11-qmgr.db": {1, 2}, "go-ese_HyperV-PC_Current.mdb": {0, 0}}
	unlogged := map[string]bool{"ese_parser_decompress_test.edb": true, "ese_parser_decompress_test2.edb": true, "ese_parser_test.edb": true}
	revision := map[string]uint32{"artemis_win11-qmgr.db": 200, "secedit-cis_secedit.sdb": 230, "secedit-yagura_secedit.sdb": 300}
	eachFixture(t, func(t *testing.T, f fixture) {
		db := open(t, f.data)
		h := db.Header()
		want, isDirty := dirty[f.name]
		if isDirty != (db.State() == ese.DirtyShutdown) || !isDirty && db.State() != ese.CleanShutdown {
			t.Errorf("state %v", db.State())
		}
		if isDirty != (len(db.Notes()) > 0) {
			t.Errorf("notes %q", db.Notes())
		}
		if low, high, _ := h.RequiredLogs(nil); want != [2]uint32{} && want != [2]uint32{low, high} || !isDirty && low+high != 0 {
			t.Errorf("needs logs %d to %d, want %v", low, high, want)
		}
		if unlogged[f.name] != (h.LogSignature == ese.Signature{}) || h.Signature.Created().IsZero() {
			t.Errorf("signatures %v and %v", h.Signature, h.LogSignature)
		}
		if r, ok := revision[f.name]; ok && h.Revision != r {
			t.Errorf("revision %d, want %d", h.Revision, r)
		}
		if trailer, err := db.Trailer(); trailer != nil || err != nil || h.StreamingBackup() {
			t.Errorf("trailer %v, %v", trailer, err)
		}
		if h.Repairs.Count != 0 || h.BadChecksums.Count != 0 {
			t.Errorf("repairs %+v, bad checksums %+v", h.Repairs, h.BadChecksums)
		}
		t.Log(h.Revision, h.State, h.FileType, h.EngineVersion, h.MinRequired, h.MaxRequired, h.MaxCommitted, h.OS, db.Notes())
	})
}

func open(t testing.TB, data []byte) *ese.Database {
	t.Helper()
	db, err := ese.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

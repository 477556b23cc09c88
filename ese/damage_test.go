package ese_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

// read opens a database and returns the RequestIDs that can be read, and the errors.
func read(t *testing.T, d seed.DB) (ids []int32, errs []error, db *ese.Database) {
	t.Helper()
	db = open(t, d.Bytes())
	table, err := db.Table("Requests")
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range table.Rows() {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		id, err := row.Int32("RequestID")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids, errs, db
}

func edit(d seed.DB, number uint32, change func(p *seed.Page)) seed.DB {
	p := d.Pages[number]
	change(&p)
	d.Pages[number] = p
	return d
}

// TestDamagedTrees: what a damaged page hides is an error, and what is behind it is
// read all the same.
func TestDamagedTrees(t *testing.T) {
	for what, x := range map[string]struct {
		page   uint32
		change func(p *seed.Page)
		ids    string
		err    string
	}{
		"whole":             {12, func(*seed.Page) {}, "1234", ""},
		"child of another":  {10, func(p *seed.Page) { p.Object = 11 }, "34", "it belongs to object 11, not 10"},
		"child is a branch": {10, func(p *seed.Page) { p.Flags = seed.NewRecords }, "34", "not of the level below page 5"},
		"child is a root":   {10, func(p *seed.Page) { p.Flags |= seed.Root }, "34", "a root below"},
		"child twice":       {5, func(p *seed.Page) { p.Nodes[1].Data = seed.Child(10) }, "12", "in a tree twice"},
		"child is the root": {5, func(p *seed.Page) { p.Nodes[1].Data = seed.Child(5) }, "12", "in a tree twice"},
		"no such page":      {5, func(p *seed.Page) { p.Nodes[1].Data = seed.Child(1 << 30) }, "12", "the file has 30 pages"},
		"page 0":            {5, func(p *seed.Page) { p.Nodes[1].Data = seed.Child(0) }, "12", "the file has 30 pages"},
		"unused page":       {5, func(p *seed.Page) { p.Nodes[1].Data = seed.Child(15) }, "12", "never used"},
		"no page number":    {5, func(p *seed.Page) { p.Nodes[1].Data = []byte{1} }, "12", "branch node with 1 bytes"},
		"prefix too long":   {10, func(p *seed.Page) { p.Nodes[0].Prefix = 4 }, "234", "prefix"},
		"short record":      {10, func(p *seed.Page) { p.Nodes[0].Data = []byte{1, 2, 3} }, "234", "record of 3 bytes"},
		"fixed columns":     {10, func(p *seed.Page) { p.Nodes[0].Data = []byte{3, 127, 9, 0, 1} }, "234", "fixed columns end"},
		"variable columns":  {10, func(p *seed.Page) { p.Nodes[0].Data = []byte{0, 140, 4, 0, 1} }, "234", "13 variable columns"},
		"tagged columns":    {10, func(p *seed.Page) { p.Nodes[0].Data = []byte{0, 127, 4, 0, 0, 1, 3, 0} }, "234", "tagged columns begin"},
		"old records":       {10, func(p *seed.Page) { p.Flags &^= seed.NewRecords }, "34", "before Windows XP"},
		"root is none":      {5, func(p *seed.Page) { p.Flags &^= seed.Root }, "", "no root"},
		"root is another's": {5, func(p *seed.Page) { p.Object = 99 }, "", "it belongs to object 99"},
		"too few tags":      {11, func(p *seed.Page) { p.Nodes, p.Reserved = nil, 7 }, "12", ""},
	} {
		t.Run(what, func(t *testing.T) {
			ids, errs, _ := read(t, edit(seed.Sample(4096, false), x.page, x.change))
			got := ""
			for _, id := range ids {
				got += string('0' + rune(id))
			}
			if got != x.ids {
				t.Errorf("rows %s, want %s", got, x.ids)
			}
			if x.err == "" {
				if len(errs) > 0 {
					t.Error(errs)
				}
				return
			}
			pe := (*ese.PageError)(nil)
			if len(errs) == 0 || !strings.Contains(errs[0].Error(), x.err) || !errors.As(errs[0], &pe) ||
				!strings.HasPrefix(errs[0].Error(), `table "Requests": page `) {
				t.Errorf("%v, want %q", errs, x.err)
			}
		})
	}
}

// TestWrongChecksumInATree: the page's rows are an error, a correctable page's are
// not, and a note says so.
func TestWrongChecksumInATree(t *testing.T) {
	b := seed.Sample(4096, false).Bytes()
	b[11*4096+100] ^= 1
	db := open(t, b)
	if len(requests(t, db)) != 4 || len(db.Notes()) != 1 || !strings.Contains(db.Notes()[0], "page 10 at offset 45056: a wrong bit was corrected") {
		t.Errorf("%q", db.Notes())
	}
	b[11*4096+100] ^= 6
	table, err := open(t, b).Table("Requests")
	if err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for _, err := range table.Rows() {
		if err == nil {
			good++
		} else if errors.Is(err, ese.ErrChecksum) {
			bad++
		}
	}
	if good != 2 || bad != 1 {
		t.Errorf("%d rows, %d errors", good, bad)
	}
}

// TestHalfSplitPage: a fuzzy copy can have a page that its neighbours know and the
// branch above does not yet, and a row on both halves.
func TestHalfSplitPage(t *testing.T) {
	d := seed.Sample(4096, false)
	p := d.Pages[11]
	extra := p
	extra.Prev, extra.Next, extra.Nodes = 10, 11, []seed.Node{{Key: seed.Key(2), Data: d.Pages[10].Nodes[1].Data}, {Key: seed.Key(3), Data: p.Nodes[0].Data}}
	d.Pages[13] = extra
	p.Prev, p.Nodes = 13, p.Nodes[2:]
	d.Pages[11] = p
	d = edit(d, 10, func(p *seed.Page) { p.Next = 13 })
	ids, errs, db := read(t, d)
	if len(errs) > 0 || len(ids) != 4 || ids[2] != 3 {
		t.Errorf("%v, %v", ids, errs)
	}
	notes := strings.Join(db.Notes(), "\n")
	if !strings.Contains(notes, "a row is there twice (page 13)") {
		t.Errorf("%q", notes)
	}
	ids, errs, db = read(t, edit(d, 13, func(p *seed.Page) { p.Prev = 4 })) // not so sure
	if len(errs) > 0 || len(ids) != 3 || len(db.Notes()) != 2 || !strings.Contains(db.Notes()[0], "the page before is 10, it says 13") {
		t.Errorf("%v, %v, %q", ids, errs, db.Notes())
	}
}

// TestDamagedCatalog: the shadow is used.
func TestDamagedCatalog(t *testing.T) {
	b := seed.Sample(4096, false).Bytes()
	b[5*4096+200] ^= 3
	db := open(t, b)
	if len(requests(t, db)) != 4 || len(db.Notes()) != 2 || db.Notes()[1] != "its shadow was used" {
		t.Errorf("%q", db.Notes())
	}
	b[25*4096+200] ^= 3
	if _, err := ese.Open(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ese.ErrChecksum) {
		t.Errorf("both damaged: %v", err)
	}
}

// TestDamagedLongValues: never garbage, never a value that is cut.
func TestDamagedLongValues(t *testing.T) {
	for what, x := range map[string]struct {
		change func(n []seed.Node) []seed.Node
		err    error
	}{
		"piece missing":       {func(n []seed.Node) []seed.Node { return append(n[:4:4], n[5:]...) }, ese.ErrUnsupported},
		"first piece missing": {func(n []seed.Node) []seed.Node { return append(n[:3:3], n[4:]...) }, ese.ErrNoLongValue},
		"head missing":        {func(n []seed.Node) []seed.Node { return append(n[:2:2], n[3:]...) }, ese.ErrNoLongValue},
		"short head":          {func(n []seed.Node) []seed.Node { n[2].Data = n[2].Data[:7]; return n }, ese.ErrCorrupt},
		"encrypted":           {func(n []seed.Node) []seed.Node { n[2].Data = append(n[2].Data, 1); return n }, ese.ErrUnsupported},
		"piece too long":      {func(n []seed.Node) []seed.Node { n[4].Data = make([]byte, 101); return n }, ese.ErrCorrupt},
		"piece too short":     {func(n []seed.Node) []seed.Node { n[4].Data = make([]byte, 99); return n }, ese.ErrUnsupported},
		"offset":              {func(n []seed.Node) []seed.Node { n[4].Key = append(seed.Key(seed.PlainLong), 0, 0, 0, 201); return n }, ese.ErrUnsupported},
		"size":                {func(n []seed.Node) []seed.Node { n[2].Data[7] = 0x7f; return n }, ese.ErrCorrupt},
		"deleted":             {func(n []seed.Node) []seed.Node { n[3].Flags = seed.Deleted; return n }, ese.ErrNoLongValue},
	} {
		d := edit(seed.Sample(4096, false), seed.LongRoot, func(p *seed.Page) { p.Nodes = x.change(p.Nodes) })
		rows := requests(t, open(t, d.Bytes()))
		if b, err := rows[1].Bytes("RawRequest"); b != nil || !errors.Is(err, x.err) {
			t.Errorf("%s: %d bytes, %v; want %v", what, len(b), err, x.err)
		}
		raw(t, rows[2], "RawRequest", []byte("wide"))
	}
}

// TestCheckTree finds what rows are read in spite of.
func TestCheckTree(t *testing.T) {
	for what, x := range map[string]struct {
		page   uint32
		change func(p *seed.Page)
		want   string
	}{
		"whole":      {12, func(*seed.Page) {}, ""},
		"next":       {10, func(p *seed.Page) { p.Next = 0 }, "page 10 at offset 45056: damaged structure: the next page is 11, it says 0"},
		"previous":   {11, func(p *seed.Page) { p.Prev = 0 }, "page 11 at offset 49152: damaged structure: the page before is 10, it says 0"},
		"order":      {11, func(p *seed.Page) { p.Nodes[2].Key = seed.Key(1) }, "its key is below the one before"},
		"equal keys": {11, func(p *seed.Page) { p.Nodes[2].Key = seed.Key(3) }, "its key is the same as the one before"},
	} {
		db := open(t, edit(seed.Sample(4096, false), x.page, x.change).Bytes())
		var errs []string
		for err := range db.CheckTree(seed.RequestsRoot, seed.RequestsObject, true) {
			errs = append(errs, err.Error())
		}
		if got := strings.Join(errs, "; "); x.want == "" && got != "" || !strings.Contains(got, x.want) {
			t.Errorf("%s: %s, want %s", what, got, x.want)
		}
	}
	db := open(t, seed.Sample(4096, false).Bytes())
	for err := range db.CheckTree(seed.IndexRoot, seed.IndexObject, false) {
		t.Errorf("equal keys in an index: %v", err)
	}
	if n, err := db.OwnedPages(); n != 30 || err != nil {
		t.Errorf("%d pages, %v", n, err)
	}
}

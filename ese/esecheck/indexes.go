package esecheck

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/certkeep/certkeep/ese"
)

// indexes compares the secondary indexes of a table with its rows. It shows what no
// checksum can: pages that are older than the rest.
func (c *checker) indexes(t *ese.Table) {
	for x := range t.CheckIndexes() {
		f := about(c.structural(), IndexDiffers, c.in.Database.Name, SecondaryIndexCorrupted, "index %q of table %q: ", x.Index.Name, t.Name())
		f.Page = cmp.Or(x.Page, x.Index.Root)
		switch {
		case x.Unchecked:
			f.Severity, f.Code, f.Error = Note, NotChecked, 0
			f.Message += fmt.Sprintf("not compared with the table's %d rows, which are too many", x.Rows)
		case x.Dangling == 0 && x.Missing == 0:
			continue
		default:
			f.Message += differences(x)
		}
		if c.report.Header != nil {
			f.Offset = (int64(f.Page) + 1) * int64(c.report.Header.PageSize)
		}
		c.find(f)
	}
}

func differences(x ese.IndexCheck) string {
	var what []string
	if x.Dangling > 0 {
		what = append(what, plural(x.Dangling, "entry names a row that is", "entries name rows that are")+" not there")
	}
	if x.Missing > 0 {
		what = append(what, plural(x.Missing, "row has", "rows have")+" no entry")
	}
	return strings.Join(what, ", ") + "; a page of the index or of the table may be older than the rest"
}

// plural is a number with the word that fits it.
func plural[N int | uint32 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

package eseview

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strings"

	"github.com/certkeep/certkeep/ese"
)

// Row is a row of a table. Columns that are NULL are left out; one with several
// values is there several times, in their order.
type Row struct {
	Table  string `json:"table"`
	Page   uint32 `json:"page"`
	Tag    int    `json:"tag"`
	Values []Cell `json:"values"`
	Error  string `json:"error,omitempty"` // why there is no row: something on the page is damaged
}

// RowsResult says how reading went.
type RowsResult struct {
	Rows   uint64 // that were given
	Faults uint64 // rows and values that could not be read
	First  string // the first of them
	More   bool   // there are more than were asked for
}

func (r *RowsResult) fault(format string, args ...any) {
	if r.Faults++; r.Faults == 1 {
		r.First = fmt.Sprintf(format, args...)
	}
}

// ReadRows gives the rows of a table to yield, limit at most; 0 is no limit. Rows that
// cannot be read are given with their error, and count as such.
func ReadRows(ctx context.Context, t *ese.Table, limit uint64, yield func(Row) error) (r RowsResult, err error) {
	given := uint64(0)
	for row, rowErr := range t.Rows() {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if limit > 0 && given == limit {
			r.More = true
			break
		}
		given++
		v := Row{Table: t.Name(), Values: []Cell{}}
		if rowErr != nil {
			v.Error = rowErr.Error()
			r.fault("%v", rowErr)
			if err := yield(v); err != nil {
				return r, err
			}
			continue
		}
		v.Page, v.Tag = row.Position()
		for _, values := range row.All() {
			for _, x := range values {
				cell := cellOf(x)
				if cell.Error != "" {
					r.fault("%s: %s", cell.Column, cell.Error)
				}
				v.Values = append(v.Values, cell)
			}
		}
		if err := ctx.Err(); err != nil { // which may be why a value could not be read
			return r, err
		}
		r.Rows++
		if err := yield(v); err != nil {
			return r, err
		}
	}
	return r, ctx.Err()
}

// CSV writes rows as RFC 4180 comma-separated values after a line of column names.
// Several values of a column are put together with "; ".
type CSV struct {
	w       *csv.Writer
	columns []string
	at      map[string]int
}

// NewCSV writes the line of column names.
func NewCSV(w io.Writer, t *ese.Table) (*CSV, error) {
	c := &CSV{w: csv.NewWriter(w), at: make(map[string]int)}
	c.w.UseCRLF = true
	for _, column := range t.Columns() {
		c.at[column.Name] = len(c.columns)
		c.columns = append(c.columns, Cell{Value: column.Name}.Text())
	}
	return c, c.w.Write(c.columns)
}

// Write writes a row; those that could not be read are left out.
func (c *CSV) Write(r Row) error {
	if r.Error != "" {
		return nil
	}
	cells := make([][]string, len(c.columns))
	for _, v := range r.Values {
		i := c.at[v.Column]
		cells[i] = append(cells[i], v.Text())
	}
	record := make([]string, len(cells))
	for i, list := range cells {
		record[i] = strings.Join(list, "; ")
	}
	return c.w.Write(record)
}

// Flush writes what is left.
func (c *CSV) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

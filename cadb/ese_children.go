package cadb

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
)

// child is what belongs to a request and has a name.
type child interface{ Extension | Attribute }

// children goes through a table whose rows belong to requests, in the order of those.
func children[T child](ctx context.Context, r *eseReader, t eseTable, id int64, read func(*eseRow, *T), key func(*T) (int64, string), size func(*T) int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		x := &faults{r: r, table: t.name}
		seen := names{x: x, ordered: t.ordered}
		rows := func(yield func(T, error) bool) {
			for row, err := range r.rowsOf(ctx, t, x) {
				var v T
				if err != nil {
					yield(v, err)
					return
				}
				w := &eseRow{x: x, row: row}
				of := w.id(t.id)
				if id != AllExtensions && of != id {
					if t.ordered && of > id {
						return
					}
					continue
				}
				read(w, &v)
				if seen.next(key(&v)) && !yield(v, nil) {
					return
				}
			}
		}
		all := iter.Seq2[T, error](rows)
		if !t.ordered {
			all = sorted(ctx, rows, func(v *T) int64 { id, _ := key(v); return id }, size)
		}
		for v, err := range all {
			if !yield(v, err) || err != nil {
				return
			}
		}
		if err := x.err(); err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

// names is order for rows of which a request has several.
type names struct {
	x       *faults
	ordered bool
	last    int64
	any     bool
	of      []string // of the last request
}

func (n *names) next(id int64, name string) bool {
	if !n.ordered {
		return true
	}
	switch {
	case n.any && id < n.last, id == n.last && slices.Contains(n.of, name):
		n.x.add(fmt.Errorf("row %.60q of request %d is there twice, or out of order: %w", name, id, ese.ErrCorrupt))
		return !n.x.r.fuzzy
	case !n.any || id != n.last:
		n.of = n.of[:0]
	}
	n.any, n.last = true, id
	if len(n.of) < 1000 {
		n.of = append(n.of, name)
	}
	return true
}

func (r *eseReader) extensions(ctx context.Context, id int64) iter.Seq2[Extension, error] {
	t := r.extensionTable
	oid, flags, value := t.columns["ExtensionName"], t.columns["ExtensionFlags"], t.columns["ExtensionRawValue"]
	return children(ctx, r, t, id, func(w *eseRow, v *Extension) {
		v.RequestID, v.OID, v.Flags, v.Value = w.id(t.id), w.text(oid), w.uint32(flags), w.blob(value, maxRowCell)
	}, func(v *Extension) (int64, string) { return v.RequestID, v.OID }, func(v *Extension) int { return len(v.Value) })
}

func (r *eseReader) attributes(ctx context.Context, id int64) iter.Seq2[Attribute, error] {
	t := r.attributeTable
	name, value := t.columns["AttributeName"], t.columns["AttributeValue"]
	return children(ctx, r, t, id, func(w *eseRow, v *Attribute) {
		v.RequestID, v.Name, v.Value = w.id(t.id), w.text(name), w.text(value)
	}, func(v *Attribute) (int64, string) { return v.RequestID, v.Name }, func(v *Attribute) int { return len(v.Value) })
}

// crls come as their rows do; there are few.
func (r *eseReader) crls(ctx context.Context) iter.Seq2[CRL, error] {
	return func(yield func(CRL, error) bool) {
		t := r.crlTable
		x := &faults{r: r, table: t.name}
		seen := order{x: x, ordered: t.ordered}
		for row, err := range r.rowsOf(ctx, t, x) {
			if err != nil {
				yield(CRL{}, err)
				return
			}
			w, c := &eseRow{x: x, row: row}, t.columns
			v := CRL{RowID: w.id(t.id)}
			if !seen.next(v.RowID) {
				continue
			}
			v.Number, v.MinBase, v.NameID, v.Count = w.id(c["Number"]), w.id(c["MinBase"]), w.uint32(c["NameId"]), w.id(c["Count"])
			v.ThisUpdate, v.NextUpdate, v.ThisPublish = w.date(c["ThisUpdate"]), w.date(c["NextUpdate"]), w.date(c["ThisPublish"])
			v.Raw = w.blob(c["RawCRL"], schema.MaxCell)
			if !yield(v, nil) {
				return
			}
		}
		if err := x.err(); err != nil {
			yield(CRL{}, err)
		}
	}
}

func (r *eseReader) counts(ctx context.Context) (map[schema.Disposition]int, error) {
	m := make(map[schema.Disposition]int)
	x := &faults{r: r, table: schema.Requests}
	seen := order{x: x, ordered: r.requestTable.ordered}
	for row, err := range r.rowsOf(ctx, r.requestTable.eseTable, x) {
		if err != nil {
			return m, err
		}
		if w := (eseRow{x: x, row: row}); seen.next(w.id(r.requestTable.id)) {
			m[schema.Disposition(w.uint32(r.requestTable.disposition))]++
		}
	}
	return m, x.err()
}

// rows counts what is there, a row that is there twice included.
func (r *eseReader) rows(ctx context.Context) (map[string]int64, error) {
	m := make(map[string]int64)
	for _, t := range schema.Tables {
		x := &faults{r: r, table: t.Name}
		m[t.Name] = 0
		for _, err := range r.rowsOf(ctx, r.table(t.Name), x) {
			if err != nil {
				return nil, err
			}
			m[t.Name]++
		}
		if err := x.err(); err != nil {
			return m, err
		}
	}
	return m, nil
}

// ids are the numbers of a table's requests in ascending order, each once.
func (r *eseReader) ids(ctx context.Context, t eseTable) ([]uint32, error) {
	var ids []uint32
	x := &faults{r: r, table: t.name}
	for row, err := range r.rowsOf(ctx, t, x) {
		if err != nil {
			return nil, err
		}
		w := eseRow{x: x, row: row}
		if id := uint32(w.id(t.id)); len(ids) == 0 || ids[len(ids)-1] != id {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil // what could not be read is said by who reads the rows
}

// orphans takes four bytes of memory for each request.
func (r *eseReader) orphans(ctx context.Context) iter.Seq2[orphan, error] {
	return func(yield func(orphan, error) bool) {
		requests, err := r.ids(ctx, r.requestTable.eseTable)
		for _, name := range []string{schema.Certificates, schema.CertificateExtensions, schema.RequestAttributes} {
			if err != nil {
				yield(orphan{}, err)
				return
			}
			var ids []uint32
			ids, err = r.ids(ctx, r.table(name))
			for _, id := range ids {
				if _, found := slices.BinarySearch(requests, id); !found && !yield(orphan{name, int64(id)}, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(orphan{}, err)
		}
	}
}

// checkDefinitions names columns that no version of AD CS is known to lack.
func (r *eseReader) checkDefinitions(context.Context) (found []Finding, err error) {
	for _, t := range schema.Tables {
		for _, c := range t.Columns {
			if r.table(t.Name).columns[c.Name] == nil {
				found = append(found, Finding{Severity: Note, Code: CodeStructure, Where: t.Name, Message: "there is no column for " + c.Name})
			}
		}
	}
	return found, nil
}

// integrity checks pages, trees and values as far as that is possible without the
// logs. What they may explain is no finding.
func (r *eseReader) integrity(ctx context.Context) ([]string, error) {
	report, err := esecheck.Check(ctx, esecheck.Input{Database: &esecheck.File{Name: r.f.Name(), R: r.f, Size: r.size}, LogsElsewhere: true, Depth: esecheck.Rows, Workers: 2})
	if err != nil {
		return nil, err
	}
	var found []string
	for _, f := range report.Findings {
		if f.Severity == esecheck.Damage && len(found) < 100 {
			f.File = ""
			found = append(found, f.String())
		}
	}
	return found, nil
}

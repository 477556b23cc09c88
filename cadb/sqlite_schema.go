package cadb

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/cadb/schema"
)

// definitions are the statements of schema.SQLite by the lower-case name of what
// they make. SQLite keeps their text as it was given.
var definitions = sync.OnceValue(func() map[string]string {
	m := make(map[string]string)
	for _, s := range strings.Split(schema.SQLite, ";") {
		s = strings.TrimSpace(s)
		f := strings.Fields(s)
		for i := 0; i+1 < len(f); i++ {
			if f[i] == "TABLE" || f[i] == "INDEX" {
				m[strings.ToLower(f[i+1])] = s
				break
			}
		}
	}
	return m
})

// checkDefinitions compares the database's definitions with those that an
// authority makes. A changed name of a column would otherwise make its contents
// invisible. Another version may have added columns at the end of a table; any
// other difference is damage.
func (r *sqliteReader) checkDefinitions(ctx context.Context) ([]Finding, error) {
	have := make(map[string]string)
	err := r.query(ctx, maxRowCell, "SELECT name, coalesce(sql, '') FROM sqlite_schema", nil, func(rows *sql.Rows) (bool, error) {
		var name, ddl string
		err := rows.Scan(&name, &ddl)
		have[strings.ToLower(name)] = ddl
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	var found []Finding
	grown := make(map[string]bool) // tables to which columns were added
	for _, t := range schema.Tables {
		f, n, err := r.checkColumns(ctx, t)
		if err != nil {
			return nil, err
		}
		found = append(found, f...)
		grown[strings.ToLower(t.Name)] = n > len(t.Columns)
	}
	for _, name := range slices.Sorted(maps.Keys(definitions())) {
		switch got, ok := have[name]; {
		case !ok:
			// A missing table is noticed on opening.
			found = append(found, Finding{Severity: Warning, Code: CodeStructure, Where: name, Message: "there is no such index"})
		case got != definitions()[name]:
			f := Finding{Severity: Damage, Code: CodeStructure, Where: name, Message: "its definition is not the one that an authority makes"}
			if grown[name] {
				f.Severity, f.Message = Warning, "it has columns that this version does not know"
			}
			found = append(found, f)
		}
	}
	return found, nil
}

func (r *sqliteReader) checkColumns(ctx context.Context, t schema.Table) (found []Finding, i int, err error) {
	err = r.query(ctx, maxRowCell, "SELECT name FROM pragma_table_xinfo('"+t.Name+"') ORDER BY cid", nil, func(rows *sql.Rows) (bool, error) {
		var name string
		if err := rows.Scan(&name); err != nil {
			return false, err
		}
		if i < len(t.Columns) && !strings.EqualFold(name, t.Columns[i].Name) {
			found = append(found, Finding{Severity: Damage, Code: CodeStructure, Where: t.Name,
				Message: fmt.Sprintf("column %d is called %.60q and not %s", i+1, name, t.Columns[i].Name)})
		}
		i++
		return true, nil
	})
	if err == nil && i < len(t.Columns) {
		found = append(found, Finding{Severity: Damage, Code: CodeStructure, Where: t.Name,
			Message: fmt.Sprintf("has %d columns, and all versions have at least %d", i, len(t.Columns))})
	}
	return found, i, err
}

package eseview_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/eseview"
)

// TestDocumented: whoever sends a report in can read in the docs what is in it.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile("../../../../docs/ese.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(b), "## Sending a report in")
	if !found {
		t.Fatal("the docs say nothing of reports")
	}
	seen := map[reflect.Type]bool{}
	n := 0
	var visit func(reflect.Type)
	visit = func(x reflect.Type) {
		switch x.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(x.Elem())
		case reflect.Struct:
			if seen[x] {
				return
			}
			seen[x] = true
			for i := range x.NumField() {
				f := x.Field(i)
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if n++; !strings.Contains(section, "`"+name+"`") {
					t.Errorf("%s.%s: `%s` is not in docs/ese.md", x.Name(), f.Name, name)
				}
				visit(f.Type)
			}
		}
	}
	visit(reflect.TypeFor[eseview.Anonymous]())
	if n < 100 {
		t.Errorf("only %d fields", n)
	}
}

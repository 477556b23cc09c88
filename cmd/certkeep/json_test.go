package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// snakeCase is how every field of every JSON that this program writes is named.
var snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// inOutput is what a key may look like that is seen in output: besides the names
// of fields there are maps that count by disposition, as "ca-certificate", which
// is a value and written as everywhere else.
var inOutput = regexp.MustCompile(`^[a-z][a-z0-9]*([_-][a-z0-9]+)*$`)

// TestTags reads the source of the whole module: a type that is written as JSON
// names each of its fields, in snake_case. Names that others have given, as
// those of another project's format, would have to be excepted here.
func TestTags(t *testing.T) {
	root := filepath.Join("..", "..")
	tags := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.StructType); ok {
				found, wrong := checkTags(s)
				tags += found
				for _, w := range wrong {
					t.Errorf("%s: %s", fset.Position(s.Pos()), w)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if tags < 200 {
		t.Errorf("only %d tags were found: is the module where it was?", tags)
	}
}

// checkTags looks at the fields of a struct of which at least one has a tag for
// JSON.
func checkTags(s *ast.StructType) (tags int, wrong []string) {
	var bare []string
	for _, f := range s.Fields.List {
		tag := ""
		if f.Tag != nil {
			if text, err := strconv.Unquote(f.Tag.Value); err == nil {
				tag, _, _ = strings.Cut(reflect.StructTag(text).Get("json"), ",")
			}
		}
		switch {
		case tag == "-":
		case tag != "":
			tags++
			if !snakeCase.MatchString(tag) {
				wrong = append(wrong, fmt.Sprintf("%q is not snake_case", tag))
			}
		default:
			for _, n := range f.Names { // embedded ones have fields of their own
				if n.IsExported() {
					bare = append(bare, n.Name)
				}
			}
		}
	}
	if tags > 0 && len(bare) > 0 {
		wrong = append(wrong, fmt.Sprintf("%v: no name in JSON", bare))
	}
	return tags, wrong
}

func TestCheckTags(t *testing.T) {
	for src, want := range map[string]int{
		"struct{A int `json:\"a\"`; B int `json:\"b_2\"`; C int `json:\"-\"`; d int}": 0,
		"struct{A int `json:\"notAfter\"`}":                                           1,
		"struct{A int `json:\"a\"`; B int}":                                           1,
		"struct{A int `json:\"A\"`; B int}":                                           2,
		"struct{A, B int}":                                                            0,
	} {
		e, err := parser.ParseExpr(src)
		if err != nil {
			t.Fatal(err)
		}
		if _, wrong := checkTags(e.(*ast.StructType)); len(wrong) != want {
			t.Errorf("%s: %q", src, wrong)
		}
	}
}

// camelCased lists the keys of a JSON text that are not snake_case, as paths.
func camelCased(b []byte) ([]string, error) {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	var bad []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch x := v.(type) {
		case map[string]any:
			for k, v := range x {
				if !inOutput.MatchString(k) {
					bad = append(bad, path+k)
				}
				walk(path+k+".", v)
			}
		case []any:
			for _, v := range x {
				walk(path, v)
			}
		}
	}
	walk("", v)
	slices.Sort(bad)
	return slices.Compact(bad), nil
}

func TestCamelCased(t *testing.T) {
	bad, err := camelCased([]byte(`{"good_one":[{"notProven":1,"Upper":{"deepHole":2}}],"also_good2":{}}`))
	if want := []string{"good_one.Upper", "good_one.Upper.deepHole", "good_one.notProven"}; err != nil || !slices.Equal(bad, want) {
		t.Errorf("%q, %v", bad, err)
	}
}

// guardExit is how a script's command ends that printed a name in another style.
const guardExit = 99

// guardedStatus is mainStatus for the scripts: every line that a verb prints with
// --json, in any script, must have names in snake_case.
func guardedStatus() int {
	if !slices.Contains(os.Args, "--json") {
		return mainStatus()
	}
	ctx, stop := interruptible(context.Background())
	defer stop()
	var printed bytes.Buffer
	status := Run(ctx, os.Args[1:], os.Stdin, io.MultiWriter(os.Stdout, &printed), os.Stderr)
	for line := range bytes.Lines(printed.Bytes()) {
		if bad, err := camelCased(line); err != nil || len(bad) > 0 {
			fmt.Fprintf(os.Stderr, "names that are not snake_case: %q (%v)\n", bad, err)
			return guardExit
		}
	}
	return status
}

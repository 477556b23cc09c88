package cakey

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// TestPointersAsNumbers: a pointer is made a number only in the arguments of a
// function that keeps what it points to (unsafe.Pointer, pattern 4), or if it
// points to a variable of the package. Elsewhere the collector may free it, or a
// growing stack move it, before Windows sees it: which no run of a test would
// show every time.
func TestPointersAsNumbers(t *testing.T) {
	files, err := filepath.Glob("*_windows*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	fset := token.NewFileSet()
	numbers := 0
	for _, name := range files {
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		kept := make(map[ast.Expr]bool)
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if keeps(c.Fun) { // it is visited before its arguments
				for _, a := range c.Args {
					kept[a] = true
				}
			}
			if p := pointer(c); p != nil {
				numbers++
				if !kept[c] && !ofPackage(p) {
					t.Errorf("%v: nothing keeps what this points to", fset.Position(c.Pos()))
				}
			}
			return true
		})
	}
	if numbers == 0 {
		t.Error("no pointer is made a number: the test looks for something else")
	}
}

// keeps says whether a function is (*windows.LazyProc).Call, or the tests' own
// call; both have the directive uintptrescapes.
func keeps(fun ast.Expr) bool {
	switch f := fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name == "Call"
	case *ast.Ident:
		return f.Name == "call"
	}
	return false
}

// pointer is the x of uintptr(unsafe.Pointer(x)).
func pointer(c *ast.CallExpr) ast.Expr {
	if f, ok := c.Fun.(*ast.Ident); !ok || f.Name != "uintptr" || len(c.Args) != 1 {
		return nil
	}
	inner, ok := c.Args[0].(*ast.CallExpr)
	if !ok || len(inner.Args) != 1 {
		return nil
	}
	if f, ok := inner.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Pointer" {
		return nil
	}
	return inner.Args[0]
}

// ofPackage says whether x is &storeName[…].
func ofPackage(x ast.Expr) bool {
	u, ok := x.(*ast.UnaryExpr)
	if !ok {
		return false
	}
	i, ok := u.X.(*ast.IndexExpr)
	if !ok {
		return false
	}
	v, ok := i.X.(*ast.Ident)
	return ok && v.Name == "storeName"
}

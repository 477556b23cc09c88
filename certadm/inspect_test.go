package certadm

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

func TestRolesString(t *testing.T) {
	for r, want := range map[Roles]string{
		0: "none", RoleOperator | RoleRead: "operator,read", 0x30F: "administrator,officer,auditor,operator,read,enroll",
		RoleRead | 0x10: "read,0x10", 0x80000000: "0x80000000",
	} {
		if got := r.String(); got != want {
			t.Errorf("%#x: %q, want %q", uint32(r), got, want)
		}
	}
}

func TestInterfaceFlagsString(t *testing.T) {
	for f, want := range map[InterfaceFlags]string{
		0:    "0x0",
		0x41: "0x41 (IF_LOCKICERTREQUEST, IF_NOREMOTEICERTADMINBACKUP)",
		0x641: "0x641 (IF_LOCKICERTREQUEST, IF_NOREMOTEICERTADMINBACKUP, IF_ENFORCEENCRYPTICERTREQUEST, " +
			"IF_ENFORCEENCRYPTICERTADMIN)",
		IfEnableAdminAsAuditor: "0x1000 (IF_ENABLEADMINASAUDITOR)",
		0x80000000:             "0x80000000",
	} {
		if got := f.String(); got != want {
			t.Errorf("%#x: %q, want %q", uint32(f), got, want)
		}
	}
}

// Each constant's comment begins with its public name, and what the code says of
// the constant must agree with it.
func TestInspectConstants(t *testing.T) {
	seen := 0
	for _, file := range []string{"inspect_property.go", "inspect_flags.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || spec.Comment == nil || len(spec.Values) != 1 {
				return true
			}
			lit, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				return true
			}
			comment := strings.TrimSpace(spec.Comment.Text())
			public := strings.FieldsFunc(comment, func(r rune) bool { return strings.ContainsRune(" :,", r) })[0]
			v, err := strconv.ParseInt(lit.Value, 0, 32)
			if err != nil {
				t.Fatal(err)
			}
			seen++
			if flag, ok := strings.CutPrefix(public, "IF_"); ok {
				if got := InterfaceFlags(v).String(); !strings.HasSuffix(got, "(IF_"+flag+")") {
					t.Errorf("%s is %s", spec.Names[0], got)
				}
				return true
			}
			id := CAPropertyID(v)
			if id.String() != public {
				t.Errorf("%s is %s", spec.Names[0], id)
			}
			if id.Type() == 0 || id.Indexed() != strings.Contains(comment, " []") {
				t.Errorf("%s: type %v, indexed %v", spec.Names[0], id.Type(), id.Indexed())
			}
			return true
		})
	}
	if want := len(properties) + len(flagNames); seen != want {
		t.Errorf("%d constants, %d descriptions", seen, want)
	}
}

func TestPropertyUnknown(t *testing.T) {
	id := CAPropertyID(999)
	if id.Type() != 0 || id.Indexed() || id.String() != "CR_PROP 999" || PropertyType(9).String() != "PROPTYPE 9" {
		t.Errorf("%v %v %v %v", id.Type(), id.Indexed(), id, PropertyType(9))
	}
	for pt := PropertyLong; pt <= PropertyString; pt++ {
		if !strings.HasPrefix(pt.String(), "PROPTYPE_") {
			t.Errorf("%d: %v", pt, pt)
		}
	}
}

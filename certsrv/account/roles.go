package account

import (
	"fmt"
	"strings"
)

// Roles is a set of CA access rights, with the bits of the CA's security
// descriptor (MS-CSRA 3.1.1.7).
type Roles uint32

// The roles.
const (
	Administrator Roles = 0x1
	Officer       Roles = 0x2 // certificate manager
	Auditor       Roles = 0x4
	Operator      Roles = 0x8 // backup operator
	Read          Roles = 0x100
	Enroll        Roles = 0x200

	AllRoles = Administrator | Officer | Auditor | Operator | Read | Enroll
)

var roleNames = []struct {
	role  Roles
	names []string // the first is the one that is written
}{
	{Administrator, []string{"administrator", "admin"}},
	{Officer, []string{"officer", "manager"}},
	{Auditor, []string{"auditor"}},
	{Operator, []string{"operator", "backup"}},
	{Read, []string{"read"}},
	{Enroll, []string{"enroll", "enrol"}},
}

// ParseRoles reads names separated by commas: administrator (or admin), officer
// (manager), auditor, operator (backup), read, enroll; in any case. At least
// one is needed.
func ParseRoles(s string) (Roles, error) {
	var r Roles
	for part := range strings.SplitSeq(s, ",") {
		one, ok := roleByName(strings.TrimSpace(part))
		if !ok {
			return 0, fmt.Errorf("unknown role %.40q: it is one of %s", strings.TrimSpace(part), AllRoles)
		}
		r |= one
	}
	return r, nil
}

func roleByName(s string) (Roles, bool) {
	for _, rn := range roleNames {
		for _, n := range rn.names {
			if strings.EqualFold(n, s) {
				return rn.role, true
			}
		}
	}
	return 0, false
}

// Names lists the roles' names, in the order of ParseRoles.
func (r Roles) Names() []string {
	names := []string{}
	for _, rn := range roleNames {
		if r&rn.role != 0 {
			names = append(names, rn.names[0])
		}
	}
	return names
}

// String is what ParseRoles reads: the names, separated by commas.
func (r Roles) String() string { return strings.Join(r.Names(), ",") }

// Effective adds what is implied: Read by each of Administrator, Officer,
// Enroll and Operator. (On Windows an operator is a reader who holds the backup
// privilege; an account with this role is both.)
func (r Roles) Effective() Roles {
	if r&(Administrator|Officer|Enroll|Operator) != 0 {
		r |= Read
	}
	return r
}

// Has reports whether all of the roles are in effect.
func (r Roles) Has(roles Roles) bool { return r.Effective()&roles == roles }

package certadm

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Inspector is implemented by a Service that can be asked about the authority
// and the caller, as MS-CSRA servers can. The calls need no session and no order.
// A server that lacks one answers [ENotImpl].
type Inspector interface {
	// Ping is ICertAdminD::Ping (MS-CSRA 3.1.4.1.16): the service runs. It is for
	// CA administrators, so a backup account may get [EAccessDenied] here while
	// its backups work; [Service.IsServerOnline] is for everybody.
	Ping(ctx context.Context) error

	// MyRoles is ICertAdminD2::GetMyRoles (MS-CSRA 3.1.4.2.17): what the caller
	// may do, the implied roles included. It is for readers.
	MyRoles(ctx context.Context) (Roles, error)

	// CRL is ICertAdminD::GetCRL (MS-CSRA 3.1.4.1.7): the newest base CRL, in DER.
	// It is for readers. [ErrorFileNotFound] says that there is none.
	CRL(ctx context.Context) ([]byte, error)

	// CAProperty is ICertAdminD2::GetCAProperty (MS-CSRA 3.1.4.2.2; the
	// properties are those of MS-WCCE 3.2.1.4.3.2). It is for readers. The index
	// counts from 0, is [PropertyNewest] for the newest, and is 0 where there is
	// only one value. [EInvalidArg] says that the server does not know the
	// property, that it is of another type than t, or that there is no such
	// index; [ErrorFileNotFound] that it knows the property and has no value.
	CAProperty(ctx context.Context, id CAPropertyID, index int, t PropertyType) (CAProperty, error)
}

// Roles is a set of CA access rights: the bits that GetMyRoles returns, which
// are those of the CA's security descriptor (MS-CSRA 3.1.1.7).
type Roles uint32

const (
	RoleAdministrator Roles = 0x1
	RoleOfficer       Roles = 0x2
	RoleAuditor       Roles = 0x4
	RoleOperator      Roles = 0x8 // may take backups
	RoleRead          Roles = 0x100
	RoleEnroll        Roles = 0x200
)

var roleNames = []struct {
	role Roles
	name string
}{
	{RoleAdministrator, "administrator"},
	{RoleOfficer, "officer"},
	{RoleAuditor, "auditor"},
	{RoleOperator, "operator"},
	{RoleRead, "read"},
	{RoleEnroll, "enroll"},
}

// String is the roles' names, separated by commas; bits without a name follow
// as one hexadecimal number, and no role at all is "none".
func (r Roles) String() string {
	var names []string
	for _, n := range roleNames {
		if r&n.role != 0 {
			names = append(names, n.name)
			r &^= n.role
		}
	}
	if r != 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(r)))
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// PropertyNewest is the index of the newest certificate or CRL.
const PropertyNewest = -1

// CAProperty is the value of a property; the field of its type is set.
type CAProperty struct {
	Type   PropertyType
	Long   int32
	Time   time.Time // UTC
	Binary []byte    // DER
	Text   string
}

// PropertyType is the PropType argument of GetCAProperty.
type PropertyType int32

const (
	PropertyLong   PropertyType = 1 // PROPTYPE_LONG
	PropertyDate   PropertyType = 2 // PROPTYPE_DATE
	PropertyBinary PropertyType = 3 // PROPTYPE_BINARY
	PropertyString PropertyType = 4 // PROPTYPE_STRING
)

// String is the constant's name in certcli.h.
func (t PropertyType) String() string {
	switch t {
	case PropertyLong:
		return "PROPTYPE_LONG"
	case PropertyDate:
		return "PROPTYPE_DATE"
	case PropertyBinary:
		return "PROPTYPE_BINARY"
	case PropertyString:
		return "PROPTYPE_STRING"
	}
	return fmt.Sprintf("PROPTYPE %d", int32(t))
}

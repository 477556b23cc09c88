package csra

import "github.com/certkeep/certkeep/internal/ndr"

// The class and its interfaces (sections 1.9 and 2.1). Their versions are 0.0.
var (
	clsidCertAdmin   = ndr.MustGUID("d99e6e73-fc88-11d0-b498-00a0c90312f3")
	iidICertAdminD   = ndr.MustGUID("d99e6e71-fc88-11d0-b498-00a0c90312f3")
	iidICertAdminD2  = ndr.MustGUID("7fe0d935-dda6-443f-85d0-1cfb58fe41dd")
	lastOpnumOfD     = uint16(30)
	firstOpnum       = uint16(3) // 0 to 2 are IUnknown's, and never on the wire
	maxReadBytes     = int32(16 << 20)
	maxAuthority     = 1536     // WCHARs, as MS-WCCE bounds pwszAuthority
	maxBlob          = 16 << 20 // bytes in a CERTTRANSBLOB that a client takes
	maxReadWithError = int32(1 << 20)
)

// The operation numbers that are called or served here.
const (
	opGetCRL               uint16 = 9
	opServerControl        uint16 = 17
	opPing                 uint16 = 18
	opGetServerState       uint16 = 19
	opBackupPrepare        uint16 = 20
	opBackupEnd            uint16 = 21
	opBackupGetAttachments uint16 = 22
	opBackupGetLogs        uint16 = 23
	opBackupOpenFile       uint16 = 24
	opBackupReadFile       uint16 = 25
	opBackupCloseFile      uint16 = 26
	opBackupTruncateLogs   uint16 = 27
	opBackupGetDynamic     uint16 = 29
	opGetLocations         uint16 = 30
	opGetCAProperty        uint16 = 32
	opPing2                uint16 = 38
	opGetMyRoles           uint16 = 47
)

// out is a parameter that a method returns before its HRESULT.
type out byte

const (
	outU32     out = 'u' // DWORD, LONG or BOOL
	outBlob    out = 'b' // CERTTRANSBLOB
	outU64     out = 'h' // unsigned hyper
	outList    out = 'l' // WCHAR** and its LONG count
	outVariant out = 'v' // VARIANT
	outRead    out = 'r' // BYTE[cbBuffer] and cbRead
)

// method describes one of the interface's methods (section 3.1.4.1 and 3.1.4.2):
// its name there, and what its answer consists of.
type method struct {
	name string
	outs string // a letter of type out for each
}

// methods has every method of both interfaces by opnum. One that is not served
// is answered with E_NOTIMPL and each of its parameters, empty.
var methods = [...]method{
	3:  {"SetExtension", ""},
	4:  {"SetAttributes", ""},
	5:  {"ResubmitRequest", "u"},
	6:  {"DenyRequest", ""},
	7:  {"IsValidCertificate", "uu"},
	8:  {"PublishCRL", ""},
	9:  {"GetCRL", "b"},
	10: {"RevokeCertificate", ""},
	11: {"EnumViewColumn", "ub"},
	12: {"GetViewDefaultColumnSet", "ub"},
	13: {"EnumAttributesOrExtensions", "ub"},
	14: {"OpenView", "ub"},
	15: {"EnumView", "ub"},
	16: {"CloseView", ""},
	17: {"ServerControl", "b"},
	18: {"Ping", ""},
	19: {"GetServerState", "u"},
	20: {"BackupPrepare", ""},
	21: {"BackupEnd", ""},
	22: {"BackupGetAttachmentInformation", "l"},
	23: {"BackupGetBackupLogs", "l"},
	24: {"BackupOpenFile", "h"},
	25: {"BackupReadFile", "r"},
	26: {"BackupCloseFile", ""},
	27: {"BackupTruncateLogs", ""},
	28: {"ImportCertificate", "u"},
	29: {"BackupGetDynamicFiles", "l"},
	30: {"RestoreGetDatabaseLocations", "l"},
	31: {"PublishCRLs", ""},
	32: {"GetCAProperty", "b"},
	33: {"SetCAProperty", ""},
	34: {"GetCAPropertyInfo", "ub"},
	35: {"EnumViewColumnTable", "ub"},
	36: {"GetCASecurity", "b"},
	37: {"SetCASecurity", ""},
	38: {"Ping2", ""},
	39: {"GetArchivedKey", "b"},
	40: {"GetAuditFilter", "u"},
	41: {"SetAuditFilter", ""},
	42: {"GetOfficerRights", "ub"},
	43: {"SetOfficerRights", ""},
	44: {"GetConfigEntry", "v"},
	45: {"SetConfigEntry", ""},
	46: {"ImportKey", ""},
	47: {"GetMyRoles", "u"},
	48: {"DeleteRow", "u"},
}

// methodOf returns the method with this opnum of an interface, false if it has
// none.
func methodOf(iid ndr.GUID, opnum uint16) (method, bool) {
	last := uint16(len(methods) - 1)
	if iid != iidICertAdminD2 {
		last = lastOpnumOfD
	}
	if opnum < firstOpnum || opnum > last {
		return method{}, false
	}
	return methods[opnum], true
}

// encodeEmpty appends empty parameters, what an answer has when its method
// failed. cb is the size that the client gave for outRead.
func encodeEmpty(e *ndr.Encoder, outs string, cb int32) {
	for _, o := range outs {
		switch out(o) {
		case outU32:
			e.U32(0)
		case outBlob:
			encodeBlob(e, nil)
		case outU64:
			e.U64(0)
		case outList:
			e.Null()
			e.I32(0)
		case outVariant:
			encodeEmptyVariant(e)
		case outRead:
			clear(encodeReadBuffer(e, cb))
			e.I32(0)
		}
	}
}

// encodeEmptyVariant appends a VARIANT of type VT_EMPTY (MS-OAUT section
// 2.2.29): its length in units of eight bytes, the type, and the union's arm,
// which is empty.
func encodeEmptyVariant(e *ndr.Encoder) {
	e.Referent()
	e.Align(8)
	e.U32(3)
	e.U32(0)
	e.U64(0) // vt, and three words reserved
	e.U32(0) // the union's tag, vt once more
}

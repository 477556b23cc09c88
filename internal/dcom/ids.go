package dcom

import (
	"fmt"

	"github.com/certkeep/certkeep/internal/ndr"
)

// Interfaces of DCOM itself (MS-DCOM section 1.9).
var (
	IIDUnknown            = ndr.MustGUID("00000000-0000-0000-c000-000000000046")
	IIDObjectExporter     = ndr.MustGUID("99fcfec4-5260-101b-bbcb-00aa0021347a")
	IIDActivation         = ndr.MustGUID("4d9f4ab8-7d1c-11cf-861e-0020af6e7c57")
	IIDRemoteSCMActivator = ndr.MustGUID("000001a0-0000-0000-c000-000000000046")
	IIDRemUnknown         = ndr.MustGUID("00000131-0000-0000-c000-000000000046")
	IIDRemUnknown2        = ndr.MustGUID("00000143-0000-0000-c000-000000000046")
)

// Identifiers inside the activation properties (MS-DCOM sections 1.9 and
// 2.2.22.2).
var (
	iidPropertiesIn    = short(0x1a2)
	iidPropertiesOut   = short(0x1a3)
	clsidPropertiesIn  = short(0x338)
	clsidPropertiesOut = short(0x339) // also that of PropsOutInfo

	iidContext            = short(0x1c0)
	clsidContextMarshaler = short(0x33b)

	propInstantiation = short(0x1ab)
	propScmRequest    = short(0x1aa)
	propLocation      = short(0x1a4)
	propActContext    = short(0x1a5)
	propScmReply      = short(0x1b6)
)

// short returns 0000xxxx-0000-0000-c000-000000000046.
func short(n uint16) ndr.GUID {
	return ndr.MustGUID(fmt.Sprintf("%08x-0000-0000-c000-000000000046", n))
}

// Operation numbers.
const (
	opResolveOxid  = 0
	opSimplePing   = 1
	opComplexPing  = 2
	opServerAlive  = 3
	opResolveOxid2 = 4
	opServerAlive2 = 5

	opRemoteActivation = 0

	opRemoteGetClassObject = 3
	opRemoteCreateInstance = 4

	opRemQueryInterface  = 3
	opRemAddRef          = 4
	opRemRelease         = 5
	opRemQueryInterface2 = 6
)

// Version is a COMVERSION.
type Version struct{ Major, Minor uint16 }

// Current is the version that both sides speak here: 5.7, as Windows does.
var Current = Version{5, 7}

// accepts reports whether a server of version v serves a client of version c
// (MS-DCOM section 2.2.11: the same major number, a minor one not above).
func (v Version) accepts(c Version) bool { return c.Major == v.Major && c.Minor <= v.Minor }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// HResult is the result of a method. It is an error; S_OK never is one.
type HResult uint32

// Results that DCOM itself gives.
const (
	OK               HResult = 0
	ENotImpl         HResult = 0x80004001
	ENoInterface     HResult = 0x80004002
	EFail            HResult = 0x80004005
	EUnexpected      HResult = 0x8000ffff
	EAccessDenied    HResult = 0x80070005
	EOutOfMemory     HResult = 0x8007000e
	EInvalidArg      HResult = 0x80070057
	NotEnoughQuota   HResult = 0x80070718
	NoProtseq        HResult = 0x800706a7
	ClassNotReg      HResult = 0x80040154
	NoAggregation    HResult = 0x80040110
	ObjectNotReg     HResult = 0x800401fc
	Disconnected     HResult = 0x80010108
	VersionMismatch  HResult = 0x80010110
	InvalidHeader    HResult = 0x80010111
	InvalidIPID      HResult = 0x80010113
	InvalidObject    HResult = 0x80010114
	InvalidObjRef    HResult = 0x8001011d
	statusInvalidOXD         = 1910
	statusInvalidOID         = 1911
	statusInvalidSet         = 1912
)

var resultNames = map[HResult]string{
	OK: "S_OK", ENotImpl: "E_NOTIMPL", ENoInterface: "E_NOINTERFACE", EFail: "E_FAIL",
	EUnexpected: "E_UNEXPECTED", EAccessDenied: "E_ACCESSDENIED", EOutOfMemory: "E_OUTOFMEMORY",
	EInvalidArg: "E_INVALIDARG", NotEnoughQuota: "ERROR_NOT_ENOUGH_QUOTA",
	NoProtseq: "RPC_S_PROTSEQ_NOT_SUPPORTED", ClassNotReg: "REGDB_E_CLASSNOTREG",
	NoAggregation: "CLASS_E_NOAGGREGATION", ObjectNotReg: "CO_E_OBJNOTREG",
	Disconnected: "RPC_E_DISCONNECTED", VersionMismatch: "RPC_E_VERSION_MISMATCH",
	InvalidHeader: "RPC_E_INVALID_HEADER", InvalidIPID: "RPC_E_INVALID_IPID",
	InvalidObject: "RPC_E_INVALID_OBJECT", InvalidObjRef: "RPC_E_INVALID_OBJREF",
	statusInvalidOXD: "OR_INVALID_OXID", statusInvalidOID: "OR_INVALID_OID",
	statusInvalidSet: "OR_INVALID_SET",
}

func (h HResult) Error() string {
	if name := resultNames[h]; name != "" {
		return fmt.Sprintf("%s (0x%08X)", name, uint32(h))
	}
	return fmt.Sprintf("hresult 0x%08X", uint32(h))
}

// failed reports whether h is a failure code.
func (h HResult) failed() bool { return h&0x80000000 != 0 }

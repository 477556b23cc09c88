package dcerpc

import (
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/gss"
)

// Errors of a client. After any of them the connection is closed.
var (
	// ErrProtocol says that the peer sent what the protocol does not allow, or
	// what its security does not vouch for.
	ErrProtocol = errors.New("dce/rpc protocol error")

	// ErrClosed says that the connection was closed before, by Close or after
	// an error.
	ErrClosed = errors.New("dce/rpc connection is closed")
)

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...))
}

// Statuses that faults carry (C706 appendix E, MS-RPCE section 2.2.2.11,
// MS-ERREF). HRESULTs are statuses, too.
const (
	StatusAccessDenied     uint32 = 0x00000005 // ERROR_ACCESS_DENIED
	StatusBadStubData      uint32 = 0x000006f7 // RPC_X_BAD_STUB_DATA
	StatusSecPkg           uint32 = 0x00000721 // RPC_S_SEC_PKG_ERROR
	StatusFaultUnspecified uint32 = 0x1c000012 // nca_s_fault_unspec
	StatusNoMemory         uint32 = 0x1c00001b // nca_s_fault_remote_no_memory
	StatusInvalidContext   uint32 = 0x1c00001c // nca_invalid_pres_context_id
	StatusUnsupportedLevel uint32 = 0x1c00001d // nca_unsupported_authn_level
	StatusInvalidChecksum  uint32 = 0x1c00001f // nca_invalid_checksum
	StatusOpRange          uint32 = 0x1c010002 // nca_op_rng_error
	StatusUnknownInterface uint32 = 0x1c010003 // nca_unk_if
	StatusProtocol         uint32 = 0x1c01000b // nca_proto_error
	StatusTooBusy          uint32 = 0x1c010014 // nca_server_too_busy
)

var statusNames = map[uint32]string{
	StatusAccessDenied:     "access denied",
	StatusBadStubData:      "bad stub data",
	StatusSecPkg:           "security package error",
	StatusFaultUnspecified: "unspecified fault",
	StatusNoMemory:         "out of memory",
	StatusInvalidContext:   "invalid presentation context",
	StatusUnsupportedLevel: "unsupported authentication level",
	StatusInvalidChecksum:  "invalid checksum",
	StatusOpRange:          "operation out of range",
	StatusUnknownInterface: "unknown interface",
	StatusProtocol:         "protocol error",
	StatusTooBusy:          "server too busy",
	0x80010108:             "RPC_E_DISCONNECTED",
	0x80010110:             "RPC_E_VERSION_MISMATCH",
	0x80010111:             "RPC_E_INVALID_HEADER",
	0x80010113:             "RPC_E_INVALID_IPID",
	0x80010114:             "RPC_E_INVALID_OBJECT",
	0x8001011d:             "RPC_E_INVALID_OBJREF",
	0x80070005:             "E_ACCESSDENIED",
}

// Fault is a server's answer that it did not, or could not, carry out a call.
// A server's [Handler] returns one to send it.
type Fault struct {
	Status uint32

	// Unconfirmed says that this answers the first call under a security
	// context whose last message goes unanswered, as NTLM's does: refused
	// credentials look like this (with StatusAccessDenied), but so does a
	// refused call. A server does not send it.
	Unconfirmed bool
}

func (f *Fault) Error() string {
	if name, ok := statusNames[f.Status]; ok {
		return fmt.Sprintf("rpc fault 0x%08x (%s)", f.Status, name)
	}
	return fmt.Sprintf("rpc fault 0x%08x", f.Status)
}

// sendable returns the status of a fault that may travel: 0 is none, and
// some systems raise NT exception codes instead of returning them (MS-RPCE
// section 3.3.3.5.1).
func sendable(status uint32) uint32 {
	if status == 0 || status>>16 == 0xc000 || status>>4 == 0x8000000 {
		return StatusFaultUnspecified
	}
	return status
}

// Reasons of a NakError (C706 section 12.6.4.5, MS-RPCE section 2.2.2.5).
const (
	NakUnspecified     uint16 = 0
	NakCongestion      uint16 = 1
	NakLocalLimit      uint16 = 2
	NakProtocolVersion uint16 = 4
	NakAuthType        uint16 = 8
	NakChecksum        uint16 = 9
)

// NakError is a server's refusal of a bind. With the reason that servers give
// for refused credentials, it is also [gss.ErrLogon].
type NakError struct{ Reason uint16 }

func (e *NakError) Error() string {
	reason := fmt.Sprintf("reason %d", e.Reason)
	switch e.Reason {
	case NakUnspecified:
		reason = "no reason given"
	case NakCongestion:
		reason = "temporary congestion"
	case NakLocalLimit:
		reason = "a limit of the server"
	case NakProtocolVersion:
		reason = "protocol version"
	case NakAuthType:
		reason = "authentication type not supported"
	case NakChecksum:
		reason = "authentication failed"
	}
	return "server refuses to bind: " + reason
}

// Is makes a failed authentication a gss.ErrLogon.
func (e *NakError) Is(target error) bool {
	return target == gss.ErrLogon && e.Reason == NakChecksum
}

// Results and reasons of presentation contexts (C706 section 12.6.3.1).
const (
	resultAccept    uint16 = 0
	resultReject    uint16 = 2 // by the provider
	resultNegotiate uint16 = 3 // MS-RPCE: the reason is a mask of features

	reasonUnspecified uint16 = 0
	reasonAbstract    uint16 = 1
	reasonTransfer    uint16 = 2
	reasonLimit       uint16 = 3
)

// RejectError is a server's refusal of an interface; the connection is still
// of use for others.
type RejectError struct {
	Syntax         Syntax
	Result, Reason uint16
}

func (e *RejectError) Error() string {
	reason := fmt.Sprintf("result %d, reason %d", e.Result, e.Reason)
	if e.Result == resultReject {
		switch e.Reason {
		case reasonAbstract:
			reason = "unknown interface"
		case reasonTransfer:
			reason = "no common transfer syntax"
		case reasonLimit:
			reason = "a limit of the server"
		}
	}
	return fmt.Sprintf("server refuses interface %v: %s", e.Syntax, reason)
}

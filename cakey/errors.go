package cakey

import (
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/hint"
)

// Errors of Export. What wraps them says more, and has a hint.
var (
	// ErrInHSM says that the key is not in Microsoft's software, but in hardware
	// or with another vendor's provider.
	ErrInHSM = errors.New("the key is held by hardware or by another vendor's provider")
	// ErrNotExportable says that the key was made or imported so that Windows does
	// not give it out.
	ErrNotExportable = errors.New("the key is marked as not exportable")
	// ErrNoCertificate says that the machine's store lacks the certificate.
	ErrNoCertificate = errors.New("the certificate is not in the local machine's store MY")
	// ErrNoKey says that the store has the certificate without a key.
	ErrNoKey = errors.New("the certificate has no private key on this machine")
	// ErrPassword says that a password is too weak, or cannot be used in a PFX.
	ErrPassword = errors.New("unfit password")
	// ErrInSet says that the file would be in a backup set's folder.
	ErrInSet = errors.New("a CA key is not written into a set's folder")
)

func hinted(err error, format string, args ...any) error {
	return hint.With(err, fmt.Sprintf(format, args...))
}

// callError is the failure of a Windows function.
type callError struct {
	call string
	code uint32 // what GetLastError or the function returned
}

// The results that the export is known to meet (winerror.h).
const (
	codeFileNotFound    = 2
	codeAccessDenied    = 5
	codeNotSupported    = 50
	codeInvalidParam    = 87
	codeMoreData        = 234
	codeEAccessDenied   = 0x80070005
	codeEInvalidArg     = 0x80070057
	codeBadAlgID        = 0x80090008
	codeBadFlags        = 0x80090009
	codeBadType         = 0x8009000A
	codeBadKeyState     = 0x8009000B
	codeNoKey           = 0x8009000D
	codePerm            = 0x80090010
	codeBadPublicKey    = 0x80090015
	codeBadKeyset       = 0x80090016
	codeKeysetNotDef    = 0x80090019
	codeSilentContext   = 0x80090022
	codeNInvalidParam   = 0x80090027
	codeNNotSupported   = 0x80090029
	codeNotFound        = 0x80092004
	codeUnknownAlgo     = 0x80091002
	codeNoKeyProperty   = 0x8009200B
	codeProvDLLNotFound = 0x8009001E
)

var codeNames = map[uint32]string{
	codeFileNotFound: "ERROR_FILE_NOT_FOUND", codeAccessDenied: "ERROR_ACCESS_DENIED", codeNotSupported: "ERROR_NOT_SUPPORTED",
	codeInvalidParam: "ERROR_INVALID_PARAMETER", codeMoreData: "ERROR_MORE_DATA", codeEAccessDenied: "E_ACCESSDENIED",
	codeEInvalidArg: "E_INVALIDARG", codeBadAlgID: "NTE_BAD_ALGID", codeBadFlags: "NTE_BAD_FLAGS", codeBadType: "NTE_BAD_TYPE",
	codeBadKeyState: "NTE_BAD_KEY_STATE", codeNoKey: "NTE_NO_KEY", codePerm: "NTE_PERM", codeBadPublicKey: "NTE_BAD_PUBLIC_KEY",
	codeBadKeyset: "NTE_BAD_KEYSET", codeKeysetNotDef: "NTE_KEYSET_NOT_DEF", codeSilentContext: "NTE_SILENT_CONTEXT",
	codeNInvalidParam: "NTE_INVALID_PARAMETER", codeNNotSupported: "NTE_NOT_SUPPORTED", codeNotFound: "CRYPT_E_NOT_FOUND",
	codeUnknownAlgo: "CRYPT_E_UNKNOWN_ALGO", codeNoKeyProperty: "CRYPT_E_NO_KEY_PROPERTY", codeProvDLLNotFound: "NTE_PROV_DLL_NOT_FOUND",
}

func (e *callError) Error() string {
	switch name := codeNames[e.code]; {
	case e.code == 0:
		return e.call + " failed without a reason"
	case name != "":
		return fmt.Sprintf("%s: 0x%08X (%s)", e.call, e.code, name)
	}
	return fmt.Sprintf("%s: 0x%08X", e.call, e.code)
}

// codeOf is the result that an error carries, 0 if it carries none.
func codeOf(err error) uint32 {
	if e, ok := errors.AsType[*callError](err); ok {
		return e.code
	}
	return 0
}

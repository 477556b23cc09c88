package certadm

// HRESULT is the result of a Certadm.dll function. Zero is success, and any
// other value a failure; an HRESULT is an error, so that errors.Is(err,
// HrBackupInProgress) works.
type HRESULT uint32

// Common and Win32 results.
const (
	SOK                   HRESULT = 0x00000000 // S_OK
	ENotImpl              HRESULT = 0x80004001 // E_NOTIMPL
	EAbort                HRESULT = 0x80004004 // E_ABORT
	EFail                 HRESULT = 0x80004005 // E_FAIL
	EUnexpected           HRESULT = 0x8000FFFF // E_UNEXPECTED, a call out of sequence
	ErrorFileNotFound     HRESULT = 0x80070002 // ERROR_FILE_NOT_FOUND
	ErrorModNotFound      HRESULT = 0x8007007E // ERROR_MOD_NOT_FOUND: no such library
	ErrorProcNotFound     HRESULT = 0x8007007F // ERROR_PROC_NOT_FOUND: no such function in it
	ErrorNotAllAssigned   HRESULT = 0x80070514 // ERROR_NOT_ALL_ASSIGNED, of privileges
	ErrorPrivilegeNotHeld HRESULT = 0x80070522 // ERROR_PRIVILEGE_NOT_HELD
	EAccessDenied         HRESULT = 0x80070005 // E_ACCESSDENIED
	EHandle               HRESULT = 0x80070006 // E_HANDLE
	EOutOfMemory          HRESULT = 0x8007000E // E_OUTOFMEMORY
	ErrorSharingViolation HRESULT = 0x80070020 // ERROR_SHARING_VIOLATION
	EInvalidArg           HRESULT = 0x80070057 // E_INVALIDARG
	ErrorDiskFull         HRESULT = 0x80070070 // ERROR_DISK_FULL
	ErrorDirNotEmpty      HRESULT = 0x80070091 // ERROR_DIR_NOT_EMPTY
	ErrorServiceNotActive HRESULT = 0x80070426 // ERROR_SERVICE_NOT_ACTIVE
	ErrorCancelled        HRESULT = 0x800704C7 // ERROR_CANCELLED
	RPCServerUnavailable  HRESULT = 0x800706BA // RPC_S_SERVER_UNAVAILABLE
	RPCUnknownInterface   HRESULT = 0x800706B5 // RPC_S_UNKNOWN_IF
	RPCServerTooBusy      HRESULT = 0x800706BB // RPC_S_SERVER_TOO_BUSY
	RPCCallFailed         HRESULT = 0x800706BE // RPC_S_CALL_FAILED
	RPCProtocolError      HRESULT = 0x800706C0 // RPC_S_PROTOCOL_ERROR
	RPCNoSuchMethod       HRESULT = 0x800706D1 // RPC_S_PROCNUM_OUT_OF_RANGE
	RPCUnknownAuthn       HRESULT = 0x800706D3 // RPC_S_UNKNOWN_AUTHN_SERVICE
	RPCBadStubData        HRESULT = 0x800706F7 // RPC_X_BAD_STUB_DATA
	RPCSecurityPackage    HRESULT = 0x80070721 // RPC_S_SEC_PKG_ERROR
	ErrorLogonFailure     HRESULT = 0x8007052E // ERROR_LOGON_FAILURE
	SecNoCredentials      HRESULT = 0x8009030E // SEC_E_NO_CREDENTIALS
	RegdbClassNotReg      HRESULT = 0x80040154 // REGDB_E_CLASSNOTREG
	HrAlreadyListening    HRESULT = 0x800706B1 // hrAlreadyListening, RPC_S_ALREADY_LISTENING
	ErrorInvalidData      HRESULT = 0x8007000D // ERROR_INVALID_DATA
	ErrorObjectExists     HRESULT = 0x80071392 // ERROR_OBJECT_ALREADY_EXISTS
)

// The backup facility, 0x7FF (ntdsbmsg.h).
const (
	HrNyi                       HRESULT = 0xC0000001 // hrNyi
	HrInvalidParam              HRESULT = 0xC7FF0001 // hrInvalidParam
	HrError                     HRESULT = 0xC7FF0002 // hrError
	HrInvalidHandle             HRESULT = 0xC7FF0003 // hrInvalidHandle
	HrRestoreInProgress         HRESULT = 0xC7FF0004 // hrRestoreInProgress
	HrAlreadyOpen               HRESULT = 0xC7FF0005 // hrAlreadyOpen
	HrInvalidRecips             HRESULT = 0xC7FF0006 // hrInvalidRecips
	HrCouldNotConnect           HRESULT = 0xC7FF0007 // hrCouldNotConnect
	HrRestoreMapExists          HRESULT = 0xC7FF0008 // hrRestoreMapExists
	HrIncrementalBackupDisabled HRESULT = 0xC7FF0009 // hrIncrementalBackupDisabled
	HrLogFileNotFound           HRESULT = 0xC7FF000A // hrLogFileNotFound
	HrCircularLogging           HRESULT = 0xC7FF000B // hrCircularLogging
	HrNoFullRestore             HRESULT = 0xC7FF000C // hrNoFullRestore
	HrCommunicationError        HRESULT = 0xC7FF000D // hrCommunicationError
	HrFullBackupNotTaken        HRESULT = 0xC7FF000E // hrFullBackupNotTaken
	HrMissingExpiryToken        HRESULT = 0xC7FF000F // hrMissingExpiryToken
	HrUnknownExpiryTokenFormat  HRESULT = 0xC7FF0010 // hrUnknownExpiryTokenFormat
	HrContentsExpired           HRESULT = 0xC7FF0011 // hrContentsExpired
)

// The ESE facility, 0x800 (ntdsbmsg.h): error -n is 0xC8000000|n, warning n is
// 0x88000000|n.
const (
	HrFileClose                      HRESULT = 0xC8000066 // hrFileClose
	HrOutOfThreads                   HRESULT = 0xC8000067 // hrOutOfThreads
	HrTooManyIO                      HRESULT = 0xC8000069 // hrTooManyIO
	HrLogFileCorrupt                 HRESULT = 0xC80001F5 // hrLogFileCorrupt
	HrNoBackupDirectory              HRESULT = 0xC80001F7 // hrNoBackupDirectory
	HrBackupDirectoryNotEmpty        HRESULT = 0xC80001F8 // hrBackupDirectoryNotEmpty
	HrBackupInProgress               HRESULT = 0xC80001F9 // hrBackupInProgress
	HrMissingPreviousLogFile         HRESULT = 0xC80001FD // hrMissingPreviousLogFile
	HrLogWriteFail                   HRESULT = 0xC80001FE // hrLogWriteFail
	HrBadLogVersion                  HRESULT = 0xC8000202 // hrBadLogVersion
	HrInvalidLogSequence             HRESULT = 0xC8000203 // hrInvalidLogSequence
	HrLoggingDisabled                HRESULT = 0xC8000204 // hrLoggingDisabled
	HrLogBufferTooSmall              HRESULT = 0xC8000205 // hrLogBufferTooSmall
	HrLogSequenceEnd                 HRESULT = 0xC8000207 // hrLogSequenceEnd
	HrNoBackup                       HRESULT = 0xC8000208 // hrNoBackup
	HrInvalidBackupSequence          HRESULT = 0xC8000209 // hrInvalidBackupSequence
	HrBackupNotAllowedYet            HRESULT = 0xC800020B // hrBackupNotAllowedYet
	HrDeleteBackupFileFail           HRESULT = 0xC800020C // hrDeleteBackupFileFail
	HrMakeBackupDirectoryFail        HRESULT = 0xC800020D // hrMakeBackupDirectoryFail
	HrInvalidBackup                  HRESULT = 0xC800020E // hrInvalidBackup
	HrRecoveredWithErrors            HRESULT = 0xC800020F // hrRecoveredWithErrors
	HrMissingLogFile                 HRESULT = 0xC8000210 // hrMissingLogFile
	HrLogDiskFull                    HRESULT = 0xC8000211 // hrLogDiskFull
	HrBadLogSignature                HRESULT = 0xC8000212 // hrBadLogSignature
	HrBadDbSignature                 HRESULT = 0xC8000213 // hrBadDbSignature
	HrBadCheckpointSignature         HRESULT = 0xC8000214 // hrBadCheckpointSignature
	HrCheckpointCorrupt              HRESULT = 0xC8000215 // hrCheckpointCorrupt
	HrDatabaseInconsistent           HRESULT = 0xC8000226 // hrDatabaseInconsistent
	HrConsistentTimeMismatch         HRESULT = 0xC8000227 // hrConsistentTimeMismatch
	HrPatchFileMismatch              HRESULT = 0xC8000228 // hrPatchFileMismatch
	HrRestoreLogTooLow               HRESULT = 0xC8000229 // hrRestoreLogTooLow
	HrRestoreLogTooHigh              HRESULT = 0xC800022A // hrRestoreLogTooHigh
	HrGivenLogFileHasBadSignature    HRESULT = 0xC800022B // hrGivenLogFileHasBadSignature
	HrGivenLogFileIsNotContiguous    HRESULT = 0xC800022C // hrGivenLogFileIsNotContiguous
	HrMissingRestoreLogFiles         HRESULT = 0xC800022D // hrMissingRestoreLogFiles
	HrExistingLogFileHasBadSignature HRESULT = 0x8800022E // hrExistingLogFileHasBadSignature, a warning
	HrExistingLogFileIsNotContiguous HRESULT = 0x8800022F // hrExistingLogFileIsNotContiguous, a warning
	HrMissingFullBackup              HRESULT = 0xC8000230 // hrMissingFullBackup
	HrBadBackupDatabaseSize          HRESULT = 0xC8000231 // hrBadBackupDatabaseSize
	HrTermInProgress                 HRESULT = 0xC80003E8 // hrTermInProgress
	HrInvalidParameter               HRESULT = 0xC80003EB // hrInvalidParameter
	HrOutOfMemory                    HRESULT = 0xC80003F3 // hrOutOfMemory
	HrReadVerifyFailure              HRESULT = 0xC80003FA // hrReadVerifyFailure
	HrDiskIO                         HRESULT = 0xC80003FE // hrDiskIO
	HrInvalidPath                    HRESULT = 0xC80003FF // hrInvalidPath
	HrInvalidDatabase                HRESULT = 0xC8000404 // hrInvalidDatabase
	HrNotInitialized                 HRESULT = 0xC8000405 // hrNotInitialized
	HrAlreadyInitialized             HRESULT = 0xC8000406 // hrAlreadyInitialized
	HrFileAccessDenied               HRESULT = 0xC8000408 // hrFileAccessDenied
	HrBufferTooSmall                 HRESULT = 0xC800040E // hrBufferTooSmall
	HrDatabaseNotFound               HRESULT = 0xC80004B3 // hrDatabaseNotFound
	HrDatabaseCorrupted              HRESULT = 0xC80004B6 // hrDatabaseCorrupted
	HrDiskFull                       HRESULT = 0xC8000710 // hrDiskFull
	HrPermissionDenied               HRESULT = 0xC8000711 // hrPermissionDenied
	HrFileNotFound                   HRESULT = 0xC8000713 // hrFileNotFound
	HrFileOpenReadOnly               HRESULT = 0x88000715 // hrFileOpenReadOnly, a warning
	HrAfterInitialization            HRESULT = 0xC800073A // hrAfterInitialization
	HrLogCorrupted                   HRESULT = 0xC800073C // hrLogCorrupted
	HrInvalidOperation               HRESULT = 0xC8000772 // hrInvalidOperation
	HrAccessDenied                   HRESULT = 0xC8000773 // hrAccessDenied
)

func (h HRESULT) Error() string { return h.String() }

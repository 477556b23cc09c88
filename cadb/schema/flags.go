package schema

// RequestType values (certsrv.h, CR_IN_*).
const (
	RequestPKCS10       = 0x100
	RequestKeygen       = 0x200
	RequestPKCS7        = 0x300
	RequestCMC          = 0x400
	RequestChallenge    = 0x500
	RequestSCTList      = 0x600
	RequestFullResponse = 0x40000 // added to one of the above
)

// RequestFlags bits (certsrv.h, CR_FLG_*).
const (
	FlagForceTeletex       = 0x1
	FlagRenewal            = 0x2
	FlagForceUTF8          = 0x4
	FlagCAXchgCert         = 0x8
	FlagEnrollOnBehalfOf   = 0x10
	FlagSubjectUnmodified  = 0x20
	FlagValidEncryptedKey  = 0x40
	FlagCACrossCert        = 0x80
	FlagEnforceUTF8        = 0x100
	FlagDefinedCACert      = 0x200
	FlagChallengePending   = 0x400
	FlagChallengeSatisfied = 0x800
	FlagTrustOnUse         = 0x1000
	FlagTrustEKCert        = 0x2000
	FlagTrustEKKey         = 0x4000
	FlagPublishError       = 0x80000000
)

// ExtensionFlags: two bits, and the origin of the extension above them
// (certsrv.h, EXTENSION_*).
const (
	ExtensionCritical = 0x1
	ExtensionDisabled = 0x2 // not in the certificate
	ExtensionDelete   = 0x4

	OriginMask        = 0xF0000
	OriginRequest     = 0x10000
	OriginPolicy      = 0x20000
	OriginAdmin       = 0x30000
	OriginServer      = 0x40000
	OriginRenewalCert = 0x50000
	OriginImported    = 0x60000
	OriginPKCS7       = 0x70000
	OriginCMC         = 0x80000
	OriginCACert      = 0x90000
)

// IssuerNameID joins the indexes of the CA certificate and key that signed:
// the certificate's in the low 16 bits, the key's in the high ones.
func IssuerNameID(certificate, key uint16) uint32 { return uint32(key)<<16 | uint32(certificate) }

package cakey

import "strings"

// softwareProviders are Microsoft's providers that keep keys in files of the
// machine ("CNG Key Storage Providers" and "Cryptographic Provider Names" of
// Microsoft's documentation). Everything else is hardware, or may be.
var softwareProviders = []string{
	"Microsoft Software Key Storage Provider",

	"Microsoft Base Cryptographic Provider v1.0",
	"Microsoft Strong Cryptographic Provider",
	"Microsoft Enhanced Cryptographic Provider v1.0",
	"Microsoft Enhanced RSA and AES Cryptographic Provider",
	"Microsoft Enhanced RSA and AES Cryptographic Provider (Prototype)",
	"Microsoft RSA Signature Cryptographic Provider",
	"Microsoft RSA SChannel Cryptographic Provider",
	"Microsoft Base DSS Cryptographic Provider",
	"Microsoft Base DSS and Diffie-Hellman Cryptographic Provider",
	"Microsoft Enhanced DSS and Diffie-Hellman Cryptographic Provider",
	"Microsoft DH SChannel Cryptographic Provider",
}

// hardwareProviders are those of Microsoft's own that are known to be hardware.
var hardwareProviders = map[string]string{
	"microsoft platform crypto provider":        "the machine's TPM",
	"microsoft smart card key storage provider": "a smart card",
	"microsoft base smart card crypto provider": "a smart card",
	"microsoft passport key storage provider":   "Windows Hello",
}

// SoftwareProvider says whether a provider is one of Microsoft's that keep keys in
// the machine's files. Names are compared in any letter case, as Windows does.
func SoftwareProvider(provider string) bool {
	for _, p := range softwareProviders {
		if strings.EqualFold(p, provider) {
			return true
		}
	}
	return false
}

func isSoftware(provider string) bool { return SoftwareProvider(provider) }

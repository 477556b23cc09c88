package adcs

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/backupset"
)

// softwareProviders are Microsoft's providers that keep keys as files of the
// machine (Microsoft's pages "Cryptographic Provider Types", "Microsoft
// Cryptographic Service Providers" and "CNG Key Storage Providers"). Those for
// smart cards and for the TPM are not among them.
var softwareProviders = []string{
	"Microsoft Software Key Storage Provider",
	"Microsoft Base Cryptographic Provider v1.0",
	"Microsoft Enhanced Cryptographic Provider v1.0",
	"Microsoft Strong Cryptographic Provider",
	"Microsoft Enhanced RSA and AES Cryptographic Provider",
	"Microsoft Enhanced RSA and AES Cryptographic Provider (Prototype)",
	"Microsoft RSA SChannel Cryptographic Provider",
	"Microsoft Base DSS Cryptographic Provider",
	"Microsoft Base DSS and Diffie-Hellman Cryptographic Provider",
	"Microsoft Enhanced DSS and Diffie-Hellman Cryptographic Provider",
	"Microsoft DH SChannel Cryptographic Provider",
}

// Provider is the name of the provider that holds the authority's key, empty if
// the registry does not say.
func (h *Host) Provider() (string, error) {
	name, err := h.text(h.key()+`\CSP`, "Provider")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(name), err
}

// keyPresence says of a provider's key whether somebody could have taken it along.
// A software key is in no set on purpose: who has the set must not have the
// authority.
func keyPresence(provider string) backupset.Presence {
	software := slices.ContainsFunc(softwareProviders, func(s string) bool { return strings.EqualFold(s, provider) })
	if software || provider == "" {
		return backupset.NotAttempted
	}
	return backupset.InHSM
}

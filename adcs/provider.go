package adcs

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cakey"
)

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
	if cakey.SoftwareProvider(provider) || provider == "" {
		return backupset.NotAttempted
	}
	return backupset.InHSM
}

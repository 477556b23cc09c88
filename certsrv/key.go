package certsrv

import (
	"crypto"

	"github.com/certkeep/certkeep/certsrv/authority"
)

// ReadPrivateKey reads the authority's private key from its file, for a copy in a
// safe place; it works whether the authority runs or not. The passphrase is nil
// where the key is not encrypted. Errors are those of [authority.ReadKey].
func (s *Server) ReadPrivateKey(passphrase []byte) (crypto.Signer, error) {
	return authority.ReadKey(s.at.path(keyName), passphrase)
}

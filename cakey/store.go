package cakey

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// store is the local machine's store MY, or a test's.
type store interface {
	// find returns errMissing if the certificate is not there.
	find(hash [sha1.Size]byte) (storeCert, error)
	close() error
}

// storeCert is a certificate of a store.
type storeCert interface {
	der() []byte
	// keyInfo is where the certificate says that its key is (property
	// CERT_KEY_PROV_INFO_PROP_ID); errMissing if it says nothing.
	keyInfo() (keyInfo, error)
	// open opens the key without asking a user anything, checks that it is the
	// certificate's, and asks its provider about it.
	open() (keyState, error)
	// export puts key, certificate and chain into a PFX; strong asks for AES-256
	// and SHA-256, which systems before Windows Server 2019 do not know. The
	// password ends with a zero.
	export(password []uint16, strong bool) ([]byte, error)
	close() error
}

type keyInfo struct{ provider, container string }

// keyState is what a provider says of an open key.
type keyState struct {
	hardware   bool
	exportable bool
	known      bool // else the provider did not say whether it is exportable
}

var errMissing = errors.New("missing")

type storeSource struct {
	hash [sha1.Size]byte
	open func() (store, error)
}

// Store is the key of the certificate with a SHA-1 hash (CACertHash in the CA's
// configuration) in the local machine's store MY, where AD CS has it. A CA that
// was renewed with a new key has several, one per certificate: each needs an
// export of its own as long as CRLs are signed with it.
//
// Reading the key takes an administrator with an elevated token, or SYSTEM. On
// other systems than Windows PFX fails with [errors.ErrUnsupported].
func Store(hash [sha1.Size]byte) Source { return &storeSource{hash, openStore} }

// Hash is the hash by which [Store] finds a certificate, given in DER.
func Hash(certificate []byte) [sha1.Size]byte { return sha1.Sum(certificate) }

// ParseHash reads a hash as certutil and the registry show it: 40 hex digits, with
// spaces or colons between them or not.
func ParseHash(s string) (hash [sha1.Size]byte, err error) {
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "", "\u200e", "").Replace(s))
	if err != nil || len(b) != len(hash) {
		return hash, fmt.Errorf("%.100q is no SHA-1 hash: it must have 40 hex digits", s)
	}
	return [sha1.Size]byte(b), nil
}

func (s *storeSource) PFX(ctx context.Context, password []byte) (_ *PFX, err error) {
	st, err := s.open()
	if err != nil {
		return nil, denied(err)
	}
	defer func() { err = errors.Join(err, st.close()) }()
	cert, err := st.find(s.hash)
	if errors.Is(err, errMissing) {
		return nil, hinted(fmt.Errorf("%X: %w", s.hash, ErrNoCertificate),
			"run this on the CA's own machine; certutil -store My shows what is there, certutil -getreg CA\\CACertHash what the CA uses")
	}
	if err != nil {
		return nil, denied(err)
	}
	defer func() { err = errors.Join(err, cert.close()) }()
	pfx, err := exportStored(ctx, cert, password)
	if err != nil {
		return nil, err
	}
	return &PFX{Data: pfx, Certificate: slices.Clone(cert.der())}, nil
}

// exportStored finds out whether the key may be exported before it asks for it: an
// HSM's provider may put a question on a screen that nobody sees.
func exportStored(ctx context.Context, cert storeCert, password []byte) ([]byte, error) {
	info, err := cert.keyInfo()
	if errors.Is(err, errMissing) {
		return nil, hinted(ErrNoKey, "certutil -repairstore My HASH ties a certificate to its key again, if the key is there")
	}
	if err != nil {
		return nil, refused(err, info)
	}
	if !isSoftware(info.provider) {
		return nil, inHSM(info)
	}
	state, err := cert.open()
	switch {
	case err != nil:
		return nil, refused(err, info)
	case state.hardware:
		return nil, inHSM(info)
	case state.known && !state.exportable:
		return nil, notExportable(info, nil)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	wide := utf16z(password)
	defer clear(wide)
	pfx, err := cert.export(wide, true)
	if err != nil && unknownHere(codeOf(err)) {
		pfx, err = cert.export(wide, false)
	}
	if err != nil {
		return nil, refused(err, info)
	}
	return pfx, nil
}

// unknownHere says whether a result can mean that the system does not know
// AES-256. That the key may be exported has been asked before.
func unknownHere(code uint32) bool {
	switch code {
	case codeInvalidParam, codeEInvalidArg, codeNotSupported, codeBadFlags, codeBadType, codeBadAlgID,
		codeNInvalidParam, codeNNotSupported, codeUnknownAlgo:
		return true
	}
	return false
}

// refused turns what Windows answered into what it means here.
func refused(err error, info keyInfo) error {
	switch codeOf(err) {
	case codeBadKeyState, codePerm, codeNotSupported, codeNNotSupported, codeBadType:
		return notExportable(info, err)
	case codeNotFound, codeNoKey, codeNoKeyProperty:
		return hinted(fmt.Errorf("%w: %w", ErrNoKey, err), "certutil -repairstore My HASH ties a certificate to its key again, if the key is there")
	case codeBadKeyset, codeKeysetNotDef:
		return hinted(fmt.Errorf("the key container %q of %q cannot be opened: %w", info.container, info.provider, err),
			"either it is gone, or this account may not read it: run this as an administrator, elevated")
	case codeBadPublicKey:
		return hinted(fmt.Errorf("the key that the store names is not the certificate's: %w", err), "certutil -repairstore My HASH looks for the right one")
	case codeSilentContext:
		return hinted(fmt.Errorf("the key asks its user for something (strong protection): %w", err),
			"export it in the Certification Authority snap-in, where the question can be answered")
	}
	return denied(err)
}

func denied(err error) error {
	switch codeOf(err) {
	case codeAccessDenied, codeEAccessDenied:
		return hinted(err, "run this as an administrator, elevated, or as SYSTEM")
	}
	return err
}

func inHSM(info keyInfo) error {
	where := "the provider " + fmt.Sprintf("%q", info.provider) + " has it"
	if what := hardwareProviders[strings.ToLower(info.provider)]; what != "" {
		where += ", which is " + what
	}
	return hinted(fmt.Errorf("%w: %s", ErrInHSM, where),
		"a key in hardware is backed up with its vendor's own means (a second device, a quorum of cards); see to it that this was done, and where")
}

func notExportable(info keyInfo, cause error) error {
	err := fmt.Errorf("%w (container %q of %q)", ErrNotExportable, info.container, info.provider)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return hinted(err, "nothing takes it out of there; use the PFX that was made when the CA was installed or renewed, and if there is none, "+
		"renew the CA with a new key that is exportable, and export that")
}

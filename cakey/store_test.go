package cakey

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// fakeStore is a store with at most one certificate.
type fakeStore struct {
	cert   *fakeCert
	err    error // of find
	closed int
}

func (s *fakeStore) find(hash [sha1.Size]byte) (storeCert, error) {
	switch {
	case s.err != nil:
		return nil, s.err
	case s.cert == nil || Hash(s.cert.raw) != hash:
		return nil, errMissing
	}
	return s.cert, nil
}

func (s *fakeStore) close() error { s.closed++; return nil }

type fakeCert struct {
	raw       []byte
	info      keyInfo
	infoErr   error
	state     keyState
	openErr   error
	strongErr error // of an export with strong protection
	weakErr   error
	pfx       []byte

	opened, closed int
	exports        []bool // strong
	password       []uint16
	seen           string
}

func (c *fakeCert) der() []byte               { return c.raw }
func (c *fakeCert) keyInfo() (keyInfo, error) { return c.info, c.infoErr }
func (c *fakeCert) open() (keyState, error)   { c.opened++; return c.state, c.openErr }
func (c *fakeCert) close() error              { c.closed++; return nil }

func (c *fakeCert) export(password []uint16, strong bool) ([]byte, error) {
	c.exports = append(c.exports, strong)
	c.password, c.seen = password, string16(password)
	err := c.weakErr
	if strong {
		err = c.strongErr
	}
	if err != nil {
		return nil, err
	}
	return c.pfx, nil
}

func code(n uint32) error { return &callError{call: "Call", code: n} }

var (
	cng        = keyInfo{provider: "Microsoft Software Key Storage Provider", container: "Issuing CA"}
	capi       = keyInfo{provider: "Microsoft Strong Cryptographic Provider", container: "Issuing CA"}
	exportable = keyState{known: true, exportable: true}
)

func TestStore(t *testing.T) {
	key := rsaKey(t)
	chain := chainOf(t, key)
	pfx := mustPFX(t, InMemory(key, chain...), password)
	for _, c := range []struct {
		name    string
		cert    fakeCert
		want    error  // nil: exported, or want text
		text    string // of the error
		exports []bool
		untouch bool // the key was not even opened
	}{
		{name: "CNG", cert: fakeCert{info: cng, state: exportable}, exports: []bool{true}},
		{name: "CryptoAPI", cert: fakeCert{info: capi, state: exportable}, exports: []bool{true}},
		{name: "in other letters", cert: fakeCert{info: keyInfo{provider: "MICROSOFT SOFTWARE KEY STORAGE PROVIDER"}, state: exportable}, exports: []bool{true}},
		{name: "the provider does not say", cert: fakeCert{info: cng}, exports: []bool{true}},
		{name: "before Server 2019", cert: fakeCert{info: cng, state: exportable, strongErr: code(codeInvalidParam)}, exports: []bool{true, false}},
		{name: "NTE_BAD_FLAGS", cert: fakeCert{info: cng, state: exportable, strongErr: code(codeBadFlags)}, exports: []bool{true, false}},

		{name: "TPM", cert: fakeCert{info: keyInfo{provider: "Microsoft Platform Crypto Provider"}}, want: ErrInHSM, text: "TPM", untouch: true},
		{name: "smart card", cert: fakeCert{info: keyInfo{provider: "Microsoft Smart Card Key Storage Provider"}}, want: ErrInHSM, text: "smart card", untouch: true},
		{name: "HSM", cert: fakeCert{info: keyInfo{provider: "nCipher Security World Key Storage Provider"}}, want: ErrInHSM, text: "nCipher", untouch: true},
		{name: "no provider named", cert: fakeCert{}, want: ErrInHSM, untouch: true},
		{name: "software that says it is hardware", cert: fakeCert{info: cng, state: keyState{hardware: true, known: true, exportable: true}}, want: ErrInHSM},
		{name: "export policy", cert: fakeCert{info: cng, state: keyState{known: true}}, want: ErrNotExportable},
		{name: "NTE_BAD_KEY_STATE", cert: fakeCert{info: cng, strongErr: code(codeBadKeyState)}, want: ErrNotExportable, exports: []bool{true}},
		{name: "NTE_PERM", cert: fakeCert{info: capi, strongErr: code(codePerm)}, want: ErrNotExportable, exports: []bool{true}},
		{name: "ERROR_NOT_SUPPORTED", cert: fakeCert{info: cng, strongErr: code(codeNotSupported), weakErr: code(codeNotSupported)}, want: ErrNotExportable, exports: []bool{true, false}},
		{name: "no key property", cert: fakeCert{infoErr: errMissing}, want: ErrNoKey, untouch: true},
		{name: "NTE_NO_KEY", cert: fakeCert{info: capi, openErr: code(codeNoKey)}, want: ErrNoKey},
		{name: "NTE_BAD_KEYSET", cert: fakeCert{info: capi, openErr: code(codeBadKeyset)}, text: `container "Issuing CA"`},
		{name: "another's key", cert: fakeCert{info: capi, openErr: code(codeBadPublicKey)}, text: "not the certificate's"},
		{name: "not elevated", cert: fakeCert{info: capi, openErr: code(codeAccessDenied)}, text: "ERROR_ACCESS_DENIED"},
		{name: "strong protection", cert: fakeCert{info: capi, openErr: code(codeSilentContext)}, text: "asks its user"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cert.raw, c.cert.pfx = chain[0].Raw, pfx
			st := &fakeStore{cert: &c.cert}
			src := &storeSource{Hash(chain[0].Raw), func() (store, error) { return st, nil }}
			dir := tempDir(t)
			r, err := Export(t.Context(), src, ExportOptions{File: filepath.Join(dir, "ca.pfx"), Password: password})
			if c.want == nil && c.text == "" {
				if err != nil || r.Unchecked != nil || !bytes.Equal(r.Certificate, chain[0].Raw) {
					t.Fatalf("%+v, %v", r, err)
				}
			} else {
				var h interface{ Hint() string }
				if !(c.want == nil || errors.Is(err, c.want)) || !strings.Contains(fmt.Sprint(err), c.text) || !errors.As(err, &h) || h.Hint() == "" {
					t.Errorf("%v; want %v with %q and a hint", err, c.want, c.text)
				}
				empty(t, dir)
			}
			if fmt.Sprint(c.cert.exports) != fmt.Sprint(c.exports) {
				t.Errorf("exports (strong) %v; want %v", c.cert.exports, c.exports)
			}
			if c.untouch && c.cert.opened > 0 {
				t.Error("the key was opened")
			}
			if st.closed != 1 || c.cert.closed != 1 {
				t.Errorf("closed: store %d, certificate %d", st.closed, c.cert.closed)
			}
			if len(c.exports) > 0 {
				if c.cert.seen != string(password)+"\x00" {
					t.Errorf("password %q", c.cert.seen)
				}
				for _, u := range c.cert.password {
					if u != 0 {
						t.Fatal("the copy of the password was not cleared")
					}
				}
			}
		})
	}
}

func TestStoreWithoutCertificate(t *testing.T) {
	st := &fakeStore{}
	src := &storeSource{open: func() (store, error) { return st, nil }}
	if _, err := src.PFX(t.Context(), password); !errors.Is(err, ErrNoCertificate) || st.closed != 1 {
		t.Errorf("%v, closed %d", err, st.closed)
	}
	src = &storeSource{open: func() (store, error) { return nil, code(codeAccessDenied) }}
	if _, err := src.PFX(t.Context(), password); codeOf(err) != codeAccessDenied {
		t.Errorf("%v", err)
	}
}

func TestParseHash(t *testing.T) {
	want := Hash([]byte("certificate"))
	for _, s := range []string{
		fmt.Sprintf("%x", want), fmt.Sprintf("%X", want), fmt.Sprintf("% x", want),
		strings.ReplaceAll(fmt.Sprintf("% x", want), " ", ":"), "\u200e" + fmt.Sprintf("%x", want), // as it is copied from the certificate's dialog
	} {
		if got, err := ParseHash(s); err != nil || got != want {
			t.Errorf("%q: %x, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "12", fmt.Sprintf("%x0", want), fmt.Sprintf("%x00", want), strings.Repeat("g", 40)} {
		if got, err := ParseHash(s); err == nil {
			t.Errorf("%q: %x", s, got)
		}
	}
}

package kerberos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/certkeep/certkeep/internal/ndr"
)

// Authorization data (RFC 4120 section 5.2.6, MS-PAC section 2.2).
const (
	adIfRelevant = 1
	adWin2kPAC   = 128

	pacLogonInfo = 1
	maxPACParts  = 64
)

// checkAccount refuses a ticket whose name is not that of the account that it was
// issued for, as far as the KDC says for which it was: those of Active Directory
// and Samba do, in the PAC. They give a ticket in the name of "backup" to the
// owner of a machine account "backup$" if there is no user of that name, and
// many a user may make machine accounts.
func checkAccount(name []string, data types.AuthorizationData) error {
	account, ok, err := pacAccount(data)
	switch {
	case err != nil:
		return fmt.Errorf("ticket's PAC: %w", err)
	case ok && (len(name) != 1 || !strings.EqualFold(name[0], account)):
		return fmt.Errorf("ticket is in the name of %q, and was issued for the account %q", strings.Join(name, "/"), account)
	}
	return nil
}

// pacAccount returns the name of the account in the PAC, if there is one. The
// ticket's encryption vouches for it: what a client adds is in the authenticator.
func pacAccount(data types.AuthorizationData) (account string, ok bool, err error) {
	for _, outer := range data {
		if outer.ADType != adIfRelevant {
			continue
		}
		var inner types.AuthorizationData
		if err := guard("authorization data", func() error { return inner.Unmarshal(outer.ADData) }); err != nil {
			return "", false, err
		}
		for _, d := range inner {
			if d.ADType == adWin2kPAC {
				info, err := pacPart(d.ADData, pacLogonInfo)
				if err != nil || info == nil { // MIT's KDC has PACs without
					return "", false, err
				}
				account, err := effectiveName(info)
				return account, err == nil, err
			}
		}
	}
	return "", false, nil
}

// pacPart finds a buffer of a PAC (MS-PAC section 2.3); nil if it has none of that
// kind.
func pacPart(b []byte, kind uint32) ([]byte, error) {
	le := binary.LittleEndian
	if len(b) < 8 || le.Uint32(b) > maxPACParts || len(b) < 8+16*int(le.Uint32(b)) {
		return nil, errors.New("it is too short, or has too many parts")
	}
	for i := range int(le.Uint32(b)) {
		e := b[8+16*i:]
		if le.Uint32(e) != kind {
			continue
		}
		size, at := uint64(le.Uint32(e[4:])), le.Uint64(e[8:])
		if at > uint64(len(b)) || size > uint64(len(b))-at {
			return nil, errors.New("a part is not in it")
		}
		return b[at : at+size], nil
	}
	return nil, nil
}

// effectiveName reads KERB_VALIDATION_INFO (MS-PAC section 2.5) as far as
// EffectiveName, the account's sAMAccountName.
func effectiveName(b []byte) (string, error) {
	object, _, err := ndr.Serialized(b)
	if err != nil {
		return "", err
	}
	d := ndr.NewDecoder(object)
	if !d.Pointer() {
		return "", errors.New("its logon information is empty")
	}
	d.Bytes(6 * 8) // LogonTime to PasswordMustChange
	size := int(d.U16())
	d.U16() // MaximumLength
	if !d.Pointer() {
		return "", errors.New("it names no account")
	}
	d.Bytes(160) // FullName to ResourceGroupIds
	// What the pointers point to follows in their order: the name is the first.
	d.U32() // maximum count
	if offset, n := d.U32(), d.U32(); d.Err() == nil && (offset != 0 || uint64(n)*2 != uint64(size)) {
		return "", errors.New("its account's name is malformed")
	}
	units := d.Units(size / 2)
	if d.Err() != nil {
		return "", d.Err()
	}
	if len(units) == 0 {
		return "", errors.New("it names no account")
	}
	return string(utf16.Decode(units)), nil
}

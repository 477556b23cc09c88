package kerberos

import (
	"errors"
	"fmt"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/messages"

	"github.com/certkeep/certkeep/internal/gss"
)

// Error is a failure on the client's side. It wraps [gss.ErrLogon] when
// credentials are missing or were refused, and not when no KDC answered.
type Error struct {
	Op   string        // what was being done, such as "ticket for RPCSS/ca.example.test"
	Code int32         // KRB-ERROR code that the KDC or the service gave (RFC 4120 section 7.5.9), 0 if none
	Skew time.Duration // how far the other's clock is ahead of ours, where it told its time
	Err  error

	hint string
}

func (e *Error) Error() string { return "kerberos: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what the user can do about it; it may be empty.
func (e *Error) Hint() string { return e.hint }

// ClockSkew is Skew.
func (e *Error) ClockSkew() time.Duration { return e.Skew }

// refuse is an Error about credentials.
func refuse(op, hint, format string, args ...any) *Error {
	return &Error{Op: op, hint: hint, Err: fmt.Errorf("%w: %w", gss.ErrLogon, fmt.Errorf(format, args...))}
}

// Codes of KRB-ERROR that get a hint of their own.
const (
	codeClientUnknown   = 6
	codeServiceUnknown  = 7
	codeEtypeNoSupport  = 14
	codeClientRevoked   = 18
	codeKeyExpired      = 23
	codePreauthFailed   = 24
	codePreauthRequired = 25
	codeBadIntegrity    = 31
	codeTicketExpired   = 32
	codeNotYetValid     = 33
	codeRepeat          = 34
	codeSkew            = 37
	codeModified        = 41
	codeBadKeyVersion   = 44
	codeNoKey           = 45
	codeWrongRealm      = 68
)

var codeHints = map[int32]string{
	codeClientUnknown:  "check the user name, and the realm's spelling: realms are written in capitals as a rule",
	codeServiceUnknown: "the KDC knows no such service; name the server as it is registered (setspn -L), usually by its full DNS name and not by an address",
	codeEtypeNoSupport: "account and service need an AES key; in Active Directory set msDS-SupportedEncryptionTypes to 24 and change the password",
	codeClientRevoked:  "the account is locked, disabled or expired",
	codeKeyExpired:     "the password has expired; change it (kpasswd)",
	codePreauthFailed:  "the password or the keytab is wrong",
	codeBadIntegrity:   "the service's key is not the one that the KDC has; renew its keytab",
	codeTicketExpired:  "get a new ticket: kinit",
	codeNotYetValid:    "compare the clocks",
	codeRepeat:         "the request was replayed, or two came in the same microsecond; try again",
	codeModified:       "the service's key is not the one that the KDC has; renew its keytab",
	codeBadKeyVersion:  "the service's keytab is older than the key in the KDC; renew it",
	codeNoKey:          "the service's keytab has no key for this ticket; renew it",
	codeWrongRealm:     "the account is in another realm; write it as USER@REALM",
}

// fromKRBError makes an Error of what a KDC or a service answered.
func fromKRBError(op string, k *messages.KRBError, now time.Time) *Error {
	e := refuse(op, codeHints[k.ErrorCode], "%s", codeText(k))
	e.Code = k.ErrorCode
	if !k.STime.IsZero() {
		e.Skew = k.STime.Sub(now).Round(time.Second)
	}
	if k.ErrorCode == codeSkew || k.ErrorCode == codeNotYetValid {
		e.hint = skewHint(e.Skew)
	}
	return e
}

func skewHint(skew time.Duration) string {
	switch {
	case skew > 0:
		return fmt.Sprintf("this machine's clock is %v behind the server's; synchronize it", skew)
	case skew < 0:
		return fmt.Sprintf("this machine's clock is %v ahead of the server's; synchronize it", -skew)
	}
	return "compare this machine's clock with the server's"
}

// codeText is the code's name; the KDC's own text is left out, because it may
// say anything.
func codeText(k *messages.KRBError) string { return errorcode.Lookup(k.ErrorCode) }

// guard runs a decoder of package gokrb5. Those index into names and strings
// that may be empty or short, so bytes from outside can make them panic; that
// must not end the process, and there is no other way to catch it than here.
func guard(what string, decode func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New(what + " is malformed")
		}
	}()
	if decode() != nil {
		// The decoder's own words are dropped: some of them quote the input.
		return errors.New(what + " is malformed")
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cakey"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certdll"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/sqlitelog"
)

// The exit codes. They are a contract: scripts and monitoring rely on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartly      = 3
	exitDamage      = 4
	exitNoRepo      = 10
	exitLocked      = 11
	exitSecret      = 12
	exitUnreachable = 13
	exitTooOld      = 14
	exitInterrupted = 130
)

// exitMeaning is printed in every verb's help.
var exitMeaning = map[int]string{
	exitOK:          "done",
	exitFailed:      "failed",
	exitUsage:       "usage: the command line is wrong",
	exitPartly:      "done in part: something was skipped, and is named",
	exitDamage:      "damage was found, or a repository was rolled back",
	exitNoRepo:      "no repository there",
	exitLocked:      "locked, or a backup is in progress",
	exitSecret:      "wrong key or password",
	exitUnreachable: "server unreachable, or access denied",
	exitTooOld:      "older than the policy allows",
	exitInterrupted: "interrupted",
}

// A failure is an error with the exit code it leads to and, where the user can
// do something about it, a hint.
type failure struct {
	exit int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef reports a command line that cannot be obeyed.
func usagef(format string, args ...any) error {
	return &failure{exit: exitUsage, err: fmt.Errorf(format, args...)}
}

// withExit attaches an exit code to err; nil stays nil.
func withExit(exit int, err error) error {
	if err == nil {
		return nil
	}
	return &failure{exit: exit, err: err}
}

// withHint attaches a hint to err without changing its exit code.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &failure{exit: -1, err: err, hint: fmt.Sprintf(format, args...)}
}

// Errors of other packages carry a hint in a method, or those that have it from
// somewhere else in a field.
type hinter interface{ Hint() string }

// hintOf finds the outermost hint in an error chain.
func hintOf(err error) string {
	hint := ""
	walk(err, func(e error) bool {
		switch e := e.(type) {
		case *failure:
			hint = e.hint
		case *certadm.Error:
			hint = e.Hint
		case *sqlitelog.StateError:
			hint = e.Hint
		case *certsrv.ServedError:
			hint = "stop that process first"
			if e.Address != "" {
				hint += ", or use " + e.Address + " as far as backups go"
			}
		case hinter:
			hint = e.Hint()
		}
		if e == cadb.ErrUnsupported {
			hint = "logs of AD CS are replayed by AD CS alone; verify and drill check what can be checked without"
		}
		return hint == ""
	})
	return hint
}

// walk visits err and everything it wraps, outermost first, until visit says
// false.
func walk(err error, visit func(error) bool) bool {
	if err == nil {
		return true
	}
	if !visit(err) {
		return false
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return walk(u.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			if !walk(e, visit) {
				return false
			}
		}
	}
	return true
}

// exitOf maps an error to its exit code. An interrupted context wins over what
// the interruption made fail.
func exitOf(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return exitInterrupted
	}
	exit := -1
	walk(err, func(e error) bool {
		if f, ok := e.(*failure); ok && f.exit >= 0 {
			exit = f.exit
		} else if code, ok := sentinelExit(e); ok {
			exit = code
		}
		return exit < 0
	})
	if exit >= 0 {
		return exit
	}
	return exitOfCode(certadm.CodeOf(err))
}

// sentinelExit knows the errors of the other packages that have an exit code of
// their own.
func sentinelExit(err error) (int, bool) {
	switch err.(type) {
	case *certsrv.ServedError:
		return exitLocked, true
	case *account.DeniedError, *net.OpError, *net.DNSError:
		return exitUnreachable, true
	}
	for _, s := range sentinels {
		if err == s.err {
			return s.exit, true
		}
	}
	return 0, false
}

var sentinels = []struct {
	err  error
	exit int
}{
	{certdll.ErrNotWindows, exitUsage},
	{connect.ErrLogin, exitUsage},
	{cakey.ErrPassword, exitSecret},
	{authority.ErrWrongPassphrase, exitSecret},
	{authority.ErrPassphraseNeeded, exitSecret},
	{account.ErrBadCredentials, exitSecret},
	{account.ErrPassword, exitSecret},
	{sqlitelog.ErrLocked, exitLocked},
	{sqlitelog.ErrCopyActive, exitLocked},
	{sqlitelog.ErrLogDamaged, exitDamage},
	{sqlitelog.ErrLogTruncated, exitDamage},
	{sqlitelog.ErrLogForeign, exitDamage},
	{sqlitelog.ErrLogMissing, exitDamage},
	{sqlitelog.ErrLogOrder, exitDamage},
	{sqlitelog.ErrNotLog, exitDamage},
	{backupset.ErrDamaged, exitDamage},
	{backupset.ErrChain, exitDamage},
	{repo.ErrNoRepository, exitNoRepo},
	{repo.ErrKey, exitSecret},
	{repo.ErrNoIdentity, exitSecret},
	{repo.ErrNoHost, exitSecret},
	{repo.ErrRolledBack, exitDamage},
	{blob.ErrDenied, exitUnreachable},
}

// exitOfCode maps the results of the Certadm functions.
func exitOfCode(code certadm.HRESULT) int {
	switch code {
	case certadm.SOK:
		return exitOK
	case certadm.HrBackupInProgress, certadm.HrRestoreInProgress, certadm.HrRestoreMapExists,
		certadm.ErrorSharingViolation, certadm.HrBackupNotAllowedYet, certadm.HrTermInProgress:
		return exitLocked
	case certadm.ErrorLogonFailure, certadm.SecNoCredentials:
		return exitSecret
	case certadm.ErrorNotAllAssigned, certadm.ErrorPrivilegeNotHeld, certadm.EAccessDenied, certadm.HrAccessDenied, certadm.HrPermissionDenied,
		certadm.RPCServerUnavailable, certadm.HrCouldNotConnect, certadm.HrCommunicationError,
		certadm.ErrorServiceNotActive, certadm.RPCUnknownInterface, certadm.RPCServerTooBusy, certadm.RPCProtocolError, certadm.RPCUnknownAuthn,
		certadm.RegdbClassNotReg:
		return exitUnreachable
	case certadm.HrLogFileCorrupt, certadm.HrDatabaseCorrupted, certadm.HrReadVerifyFailure,
		certadm.HrBadLogSignature, certadm.HrBadDbSignature, certadm.HrInvalidLogSequence,
		certadm.HrMissingLogFile, certadm.HrMissingPreviousLogFile, certadm.HrMissingRestoreLogFiles,
		certadm.HrLogCorrupted, certadm.HrInvalidDatabase, certadm.HrBadBackupDatabaseSize,
		certadm.HrGivenLogFileHasBadSignature, certadm.HrGivenLogFileIsNotContiguous,
		certadm.ErrorInvalidData:
		return exitDamage
	}
	return exitFailed
}

// jsonFailure is what --json prints instead of a result.
type jsonFailure struct {
	Exit  int       `json:"exit"`
	Error jsonError `json:"error"`
}

type jsonError struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Code    string `json:"code,omitempty"` // of a Certadm function, in hex
}

// report prints a failure: for people on stderr, for programs on stdout too
// unless the verb has already printed its own object with the findings.
func (c *console) report(ctx context.Context, err error) int {
	exit := exitOf(ctx, err)
	if exit == exitOK {
		return exit
	}
	message, hint := oneLine(err.Error()), hintOf(err)
	if exit == exitInterrupted && !strings.Contains(message, errInterrupted.Error()) {
		message = errInterrupted.Error() + ": " + message
	}
	if exit == exitUsage && hint == "" {
		hint = strings.Join(append(append([]string{programName}, c.path...), "--help"), " ") + " shows how it is used"
	}
	what := strings.Join(c.path, " ")
	if what != "" {
		message = what + ": " + message
	}
	fmt.Fprintf(c.stderr, "%s: %s\n", programName, message)
	if hint != "" {
		fmt.Fprintf(c.stderr, "hint: %s\n", oneLine(hint))
	}
	if c.json && !c.printed {
		f := jsonFailure{Exit: exit, Error: jsonError{Message: message, Hint: hint}}
		var coded *certadm.Error
		if errors.As(err, &coded) {
			f.Error.Code = fmt.Sprintf("0x%08X", uint32(coded.Code))
		}
		if perr := c.print(f); perr != nil {
			fmt.Fprintf(c.stderr, "%s: %v\n", programName, perr)
		}
	}
	return exit
}

// oneLine keeps a message on one line, so that stderr stays line by line.
func oneLine(s string) string { return inert(strings.TrimSpace(s)) }

// inert takes line ends and control characters out of a text that may come from
// elsewhere: a hostile file name must not steer the terminal.
func inert(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\t':
			return ' '
		case r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return '?'
		}
		return r
	}, strings.ReplaceAll(s, "\n", "; "))
}

package capi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/connect"
)

// The environment variables.
const (
	EnvServers      = "CERTKEEP_SERVERS"       // what names stand for: NAME=SERVER;NAME=SERVER;*=SERVER
	EnvUser         = "CERTKEEP_USER"          // who logs on, unless the server's name says
	EnvPasswordFile = "CERTKEEP_PASSWORD_FILE" // the password is its first line
	EnvLog          = "CERTKEEP_LOG"           // where failures are written to
)

// Library is the state of the library in a process.
type Library struct {
	getenv   func(string) string
	contexts table
	log      failureLog
}

// New returns a library that reads its settings by getenv, at each call that
// needs them.
func New(getenv func(string) string) *Library {
	return &Library{getenv: getenv}
}

// The functions, as the log has them.
const (
	fnOnline          = certadm.FnIsServerOnline + "W"
	fnControl         = certadm.FnServerControl + "W"
	fnPrepare         = certadm.FnBackupPrepare + "W"
	fnLocations       = certadm.FnRestoreGetDatabaseLocations + "W"
	fnNames           = certadm.FnBackupGetDatabaseNames + "W"
	fnOpen            = certadm.FnBackupOpenFile + "W"
	fnRead            = certadm.FnBackupRead
	fnClose           = certadm.FnBackupClose
	fnLogs            = certadm.FnBackupGetBackupLogs + "W"
	fnTruncate        = certadm.FnBackupTruncateLogs
	fnDynamic         = certadm.FnBackupGetDynamicFileList + "W"
	fnEnd             = certadm.FnBackupEnd
	fnRestorePrepare  = certadm.FnRestorePrepare + "W"
	fnRegister        = certadm.FnRestoreRegister + "W"
	fnRegisterFile    = certadm.FnRestoreRegisterThroughFile
	fnComplete        = certadm.FnRestoreRegisterComplete
	fnRestoreEnd      = certadm.FnRestoreEnd
	maxServerNameText = 100 // of a server's name in the log
)

// background is what calls are made in: the C functions have nothing by which a
// caller could give one up.
func background() context.Context { return context.Background() }

// call makes a call of the procedure, and writes its failure to the log. about is
// what the call is about, for the log: a server's or a file's name.
func (l *Library) call(fn, about string, do func() error) (code certadm.HRESULT) {
	// What a program passed may not crash it, nor may what a server sent.
	defer func() {
		if v := recover(); v != nil {
			code = certadm.EUnexpected
			l.log.write(l.getenv(EnvLog), fn, about, fmt.Errorf("panic: %v\n%s", v, debug.Stack()), code)
		}
	}()
	err := do()
	if err == nil {
		return certadm.SOK
	}
	code = codeOf(err)
	l.log.write(l.getenv(EnvLog), fn, about, err, code)
	return code
}

// Refuse is the answer to arguments of a call that make no sense, and writes the
// reason to the log.
func (l *Library) Refuse(fn, why string) certadm.HRESULT {
	return l.call(fn, "", func() error { return invalid(fn, why) })
}

// codeOf is the HRESULT of an error, which is never one that C's FAILED takes for
// a success.
func codeOf(err error) certadm.HRESULT {
	code := certadm.CodeOf(err)
	var served *certsrv.ServedError
	switch {
	case code != certadm.EFail:
	case errors.As(err, &served):
		code = certadm.ErrorSharingViolation
	case errors.Is(err, connect.ErrLogin):
		code = certadm.SecNoCredentials
	case errors.Is(err, certsrv.ErrNoAuthority), errors.Is(err, fs.ErrNotExist):
		code = certadm.ErrorFileNotFound
	case errors.Is(err, fs.ErrPermission):
		code = certadm.EAccessDenied
	}
	if code&0x80000000 == 0 {
		return certadm.EFail
	}
	return code
}

func invalid(fn, why string) error {
	return &certadm.Error{Op: fn, Code: certadm.EInvalidArg, Err: errors.New(why)}
}

func outOfSequence(fn, why string) error {
	return &certadm.Error{Op: fn, Code: certadm.EUnexpected, Err: errors.New(why)}
}

// IsServerOnline connects to a server for one question.
func (l *Library) IsServerOnline(server string) (online bool, code certadm.HRESULT) {
	code = l.call(fnOnline, shown(server), func() error {
		c, err := l.open(fnOnline, server)
		if err != nil {
			return err
		}
		defer c.Close()
		online, err = c.Service().IsServerOnline(background())
		return err
	})
	return online && code == certadm.SOK, code
}

// ServerControl connects to a server for one call.
func (l *Library) ServerControl(server string, flags uint32) (out []byte, code certadm.HRESULT) {
	code = l.call(fnControl, shown(server), func() error {
		c, err := l.open(fnControl, server)
		if err != nil {
			return err
		}
		defer c.Close()
		out, err = c.Service().ServerControl(background(), certadm.Control(flags))
		return err
	})
	if code != certadm.SOK {
		return nil, code
	}
	return out, code
}

package certdll

import (
	"errors"
	"fmt"
	"sync"

	"github.com/certkeep/certkeep/certadm"
)

// Names of privileges (winnt.h, SE_BACKUP_NAME and SE_RESTORE_NAME).
const (
	SeBackupPrivilege  = "SeBackupPrivilege"
	SeRestorePrivilege = "SeRestorePrivilege"
)

// fnPrivilege is the function's name in errors.
const fnPrivilege = "AdjustTokenPrivileges"

// userRights are the names under which Windows' policies give privileges.
var userRights = map[string]string{
	SeBackupPrivilege:  "Back up files and directories",
	SeRestorePrivilege: "Restore files and directories",
}

// EnablePrivileges enables privileges in the process's token, as Microsoft's page
// "Setting the Backup and Restore Privileges" does: all of them, or none and an
// error. An account that does not hold one is a failure, ERROR_NOT_ALL_ASSIGNED:
// AdjustTokenPrivileges itself calls that success.
//
// restore puts the state from before back, once; a second call does nothing. The
// token is one for the whole process, so privileges are counted: the state is put
// back when the last one who enabled a privilege has restored it.
func EnablePrivileges(names ...string) (restore func() error, err error) {
	return processPrivileges.enable(names...)
}

// adjuster changes one privilege in a token.
type adjuster interface {
	// adjust enables or disables a privilege, and tells how it was.
	adjust(name string, on bool) (was bool, err error)
}

var processPrivileges = &privileges{token: processToken{}}

// privileges counts who needs which privilege.
type privileges struct {
	token adjuster

	mu   sync.Mutex
	held map[string]*held
}

type held struct {
	count int
	was   bool // enabled before
}

func (p *privileges) enable(names ...string) (restore func() error, err error) {
	var done []string
	for _, name := range names {
		if err := p.enableOne(name); err != nil {
			return nil, errors.Join(privilegeError(name, err), p.restore(done))
		}
		done = append(done, name)
	}
	var once sync.Once
	return func() (err error) {
		once.Do(func() { err = p.restore(done) })
		return err
	}, nil
}

func (p *privileges) enableOne(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.held[name]
	if h == nil {
		was, err := p.token.adjust(name, true)
		if err != nil {
			return err
		}
		if p.held == nil {
			p.held = make(map[string]*held)
		}
		h = &held{was: was}
		p.held[name] = h
	}
	h.count++
	return nil
}

func (p *privileges) restore(names []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, name := range names {
		h := p.held[name]
		if h.count--; h.count > 0 {
			continue
		}
		delete(p.held, name)
		if h.was {
			continue
		}
		if _, err := p.token.adjust(name, false); err != nil {
			errs = append(errs, privilegeError(name, err))
		}
	}
	return errors.Join(errs...)
}

func privilegeError(name string, err error) error {
	e := &certadm.Error{Op: fnPrivilege, Path: name, Code: codeOf(err), Err: err}
	var code certadm.HRESULT
	if errors.As(err, &code) && err == error(code) {
		e.Err = nil
	}
	if e.Code == certadm.ErrorNotAllAssigned {
		e.Err = errors.New("the account does not hold the privilege")
		right := name
		if r, ok := userRights[name]; ok {
			right = fmt.Sprintf("%q (%s)", r, name)
		}
		e.Hint = "run this from an elevated prompt, as an account with the user right " + right + ", as members of Backup Operators have"
	}
	return e
}

package certsrv

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/certkeep/certkeep/internal/durable"
)

// ServedError says that another process, or another Server of this one, holds
// the authority's directory.
type ServedError struct {
	Dir     string
	Address string // where it is served; "" when the holder did not say
	PID     int    // 0 when unknown
}

func (e *ServedError) Error() string {
	s := e.Dir + " is being served"
	if e.PID != 0 {
		s += fmt.Sprintf(" by process %d", e.PID)
	}
	if e.Address != "" {
		s += " at " + e.Address
	}
	return s
}

// holder is system/service.json, what the lock's holder says of itself. It only
// counts while the lock is held.
type holder struct {
	Schema  int       `json:"schema"`
	PID     int       `json:"pid"`
	Address string    `json:"address,omitempty"`
	Since   time.Time `json:"since"`
}

// dirLock is the lock on an authority's directory.
type dirLock struct {
	f  *flock.Flock
	at layout
}

// acquire takes the lock or fails with *ServedError at once.
func acquire(at layout) (*dirLock, error) {
	name := at.path(serviceLock)
	if err := os.MkdirAll(filepath.Dir(name), dirMode); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	f := flock.New(name, flock.SetPermissions(fileMode))
	ok, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if !ok {
		served := &ServedError{Dir: at.dir}
		// Another holder may be just writing it; without it the error is less
		// telling, not wrong.
		if b, err := durable.ReadFile(durable.OS, at.path(serviceName), configLimit); err == nil {
			var h holder
			if json.Unmarshal(b, &h) == nil {
				served.Address, served.PID = h.Address, h.PID
			}
		}
		return nil, served
	}
	return &dirLock{f: f, at: at}, nil
}

// announce tells other processes where the authority is served.
func (l *dirLock) announce(address string, now time.Time) error {
	b, err := json.Marshal(holder{Schema: 1, PID: os.Getpid(), Address: address, Since: now.UTC()})
	if err != nil {
		return err
	}
	// Always on the real file system, as the lock is, and not durable: after a
	// crash nobody holds the lock and the file means nothing.
	return os.WriteFile(l.at.path(serviceName), append(b, '\n'), fileMode)
}

// release gives the lock back; the file stays, as removing a lock file would
// let two holders lock two files of one name.
func (l *dirLock) release() error {
	os.Remove(l.at.path(serviceName))
	return l.f.Close()
}

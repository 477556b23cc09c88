package adcs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/hint"
)

// serviceName is Certificate Services' name in the service control manager.
const serviceName = "CertSvc"

// configurationKey has the configuration, below HKEY_LOCAL_MACHINE.
const configurationKey = `SYSTEM\CurrentControlSet\Services\CertSvc\Configuration`

// Options are the options of [Open].
type Options struct {
	// Map says where directories, or files, of a saved restore map are to be on
	// this machine. It goes before all else, and what it names may be written to.
	Map []Mapping

	// StateDir is where this package keeps what must outlive the process: what
	// was withheld, set aside and known to be lost. The default is
	// %ProgramData%\certkeep.
	StateDir string

	// Templates lists the published templates as text, one a line. They are in
	// the directory and not in the registry; without this function nobody looks.
	Templates func(ctx context.Context) ([]byte, error)

	// Online is CertSrvIsServerOnline. StartService waits until it is true;
	// without it until the service manager calls the service running, which it
	// may be before it answers.
	Online func(ctx context.Context) (bool, error)

	Now func() time.Time // the clock; nil is time.Now
}

// Mapping is a place of a saved restore map, and where it is now.
type Mapping struct {
	Old string // a UNC name of the authority that was backed up
	New string // a path of this machine, C:\…
}

// Host is this machine's authority, the one that the registry calls active. Its
// methods may be called by several goroutines as far as they only read.
type Host struct {
	sys  system
	fsys durable.FS
	o    Options

	name  string // sanitized
	names machineNames
	maps  []mapping

	remarks []string // of StartService
}

// Open finds this machine's authority. It may be stopped. [ErrNotWindows] and
// [ErrNoAuthority] say that there is none.
func Open(o Options) (*Host, error) {
	sys, err := newSystem()
	if err != nil {
		return nil, err
	}
	return open(o, sys, durable.OS)
}

func open(o Options, sys system, fsys durable.FS) (*Host, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Host{sys: sys, fsys: fsys, o: o}
	var err error
	if h.name, err = h.active(); err != nil {
		return nil, err
	}
	if h.names, err = sys.machine(); err != nil {
		return nil, fmt.Errorf("the name of this machine: %w", err)
	}
	// A clustered authority goes by the cluster's name.
	if h.names.server, err = h.text(h.key(), "CAServerName"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if h.maps, err = parseMaps(o.Map); err != nil {
		return nil, err
	}
	if h.o.StateDir == "" {
		if h.o.StateDir, err = sys.expand(`%ProgramData%\certkeep`); err != nil {
			return nil, err
		}
	}
	if _, err := cleanLocal(h.o.StateDir); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", h.o.StateDir, err)
	}
	return h, nil
}

const noAuthorityHint = "install the role (Install-WindowsFeature ADCS-Cert-Authority), and set it up with the authority's own key and certificate " +
	"(Install-AdcsCertificationAuthority -CertFile …), before its database is restored"

// active returns the sanitized name of the authority.
func (h *Host) active() (string, error) {
	v, err := h.sys.value(configurationKey, "Active")
	if errors.Is(err, fs.ErrNotExist) {
		return "", hint.With(fmt.Errorf(`%w: HKLM\%s has no value Active`, ErrNoAuthority, configurationKey), noAuthorityHint)
	}
	if err != nil {
		return "", fmt.Errorf(`HKLM\%s, Active: %w`, configurationKey, err)
	}
	name, err := v.Text()
	if err != nil {
		return "", fmt.Errorf(`HKLM\%s: %w`, configurationKey, err)
	}
	if err := checkElement(name); err != nil {
		return "", fmt.Errorf(`HKLM\%s: Active: %w`, configurationKey, err)
	}
	if _, err := h.sys.values(configurationKey + `\` + name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", hint.With(fmt.Errorf(`%w: HKLM\%s has no key for the active one, %s`, ErrNoAuthority, configurationKey, name), noAuthorityHint)
		}
		return "", fmt.Errorf(`HKLM\%s\%s: %w`, configurationKey, name, err)
	}
	return name, nil
}

// SanitizedName is the authority's name as in the names of its files.
func (h *Host) SanitizedName() string { return h.name }

// StateDir is the directory of [Options], with its default.
func (h *Host) StateDir() string { return h.o.StateDir }

// key is the authority's own key.
func (h *Host) key() string { return configurationKey + `\` + h.name }

// text reads a string of the registry, with its environment variables expanded.
func (h *Host) text(key, name string) (string, error) {
	v, err := h.sys.value(key, name)
	if err != nil {
		return "", fmt.Errorf(`HKLM\%s, %s: %w`, key, name, err)
	}
	s, err := v.Text()
	if err == nil && v.Type == regfile.Expand {
		s, err = h.sys.expand(s)
	}
	if err != nil {
		return "", fmt.Errorf(`HKLM\%s, %s: %w`, key, name, err)
	}
	return s, nil
}

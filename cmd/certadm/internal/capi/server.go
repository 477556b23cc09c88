package capi

import (
	"errors"
	"fmt"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
)

// resolve says where the server is that a program names. A name is one of
//
//	MACHINE, MACHINE\CA NAME     as Certadm.dll takes them; MACHINE may have
//	                             two backslashes before it and a :PORT after it
//	adcs://…, ca:DIR             as the command line takes them
//
// CERTKEEP_SERVERS says what a name of the first kind stands for, if it has the
// whole of it, or else the MACHINE, or else "*"; if not, it is that of a machine on
// the network.
func (l *Library) resolve(fn, name string) (connect.Address, error) {
	a, err := resolve(name, l.getenv(EnvServers))
	if err != nil {
		return connect.Address{}, &certadm.Error{Op: fn, Path: shown(name), Code: certadm.EInvalidArg, Err: err}
	}
	return a, nil
}

func resolve(name, servers string) (connect.Address, error) {
	if isAddress(name) {
		return parse(name)
	}
	machine, ca, _ := strings.Cut(strings.TrimPrefix(name, `\\`), `\`)
	if machine == "" {
		return connect.Address{}, errors.New("the server's name is missing")
	}
	to, found, err := lookup(servers, machine, ca)
	switch {
	case err != nil:
		return connect.Address{}, err
	case !found:
		return network(machine, ca)
	case isAddress(to):
		a, err := parse(to)
		if a.Name == "" {
			a.Name = ca
		}
		return a, mapped(to, err)
	}
	toMachine, toCA, _ := strings.Cut(strings.TrimPrefix(to, `\\`), `\`)
	if toCA == "" {
		toCA = ca
	}
	a, err := network(toMachine, toCA)
	return a, mapped(to, err)
}

func mapped(to string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %q: %w", EnvServers, connect.Shown(to), err)
	}
	return nil
}

// isAddress says whether a name is one of package connect's rather than a
// machine's. A machine that is called ca has to be written adcs://ca:PORT.
func isAddress(name string) bool {
	s := strings.ToLower(name)
	return strings.HasPrefix(s, "ca:") || s == "local:" || strings.Contains(s, "://")
}

func parse(name string) (connect.Address, error) {
	a, err := connect.Parse(name)
	if err == nil && (a.Scheme == connect.Local || a.Scheme == connect.DLL) {
		return connect.Address{}, fmt.Errorf("%s is Certadm.dll's own: this library stands in its place, and would call itself", a)
	}
	return a, err
}

// network is the address of a machine.
func network(machine, ca string) (connect.Address, error) {
	if strings.ContainsAny(machine, "/@") {
		return connect.Address{}, fmt.Errorf("%q is no machine's name", connect.Shown(machine))
	}
	a, err := connect.Parse(string(connect.ADCS) + "://" + machine)
	if err != nil {
		return connect.Address{}, err
	}
	if a.Name = ca; strings.ContainsFunc(ca, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return connect.Address{}, errors.New("the authority's name holds a control character")
	}
	return a, nil
}

// lookup looks a name up in CERTKEEP_SERVERS. What cannot be read in there is an
// error, lest the program reach another server than was meant.
func lookup(servers, machine, ca string) (to string, found bool, err error) {
	full := machine + `\` + ca
	best := 0
	for entry := range strings.SplitSeq(servers, ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, server, ok := strings.Cut(entry, "=")
		name, server = strings.TrimPrefix(strings.TrimSpace(name), `\\`), strings.TrimSpace(server)
		if !ok || name == "" || server == "" {
			return "", false, fmt.Errorf("%s: %q is not NAME=SERVER", EnvServers, connect.Shown(entry))
		}
		rank := 0
		switch {
		case ca != "" && strings.EqualFold(name, full):
			rank = 3
		case strings.EqualFold(name, machine):
			rank = 2
		case name == "*":
			rank = 1
		}
		if rank > best { // the first of two of a kind counts
			best, to = rank, server
		}
	}
	return to, best > 0, nil
}

// shown is a server's name for the log, without what may be a password in it.
func shown(name string) string { return shorten(connect.Shown(name)) }

// shorten bounds what an error repeats of a name.
func shorten(name string) string {
	if len(name) > maxServerNameText {
		return strings.ToValidUTF8(name[:maxServerNameText], "") + "…"
	}
	return name
}

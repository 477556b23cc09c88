package connect

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Scheme is the way to an authority.
type Scheme string

const (
	ADCS  Scheme = "adcs"  // adcs://[USER@]HOST[:PORT][/CA NAME], the wire protocol
	Local Scheme = "local" // local:, Certadm.dll of this Windows machine
	DLL   Scheme = "dll"   // dll://HOST, Certadm.dll and a remote machine
	CA    Scheme = "ca"    // ca:DIR, an embedded authority that nobody serves
)

// DefaultPort is that of the DCOM resolver.
const DefaultPort = 135

// Address is a SERVER, as the command line and the C library take it.
type Address struct {
	Scheme Scheme
	User   string // adcs: USER, DOMAIN\USER or USER@REALM; "" if not given
	Host   string // adcs, dll: without brackets
	Port   int    // adcs: DefaultPort unless given
	Name   string // adcs: the authority's common name; "" for the only one
	Dir    string // ca
}

// maxAddress bounds what Parse looks at.
const maxAddress = 4096

// Parse reads a SERVER. The error says which form was meant and what is wrong
// with it.
//
// USER ends at the last "@" before the first "/", so that USER@REALM needs no
// escaping. %20 and the like are decoded in the CA NAME when every "%" in it
// starts such an escape; otherwise the name stands as it is. A password in the
// address is refused: command lines are visible to others. No error repeats it:
// the address stands in errors as [Shown] has it, and no part of it besides.
func Parse(server string) (Address, error) {
	if len(server) > maxAddress {
		return Address{}, fmt.Errorf("server address: longer than %d bytes", maxAddress)
	}
	if strings.ContainsFunc(server, isControl) {
		return Address{}, fmt.Errorf("server address %q: holds a control character", Shown(server))
	}
	scheme, rest, found := strings.Cut(server, ":")
	if !found {
		return Address{}, fmt.Errorf("server address %q: has none of the forms ca:DIR, local:, adcs://HOST, dll://HOST", Shown(server))
	}
	var a Address
	var err error
	switch s := Scheme(strings.ToLower(scheme)); s {
	case CA:
		a, err = Address{Scheme: s, Dir: rest}, nil
		if rest == "" {
			err = errors.New("the directory is missing")
		}
	case Local:
		a = Address{Scheme: s}
		if rest != "" {
			err = errors.New("nothing may follow local: in an address")
		}
	case DLL:
		a, err = parseDLL(rest)
	case ADCS:
		a, err = parseADCS(rest)
	default:
		err = fmt.Errorf("there is no scheme %q; there are ca:DIR, local:, adcs://HOST, dll://HOST", scheme)
	}
	if err != nil {
		return Address{}, fmt.Errorf("server address %q: %w", Shown(server), err)
	}
	return a, nil
}

// Shown is a server's name or address for an error or a log: what stands before an
// "@" and may be a user with a password is left out, also where the whole is no
// address that Parse takes.
func Shown(server string) string {
	if scheme, _, _ := strings.Cut(server, ":"); strings.EqualFold(scheme, string(CA)) {
		return server // a directory
	}
	start := 0
	if i := strings.Index(server, "//"); i >= 0 {
		start = i + len("//")
	}
	rest := server[start:]
	authority, _, _ := strings.Cut(rest, "/")
	end := -1
	if start > 0 {
		end = strings.LastIndexByte(authority, '@')
	}
	// A password with a "/" in it ends further on.
	if colon := strings.IndexByte(authority, ':'); colon >= 0 {
		end = max(end, strings.LastIndexByte(rest, '@'))
	}
	if end < 0 {
		return server
	}
	return server[:start] + "…" + rest[end:]
}

func parseDLL(rest string) (Address, error) {
	host, ok := strings.CutPrefix(rest, "//")
	host = strings.TrimSuffix(host, "/")
	if !ok || host == "" {
		return Address{}, errors.New("the form is dll://HOST")
	}
	if err := checkHost(host); err != nil {
		return Address{}, err
	}
	return Address{Scheme: DLL, Host: host}, nil
}

func parseADCS(rest string) (Address, error) {
	rest, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return Address{}, errors.New("the form is adcs://[USER@]HOST[:PORT][/CA NAME]")
	}
	a := Address{Scheme: ADCS, Port: DefaultPort}
	authority, name, _ := strings.Cut(rest, "/")
	if a.Name = decodeName(name); strings.ContainsFunc(a.Name, isControl) {
		return Address{}, errors.New("the authority's name holds an escaped control character")
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		a.User, authority = authority[:i], authority[i+1:]
		if a.User == "" {
			return Address{}, errors.New("the user's name before @ is empty")
		}
		if strings.Contains(a.User, ":") {
			return Address{}, errors.New("a password has no place in an address: others can see it; use --password-file")
		}
	}
	host, port, err := splitPort(authority)
	if err != nil {
		return Address{}, err
	}
	if host == "" {
		return Address{}, errors.New("the host is missing")
	}
	if err := checkHost(host); err != nil {
		return Address{}, err
	}
	a.Host = host
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Address{}, errors.New("that is no port (1 to 65535)")
		}
		a.Port = int(n)
	}
	return a, nil
}

// splitPort separates HOST:PORT; an IPv6 address stands in brackets.
func splitPort(s string) (host, port string, err error) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, after, ok := strings.Cut(rest, "]")
		if !ok {
			return "", "", errors.New("the bracket of the IPv6 address is not closed")
		}
		if after == "" {
			return host, "", nil
		}
		port, ok := strings.CutPrefix(after, ":")
		if !ok || port == "" {
			return "", "", errors.New("something other than :PORT follows the IPv6 address")
		}
		return host, port, nil
	}
	host, port, found := strings.Cut(s, ":")
	if strings.Contains(port, ":") {
		return "", "", errors.New("an IPv6 address stands in brackets: [::1]")
	}
	if found && port == "" {
		return "", "", errors.New("the port after : is missing")
	}
	return host, port, nil
}

// checkHost refuses what can be neither a name nor an address.
func checkHost(host string) error {
	if strings.ContainsAny(host, "/\\@[]?# ") || len(host) > 255 {
		return errors.New("that is no host name")
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func decodeName(name string) string {
	if !strings.Contains(name, "%") {
		return name
	}
	if s, err := url.PathUnescape(name); err == nil {
		return s
	}
	return name
}

// String writes the address in the form that Parse reads.
func (a Address) String() string {
	switch a.Scheme {
	case CA:
		return "ca:" + a.Dir
	case DLL:
		return "dll://" + a.Host
	case ADCS:
		s := "adcs://"
		if a.User != "" {
			s += a.User + "@"
		}
		if strings.Contains(a.Host, ":") {
			s += "[" + a.Host + "]"
		} else {
			s += a.Host
		}
		if a.Port != DefaultPort {
			s += ":" + strconv.Itoa(a.Port)
		}
		if a.Name != "" {
			// Only what decodeName would change must be escaped.
			s += "/" + strings.ReplaceAll(a.Name, "%", "%25")
		}
		return s
	}
	return string(a.Scheme) + ":"
}

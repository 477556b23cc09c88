package kerberos

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// hintError is an error whose hint a command prints.
type hintError struct{ text, hint string }

func (e *hintError) Error() string { return e.text }
func (e *hintError) Hint() string  { return e.hint }

// principal is a name in a realm.
type principal struct {
	name  []string
	realm string
}

func (p principal) String() string { return unparse(p.name, p.realm) }

var escaper = strings.NewReplacer(`\`, `\\`, `/`, `\/`, `@`, `\@`, "\x00", `\0`, "\n", `\n`, "\t", `\t`, "\b", `\b`)

// join writes a name's components with slashes between. Those inside of a
// component are escaped, so that no two names are written alike.
func join(name []string) string {
	parts := make([]string, len(name))
	for i, n := range name {
		parts[i] = escaper.Replace(n)
	}
	return strings.Join(parts, "/")
}

// unparse writes a principal as NAME@REALM.
func unparse(name []string, realm string) string {
	return join(name) + "@" + escaper.Replace(realm)
}

// parsePrincipal reads NAME[/INSTANCE][@REALM].
func parsePrincipal(s, defaultRealm string) (principal, error) {
	p := principal{realm: defaultRealm}
	if strings.ContainsRune(s, '\\') {
		return p, errors.New(`principal has a backslash; write it USER@REALM`)
	}
	name, realm, ok := strings.Cut(s, "@")
	if ok {
		p.realm = realm
	}
	p.name = strings.Split(name, "/")
	for _, n := range p.name {
		if n == "" {
			return p, fmt.Errorf("%q is no principal", s)
		}
	}
	if p.realm == "" {
		return p, &hintError{fmt.Sprintf("principal %q has no realm", s), "write it USER@REALM, or set default_realm in krb5.conf"}
	}
	if strings.ContainsRune(p.realm, '@') {
		return p, fmt.Errorf("%q is no principal", s)
	}
	return p, nil
}

func readAll(path string, r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, nil
}

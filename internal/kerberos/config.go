package kerberos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/jcmturner/gokrb5/v8/config"
)

// maxConfig bounds krb5.conf and what it includes, together.
const maxConfig = 1 << 20

// conf is what is used of krb5.conf.
type conf struct {
	defaultRealm string
	kdcs         map[string][]string // by realm, with ports
	domains      *config.Config      // for its domain_realm
	etypes       []int32
}

// defaultEtypes is in the order in which MIT Kerberos prefers them.
var defaultEtypes = []int32{etypeAES256SHA1, etypeAES128SHA1, etypeAES256SHA2, etypeAES128SHA2}

// loadConfig reads a krb5.conf. path is empty for KRB5_CONFIG or the usual
// place; only there it may be absent.
func loadConfig(path string) (*conf, error) {
	optional := false
	if path == "" {
		// KRB5_CONFIG may be a list of files, of which the first is read
		path, _, _ = strings.Cut(os.Getenv("KRB5_CONFIG"), string(os.PathListSeparator))
	}
	if path == "" {
		path, optional = "/etc/krb5.conf", true
		if runtime.GOOS == "windows" {
			path = filepath.Join(os.Getenv("PROGRAMDATA"), "Kerberos", "krb5.conf")
		}
	}
	budget := int64(maxConfig)
	text, err := readConfig(path, &budget, 0)
	if optional && errors.Is(err, os.ErrNotExist) {
		text, err = nil, nil
	}
	if err != nil {
		return nil, &Error{Op: "krb5.conf", Err: err, hint: "KRB5_CONFIG names the file; unset it to use /etc/krb5.conf"}
	}
	return parseConfig(path, text)
}

var includeLine = regexp.MustCompile(`^\s*(include|includedir)\s+(\S.*?)\s*$`)

// includeName is what files in an included directory are called.
var includeName = regexp.MustCompile(`^([A-Za-z0-9_-]+|[^.].*\.conf)$`)

// readConfig reads a file and puts in place what it includes, which gokrb5
// passes over.
func readConfig(path string, budget *int64, depth int) ([]byte, error) {
	if depth > 8 {
		return nil, fmt.Errorf("%s: included too deep", path)
	}
	b, err := readFile(path, *budget)
	if err != nil {
		return nil, err
	}
	*budget -= int64(len(b))
	var out bytes.Buffer
	for line := range strings.Lines(string(b)) {
		m := includeLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			out.WriteString(line)
			continue
		}
		files := []string{m[2]}
		if m[1] == "includedir" {
			files = nil
			entries, err := os.ReadDir(m[2])
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			for _, e := range entries {
				if includeName.MatchString(e.Name()) && !e.IsDir() {
					files = append(files, filepath.Join(m[2], e.Name()))
				}
			}
		}
		for _, f := range files {
			inner, err := readConfig(f, budget, depth+1)
			if err != nil {
				return nil, err
			}
			out.Write(inner)
			out.WriteByte('\n')
		}
	}
	return out.Bytes(), nil
}

var sectionLine = regexp.MustCompile(`^\s*\[([^\]]*)\]`)

// mergeSections puts together the parts of sections that come more than once, as
// they do with included files. Of several [realms] gokrb5 would keep the last.
// Sections that nobody reads are left out.
func mergeSections(text []byte) []byte {
	names := []string{"libdefaults", "realms", "domain_realm"}
	parts := map[string]*bytes.Buffer{}
	for _, n := range names {
		parts[n] = new(bytes.Buffer)
	}
	var part *bytes.Buffer // nil in other sections
	for line := range bytes.Lines(text) {
		if m := sectionLine.FindSubmatch(line); m != nil {
			part = parts[string(m[1])]
		} else if part != nil {
			part.Write(line)
		}
	}
	var out bytes.Buffer
	for _, n := range names {
		fmt.Fprintf(&out, "[%s]\n%s\n", n, parts[n])
	}
	return out.Bytes()
}

func parseConfig(path string, text []byte) (*conf, error) {
	var k *config.Config
	err := guard("file", func() error {
		var err error
		k, err = config.NewFromReader(bytes.NewReader(mergeSections(text)))
		var unsupported config.UnsupportedDirective
		if errors.As(err, &unsupported) {
			err = nil // something of Kerberos 4
		}
		return err
	})
	if err != nil {
		return nil, &Error{Op: "krb5.conf", Err: fmt.Errorf("%s: %w", path, err)}
	}
	c := &conf{defaultRealm: k.LibDefaults.DefaultRealm, kdcs: map[string][]string{}, domains: k, etypes: defaultEtypes}
	for _, r := range k.Realms {
		c.kdcs[r.Realm] = append(c.kdcs[r.Realm], r.KDC...)
	}
	if !slices.Equal(k.LibDefaults.DefaultTGSEnctypes, config.New().LibDefaults.DefaultTGSEnctypes) {
		c.etypes = nil
		for _, id := range k.LibDefaults.DefaultTGSEnctypeIDs {
			if etypes[id] != nil {
				c.etypes = append(c.etypes, id)
			}
		}
		if len(c.etypes) == 0 {
			return nil, &Error{Op: "krb5.conf", Err: fmt.Errorf("%s: default_tgs_enctypes: %w", path, errEtype)}
		}
	}
	return c, nil
}

// realmOf returns the realm that domain_realm gives a host; empty if none.
func (c *conf) realmOf(host string) string { return c.domains.ResolveRealm(strings.ToLower(host)) }

// addresses returns a realm's KDCs, in the order to try: those of krb5.conf,
// else those in DNS (RFC 4120 section 7.2.3.2).
func (c *conf) addresses(ctx context.Context, realm string) ([]string, error) {
	var list []string
	for _, a := range c.kdcs[realm] {
		if strings.HasPrefix(a, "https:") {
			continue // a proxy (MS-KKDCP)
		}
		list = append(list, strings.TrimPrefix(a, "tcp/"))
	}
	if len(list) > 0 {
		return list, nil
	}
	_, srv, err := net.DefaultResolver.LookupSRV(ctx, "kerberos", "tcp", realm)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, s := range srv {
		list = append(list, net.JoinHostPort(strings.TrimSuffix(s.Target, "."), strconv.Itoa(int(s.Port))))
	}
	if len(list) == 0 {
		if err == nil {
			err = errors.New("no such record")
		}
		return nil, &hintError{
			fmt.Sprintf("no KDC is known for realm %s: not in krb5.conf, and DNS has none: %v", realm, err),
			"check the realm's spelling (capitals as a rule), or give krb5.conf its kdc; KRB5_CONFIG names another file",
		}
	}
	return list, nil
}

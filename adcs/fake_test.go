package adcs

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
)

// fake is a Windows machine with a CA, in memory but for its files.
type fake struct {
	root     string // where C:\ is, as root/C
	keys     map[string][]regfile.Value
	env      map[string]string
	names    machineNames
	stores   map[string][][]byte
	services map[string]*fakeService
	mounted  string // a native path that is a volume of its own

	fsys   durable.FS
	log    []string // what was changed, in order
	onSet  func()
	failed map[string]error
	waits  int
	onWait func(n int)
}

// fakeService is a service that takes some looks to change its state.
type fakeService struct {
	serviceStatus
	path       []serviceStatus // states to come, one a wait
	onStart    []serviceStatus
	onStop     []serviceStatus
	dependents []string
	refuse     error // what stop and start answer
}

const (
	testName   = "Example CA"
	testCommon = "Example CA"
)

func newFake(t *testing.T) *fake {
	t.Helper()
	return newFakeAt(t.TempDir())
}

// newFakeAt is a machine whose C:\ is root/c.
func newFakeAt(root string) *fake {
	f := &fake{
		root: root, fsys: durable.OS,
		keys:  make(map[string][]regfile.Value),
		env:   map[string]string{"%SystemRoot%": `C:\Windows`, "%ProgramData%": `C:\ProgramData`},
		names: machineNames{netBIOS: "PKI01", host: "pki01", qualified: "pki01.corp.example"}, stores: make(map[string][][]byte), failed: make(map[string]error),
		services: map[string]*fakeService{"certsvc": {serviceStatus: serviceStatus{state: running}}},
	}
	f.services["certsvc"].onStop = []serviceStatus{{state: stopPending, hint: 3 * time.Second}, {state: stopPending}, {state: stopped}}
	f.services["certsvc"].onStart = []serviceStatus{{state: startPending}, {state: startPending}, {state: running}}
	for _, v := range []regfile.Value{
		regfile.NewString("Active", regfile.String, testName),
		regfile.NewString("DBDirectory", regfile.String, `C:\Windows\system32\CertLog`),
		regfile.NewString("DBLogDirectory", regfile.Expand, `%SystemRoot%\system32\CertLog`),
		regfile.NewString("DBSystemDirectory", regfile.String, `c:\windows\system32\certlog\`),
	} {
		f.put(configurationKey, v)
	}
	k := configurationKey + `\` + testName
	for _, v := range []regfile.Value{
		regfile.NewString("CommonName", regfile.String, testCommon),
		regfile.NewNumber(interfaceFlags, 0x641),
		regfile.NewMulti(crlURLs, []string{`65:C:\Windows\system32\CertSrv\CertEnroll\%3%8%9.crl`, "79:ldap:///CN=%7%8,CN=%2", "6:http://pki.example/%3%8%9.crl", "no flags"}),
		regfile.NewString("CAServerName", regfile.String, "pki.example.org"),
	} {
		f.put(k, v)
	}
	f.put(k+`\CSP`, regfile.NewString("Provider", regfile.String, "Microsoft Software Key Storage Provider"))
	f.put(sharesKey, regfile.NewMulti("CertEnroll", []string{"CSCFlags=768", `Path=C:\Windows\system32\CertSrv\CertEnroll`, "Type=0"}))
	f.put(sharesKey, regfile.NewMulti("printer", []string{"Type=1"}))
	f.put(sharesKey, regfile.NewMulti("odd", []string{`Path=C:\a\..\b`}))
	return f
}

func (f *fake) open(t *testing.T, o Options) *Host {
	t.Helper()
	h, err := f.host(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (f *fake) host(o Options) (*Host, error) {
	if o.Now == nil {
		o.Now = func() time.Time { return testTime }
	}
	return open(o, f, f.fsys)
}

var testTime = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// newDisk gives the machine a disk in memory.
func newDisk(t *testing.T, f *fake) *durabletest.Disk {
	t.Helper()
	d := durabletest.New()
	f.fsys = d
	return d
}

func (f *fake) put(key string, v regfile.Value) {
	k := strings.ToLower(key)
	// A key's parents exist.
	for p := k; p != ""; {
		if _, ok := f.keys[p]; !ok {
			f.keys[p] = nil
		}
		i := strings.LastIndexByte(p, '\\')
		p = p[:max(i, 0)]
	}
	f.keys[k] = slices.DeleteFunc(f.keys[k], func(o regfile.Value) bool { return strings.EqualFold(o.Name, v.Name) })
	if !v.Delete {
		f.keys[k] = append(f.keys[k], v)
	}
}

// get is a value of the authority's key; nil if there is none.
func (f *fake) get(name string) *regfile.Value {
	v, err := f.value(configurationKey+`\`+testName, name)
	if err != nil {
		return nil
	}
	return &v
}

func (f *fake) fails(op string) error { return f.failed[op] }

func (f *fake) value(key, name string) (regfile.Value, error) {
	values, err := f.values(key)
	if err != nil {
		return regfile.Value{}, err
	}
	for _, v := range values {
		if strings.EqualFold(v.Name, name) {
			return v, nil
		}
	}
	return regfile.Value{}, fs.ErrNotExist
}

func (f *fake) values(key string) ([]regfile.Value, error) {
	if err := f.fails("values " + key); err != nil {
		return nil, err
	}
	v, ok := f.keys[strings.ToLower(key)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(v), nil
}

func (f *fake) subkeys(key string) ([]string, error) {
	var list []string
	for k := range f.keys {
		if tail, ok := strings.CutPrefix(k, strings.ToLower(key)+`\`); ok && !strings.Contains(tail, `\`) {
			list = append(list, tail)
		}
	}
	slices.Sort(list)
	return list, nil
}

func (f *fake) set(key string, v regfile.Value) error {
	if err := f.fails("set " + v.Name); err != nil {
		return err
	}
	if f.onSet != nil {
		f.onSet()
	}
	f.log = append(f.log, "set "+v.Name)
	f.put(key, v)
	return nil
}

func (f *fake) remove(key, name string) error {
	f.log = append(f.log, "remove "+name)
	f.put(key, regfile.Value{Name: name, Delete: true})
	return nil
}

func (f *fake) flush(string) error { f.log = append(f.log, "flush"); return f.fails("flush") }

func (f *fake) expand(s string) (string, error) {
	for k, v := range f.env {
		s = strings.ReplaceAll(s, k, v)
	}
	if strings.Contains(s, "%") {
		return "", fmt.Errorf("%s: there is no such environment variable", s)
	}
	return s, nil
}

func (f *fake) machine() (machineNames, error) { return f.names, nil }

func (f *fake) certificates(store string) ([][]byte, error) {
	return f.stores[store], f.fails("store " + store)
}

// native takes letter case as Windows does: not at all.
func (f *fake) native(path string) string {
	return filepath.Join(f.root, strings.ToLower(strings.ReplaceAll(strings.Replace(path, ":", "", 1), `\`, "/")))
}

func (f *fake) sameVolume(a, b string) (bool, error) {
	in := func(p string) bool { return f.mounted != "" && strings.HasPrefix(p+"/", f.mounted+"/") }
	return in(a) == in(b), nil
}

func (f *fake) private(dir string) error {
	if err := f.fails("private"); err != nil {
		return err
	}
	return f.fsys.MkdirAll(dir, 0o700)
}

var errInUse = errors.New("the process cannot access the file")

func (f *fake) inUse(err error) bool { return errors.Is(err, errInUse) }

func (f *fake) wait(ctx context.Context, d time.Duration) error {
	f.waits++
	if d < minPoll || d > maxPoll || f.waits > 1000 {
		return fmt.Errorf("wait %d of %v", f.waits, d)
	}
	if f.onWait != nil {
		f.onWait(f.waits)
	}
	for _, s := range f.services {
		if len(s.path) > 0 {
			s.serviceStatus, s.path = s.path[0], s.path[1:]
		}
	}
	return ctx.Err()
}

// stopped makes the service a stopped one.
func (f *fake) stopped() *fake {
	f.services["certsvc"].serviceStatus = serviceStatus{state: stopped}
	return f
}

// write makes files of the machine, given by their Windows names.
func (f *fake) write(t testing.TB, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := f.native(name)
		if err := f.fsys.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteFile(f.fsys, path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// files is every file below a Windows directory with what is in it, by path below
// it.
func (f *fake) files(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	f.walk(t, f.native(dir), "", got)
	return got
}

func (f *fake) walk(t testing.TB, dir, below string, got map[string]string) {
	entries, err := f.fsys.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			f.walk(t, path, below+e.Name()+"/", got)
			continue
		}
		b, err := durable.ReadFile(f.fsys, path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		got[below+e.Name()] = string(b)
	}
}

// issuer makes certificates of a small PKI.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (i *issuer) issue(t *testing.T, name string) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: testTime, NotAfter: testTime.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	parent := cmp.Or(i, &issuer{template, key})
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

// spaced is a SHA-1 hash as older versions write it, with spaces.
func spaced(der []byte) string {
	sum := sha1.Sum(der)
	return strings.Trim(strings.ReplaceAll(fmt.Sprintf("% x", sum), "\n", ""), " ")
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	var e *certadm.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

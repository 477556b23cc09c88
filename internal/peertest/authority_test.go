package peertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	certauthority "github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/csra"
	"github.com/certkeep/certkeep/internal/csrahook"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// The authority that peers back up, and who they are there when they log on by
// NTLM.
const (
	caName     = "Peers' Root CA"
	caUser     = "backup"
	caDomain   = "PEERS"
	caPassword = "a secret, even if nobody believes it"
)

// operator is what every peer may do: all that a backup needs, and to read.
var operator = account.Principal{Name: caUser, Roles: account.Operator | account.Administrator | account.Read, BackupPrivilege: true}

// authority is an embedded authority that is served over DCOM until the test
// ends.
type authority struct {
	*certsrv.Server
	resolver, exporter string // addresses

	mu                sync.Mutex
	files             map[string]file // by base name, as they were in the last session
	opened, truncated bool            // in that session
	logons            []csra.Logon
	calls             []csra.WireCall
}

// file is what a peer is to read.
type file struct {
	size int64
	sum  string // SHA-256
}

type serving struct {
	host      string // by which clients know it, besides its address
	keytab    string
	recorder  *recorder
	configure func(*dcerpc.ServerConfig)
	database  int // bytes that the database has at least
}

// serveAuthority starts the authority and its server. Its database is larger
// than the largest buffer, unless the test wants a small one.
func serveAuthority(t *testing.T, o serving) *authority {
	t.Helper()
	a := &authority{Server: newAuthority(t, o.database)}
	so := csra.ServerOptions{
		Name: caName,
		Open: func(context.Context, csra.Caller) (certadm.Service, error) { return a.Service(operator), nil },
		NTLM: &csra.NTLMServer{Computer: caDomain, Lookup: func(user, domain string) ([16]byte, bool) {
			return ntlm.NTHash(caPassword), user == caUser
		}},
		Keytab:  o.keytab,
		OnLogon: a.logon,
		Observe: a.observe,
	}
	if o.host != "" {
		so.Names = []string{o.host}
	}
	if o.configure != nil {
		csrahook.Configure(&so, o.configure)
	}
	server, err := csra.NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	listen := func(address *string, port uint16) net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*address = l.Addr().String()
		if o.recorder != nil {
			return o.recorder.listen(l, port)
		}
		return l
	}
	r, e := listen(&a.resolver, 135), listen(&a.exporter, 49670)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, r, e) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	return a
}

// newAuthority makes and starts an authority whose database has at least so many
// bytes.
func newAuthority(t *testing.T, size int) *certsrv.Server {
	t.Helper()
	dir := filepath.Join(scratch(t), "ca")
	if err := certsrv.Init(t.Context(), dir, certsrv.InitOptions{Name: caName, Host: "ca1"}); err != nil {
		t.Fatal(err)
	}
	s, err := certsrv.New(dir, certsrv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("stopping the authority: %v", err)
		}
	})
	unc, _ := s.Locations().Find(certadm.FileDatabase)
	name, err := s.LocalPath(unc)
	if err != nil {
		t.Fatal(err)
	}
	if size > 0 {
		fill(t, name, size)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// fill appends pages to a SQLite database, of octets that no two parts of it
// have in common: a part that is read twice, or not at all, is found out.
func fill(t *testing.T, name string, size int) {
	t.Helper()
	const page = 4096
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	pages := (size + page - 1) / page
	noise := make([]byte, pages*page-int(end))
	rand.Read(noise)
	_, err1 := f.Write(noise)
	_, err2 := f.WriteAt(binary.BigEndian.AppendUint32(nil, uint32(pages)), 28) // its header counts them
	if err := errors.Join(err1, err2, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// issue makes the authority issue certificates, so that there are logs.
func (a *authority) issue(t *testing.T, n int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := certauthority.ParseDN("CN=host")
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certauthority.NewRequest(key, subject, []string{"host.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	who := account.Principal{Name: "enroller", Roles: account.AllRoles}
	for range n {
		if _, err := a.Submit(t.Context(), who, csr, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *authority) logon(l csra.Logon) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logons = append(a.logons, l)
}

// observe looks at the files before a session changes them.
func (a *authority) observe(c csra.WireCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, c)
	// What is missing in the end is found out when it is asked for.
	switch c.Method {
	case "BackupPrepare":
		a.files, a.opened, a.truncated = map[string]file{}, false, false
	case "BackupOpenFile": // a database is what it is when it is first opened
		if !a.opened {
			sums(a.files, a.Dir(), ".db")
		}
		a.opened = true
	case "BackupTruncateLogs":
		sums(a.files, a.Dir(), ".log")
		a.truncated = true
	case "BackupEnd":
		if !a.truncated {
			sums(a.files, a.Dir(), ".log")
		}
	}
}

// sums hashes the files in a directory that have this extension.
func sums(files map[string]file, dir, ext string) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ext {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		files[d.Name()] = file{n, hex.EncodeToString(h.Sum(nil))}
		return err
	})
}

// file returns what the file of this UNC name was.
func (a *authority) file(t *testing.T, unc string) file {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	f, ok := a.files[certadm.BaseName(unc)]
	if !ok {
		t.Errorf("there is no file %s on the server, only %d others", unc, len(a.files))
	}
	return f
}

// users returns how each logon ended since the last call: MECHANISM USER, or
// MECHANISM refused.
func (a *authority) users() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := map[string]bool{}
	var all []string
	for _, l := range a.logons {
		s := l.Mechanism + " " + l.Domain + `\` + l.User
		if l.Err != nil {
			s = l.Mechanism + " refused"
		}
		if !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	a.logons = nil
	return strings.Join(all, ", ")
}

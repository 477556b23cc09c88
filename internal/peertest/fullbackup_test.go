package peertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/csra"
)

// dial connects our own client with the authority.
func (a *authority) dial(ctx context.Context, t *testing.T, host string, o csra.Options) (*csra.Client, error) {
	t.Helper()
	_, port, err := net.SplitHostPort(a.resolver)
	if err != nil {
		t.Fatal(err)
	}
	o.Host, o.Authority = host, caName
	o.Port, _ = strconv.Atoi(port)
	// Whatever the host's name: it is here.
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, port, err := net.SplitHostPort(address); err == nil {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	c, err := csra.Dial(ctx, o)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// backUp takes a backup with our own client, and compares what was read with the
// authority's files.
func (a *authority) backUp(ctx context.Context, t *testing.T, c *csra.Client, kind certadm.BackupType) {
	t.Helper()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	b, err := c.BackupPrepare(ctx, kind)
	must("BackupPrepare", err)
	read := map[string]file{}
	all := func(l certadm.FileList) {
		t.Helper()
		for _, e := range l {
			f, err := b.OpenFile(ctx, e.Path, 0)
			must(e.Path, err)
			h := sha256.New()
			n, err := io.Copy(h, f)
			must(e.Path, err)
			must(e.Path, f.Close())
			read[e.Path] = file{n, hex.EncodeToString(h.Sum(nil))}
		}
	}
	if kind == certadm.BackupFull {
		l, err := b.DatabaseNames(ctx)
		must("DatabaseNames", err)
		all(l)
	}
	l, err := b.Logs(ctx)
	must("Logs", err)
	all(l)
	_, err = b.DatabaseLocations(ctx)
	must("DatabaseLocations", err)
	_, err = b.DynamicFiles(ctx)
	must("DynamicFiles", err)
	must("TruncateLogs", b.TruncateLogs(ctx))
	must("End", b.End(ctx))
	if len(read) == 0 {
		t.Error("nothing was read")
	}
	for name, got := range read {
		if want := a.file(t, name); got != want {
			t.Errorf("%s: read %v, and the server's file is %v", name, got, want)
		}
	}
	roles, err := c.MyRoles(ctx)
	must("MyRoles", err)
	if uint32(roles)&uint32(operator.Roles) != uint32(operator.Roles) {
		t.Errorf("roles %v", roles)
	}
	v, err := c.CAProperty(ctx, certadm.PropCASigCert, 0, certadm.PropertyBinary)
	must("CAProperty", err)
	if string(v.Binary) != string(a.CACertificate().Raw) {
		t.Error("this is not the authority's certificate")
	}
}

// fullAndIncremental takes both backups, and ends the client.
func (a *authority) fullAndIncremental(ctx context.Context, t *testing.T, c *csra.Client) {
	t.Helper()
	a.backUp(ctx, t, c, certadm.BackupFull)
	a.issue(t, 3)
	a.backUp(ctx, t, c, certadm.BackupLogsOnly)
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

package backup

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
)

// properties is an Inspector with these values and errors; what it does not have
// it does not know.
type properties map[string]any

func (p properties) Ping(context.Context) error                     { return certadm.EAccessDenied }
func (p properties) MyRoles(context.Context) (certadm.Roles, error) { return 0, certadm.ENotImpl }
func (p properties) CRL(context.Context) ([]byte, error)            { return nil, certadm.ENotImpl }
func (p properties) key(id certadm.CAPropertyID, index int) string {
	return id.String() + string(rune('0'+index))
}
func (p properties) set(id certadm.CAPropertyID, i int, v any) { p[p.key(id, i)] = v }
func (p properties) CAProperty(ctx context.Context, id certadm.CAPropertyID, index int, t certadm.PropertyType) (certadm.CAProperty, error) {
	if ctx.Err() != nil {
		return certadm.CAProperty{}, ctx.Err()
	}
	switch v := p[p.key(id, index)].(type) {
	case int:
		return certadm.CAProperty{Type: t, Long: int32(v)}, nil
	case []byte:
		return certadm.CAProperty{Type: t, Binary: v}, nil
	case string:
		return certadm.CAProperty{Type: t, Text: v}, nil
	case error:
		return certadm.CAProperty{}, v
	}
	return certadm.CAProperty{}, &certadm.Error{Op: "GetCAProperty", Code: certadm.EInvalidArg}
}

func companionNames(c Collected) string {
	var names []string
	for _, f := range c.Companions {
		names = append(names, f.Name+"="+strings.ReplaceAll(string(f.Data), "\n", "/"))
	}
	return strings.Join(names, " ")
}

func TestInspect(t *testing.T) {
	ctx := context.Background()
	p := properties{}
	p.set(certadm.PropCASigCertCount, 0, 2)
	p.set(certadm.PropCASigCert, 0, []byte("cert0"))
	p.set(certadm.PropCASigCert, 1, []byte("cert1"))
	p.set(certadm.PropCASigCertChain, 1, []byte("chain1"))
	p.set(certadm.PropBaseCRL, 1, []byte("crl1"))
	p.set(certadm.PropDeltaCRL, 1, []byte("delta1"))
	p.set(certadm.PropTemplates, 0, "User\n1.2.3\nWebServer\n1.2.4\n")
	c, err := Inspect(ctx, p, "Test CA")
	want := "Test CA.crt=cert0 Test CA(1).crt=cert1 Test CA(1).crl=crl1 Test CA(1)+.crl=delta1 Test CA.p7b=chain1 templates.txt=User 1.2.3/WebServer 1.2.4/"
	if got := companionNames(c); err != nil || got != want || c.Skipped != nil || c.Templates != backupset.Present {
		t.Errorf("%s\n%+v, %v", got, c, err)
	}

	// What is refused is told of; what does not exist is not.
	p.set(certadm.PropCASigCert, 1, &certadm.Error{Op: "GetCAProperty", Code: certadm.EAccessDenied})
	p.set(certadm.PropTemplates, 0, "")
	if c, err = Inspect(ctx, p, ""); err != nil || len(c.Skipped) != 1 || !strings.HasPrefix(c.Skipped[0], "CR_PROP_CASIGCERT 1: ") || c.Templates != backupset.Absent {
		t.Errorf("%+v, %v", c, err)
	}
	// A server that answers nothing at all wants its authority's name: that it has
	// no templates is not known.
	if c, err = Inspect(ctx, properties{}, ""); err != nil || len(c.Companions) != 0 || len(c.Skipped) != 1 || !strings.Contains(c.Skipped[0], "by its name only") || c.Templates != "" {
		t.Errorf("a server that answers nothing: %+v, %v", c, err)
	}
	p.set(certadm.PropTemplates, 0, errors.New("cut off"))
	p.set(certadm.PropCASigCertCount, 0, 1<<30)
	if c, err = Inspect(ctx, p, ""); err != nil || c.Templates != "" || len(c.Skipped) != 2 || len(c.Companions) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err = Inspect(ended, p, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A set whose dynamic files could only be named: the statement says so, verify
// finds certificate and CRL among the companions, and the merged set has them.
func TestTakeRemote(t *testing.T) {
	k := newTaking(t)
	read := func(ext string) []byte {
		b, err := os.ReadFile(filepath.Join(k.dir, "ca", "published", "Take CA"+ext))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	p := properties{}
	p.set(certadm.PropCASigCertCount, 0, 1)
	p.set(certadm.PropCASigCert, 0, read(".crt"))
	p.set(certadm.PropBaseCRL, 0, read(".crl"))
	p.set(certadm.PropDeltaCRL, 0, certadm.EAccessDenied)
	res, err := k.take(t.Context(), func(o *TakeOptions) {
		o.Collect = func(ctx context.Context) (Collected, error) {
			if !slices.Contains(k.events, "CertSrvBackupGetBackupLogs") {
				t.Error("collected before the logs")
			}
			return Inspect(ctx, p, "Take CA")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	m := res.Manifest
	c := m.Completeness
	if c.DynamicFiles != backupset.NotAttempted || c.Configuration != backupset.NotAttempted || c.CACertificate != backupset.Present || c.Templates != backupset.Absent {
		t.Errorf("%+v", c)
	}
	if len(res.Skipped) != 1 || !strings.Contains(res.Skipped[0], "CR_PROP_DELTACRL 0") {
		t.Errorf("skipped: %q", res.Skipped)
	}
	if len(m.DynamicFiles) < 3 || !strings.HasPrefix(m.DynamicFiles[0].Error, "not attempted") {
		t.Errorf("%+v", m.DynamicFiles)
	}
	companions := m.ByRole(backupset.RoleCompanion)
	if len(companions) != 2 || companions[1].Source != "CR_PROP_BASECRL 0" {
		t.Fatalf("%+v", companions)
	}

	v, err := Verify(t.Context(), VerifyOptions{Source: Source{Store: k.store}})
	if err != nil || !v.OK || v.Database == nil || !strings.HasSuffix(v.Database.CAFrom, "/Companions/Take CA.crt") {
		t.Fatalf("%v: %+v", err, v)
	}
	for _, f := range v.Findings {
		if f.Severity != cadb.Note {
			t.Errorf("%+v", f)
		}
	}
	to := folder.Root(filepath.Join(k.dir, "one"), folder.Options{})
	merged, err := Merge(t.Context(), MergeOptions{Source: Source{Store: k.store}, To: to, Name: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if got := merged.Manifest.ByRole(backupset.RoleCompanion); len(got) != 2 || merged.Manifest.Completeness.CACertificate != backupset.Present {
		t.Errorf("%+v", got)
	}

	// A companion is covered by the manifest like everything else.
	name := filepath.Join(k.store.Dir(), "set01", "Companions", "Take CA.crl")
	b := read(".crl")
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, b) {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err = Verify(t.Context(), VerifyOptions{Source: Source{Store: k.store}}); err != nil || v.OK {
		t.Errorf("a changed companion: %v, %+v", err, v.Findings)
	}
}

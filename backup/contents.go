package backup

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
)

// contents looks into the files of one set (LevelContent).
type contents struct {
	v     *verifier
	set   backupset.Set
	entry backupset.Entry

	engine cadb.Engine
	check  *eseRun // of a set of AD CS
	logs   []cadb.LogInfo
	bad    int                 // logs that do not count in the chain
	cert   *x509.Certificate   // the one that the manifest names
	certs  []*x509.Certificate // all in the set
	crls   []setCRL
}

type setCRL struct {
	label string
	crl   *x509.RevocationList
}

func (c *contents) add(sev cadb.Severity, code string, f backupset.File, format string, args ...any) {
	c.v.add(sev, code, fileLabel(c.entry, f), format, args...)
}

// file looks into one file, which has its size and hash.
func (c *contents) file(ctx context.Context, f backupset.File) error {
	r, err := c.set.Open(ctx, f)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, backupset.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil // a finding already
	}
	if err != nil {
		return err
	}
	defer r.Close()
	switch f.Role {
	case backupset.RoleLog:
		return c.log(ctx, f, r)
	case backupset.RoleDatabase:
		if c.ese() {
			return nil // all of it together, see runESE
		}
		return c.database(f, r)
	case backupset.RoleLocations, backupset.RoleDynamic, backupset.RoleCompanion:
		return c.small(f, r)
	}
	return nil
}

// ese says that the set is AD CS's, whose engine checks logs and database together.
func (c *contents) ese() bool { return c.engine.Name() == cadb.EngineESE }

func (c *contents) log(ctx context.Context, f backupset.File, r backupset.ReadAtCloser) error {
	g, ok := c.engine.ParseLogName(f.Name)
	if !ok {
		c.add(cadb.Damage, cadb.CodeFormat, f, "not the name of a log")
		c.bad++
		return nil
	}
	info, err := c.engine.CheckLog(ctx, r, r.Size())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case c.ese() && (err != nil || info.Generation != g):
		c.bad++ // the check of the whole says what is wrong
	case err != nil:
		code, _ := cadb.LogFindingCode(err)
		c.add(cadb.Damage, code, f, "%v", err)
		c.bad++
	case info.Generation != g:
		c.add(cadb.Damage, cadb.CodeChain, f, "holds generation %s, and is named as another", generation(info.Generation))
		c.bad++
	case c.entry.Manifest.Signature != "" && info.Signature != c.entry.Manifest.Signature:
		c.add(cadb.Damage, cadb.CodeForeign, f, "belongs to another database (signature %.16s…, the set's is %.16s…)", info.Signature, c.entry.Manifest.Signature)
		c.bad++
	default:
		c.logs = append(c.logs, info)
		c.v.logs[g], c.v.labels[g] = info, fileLabel(c.entry, f)
	}
	return nil
}

// database looks at the beginning of the database. The copy is fuzzy: only
// recovery makes it one that can be read.
func (c *contents) database(f backupset.File, r io.Reader) error {
	head := make([]byte, 4096)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	engine, err := cadb.EngineFor(f.Name, head[:n])
	switch {
	case err != nil:
		c.add(cadb.Damage, cadb.CodeFormat, f, "%v", err)
	case engine.Name() != c.entry.Manifest.Engine:
		c.add(cadb.Damage, cadb.CodeForeign, f, "is a database of the engine %s, and the set's is %s", engine.Name(), c.entry.Manifest.Engine)
	}
	return nil
}

// maxSmall bounds restore maps, certificates and CRLs.
const maxSmall = 64 << 20

func (c *contents) small(f backupset.File, r io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(r, maxSmall+1))
	if err != nil {
		return err
	}
	if len(raw) > maxSmall {
		c.add(cadb.Warning, cadb.CodeUnchecked, f, "larger than %d bytes; not looked into", maxSmall)
		return nil
	}
	if f.Role == backupset.RoleLocations {
		list, err := certadm.DecodeLocations(raw)
		if err == nil {
			_, err = list.RestoreMap()
		}
		if err != nil {
			c.add(cadb.Damage, cadb.CodeFormat, f, "%v", err)
		}
		return nil
	}
	switch strings.ToLower(path.Ext(f.Name)) {
	case ".crt":
		cert, err := parseCertificate(raw)
		if err != nil {
			c.add(cadb.Damage, cadb.CodeFormat, f, "%v", err)
			return nil
		}
		c.certs = append(c.certs, cert)
		if fingerprint(cert.Raw) == c.entry.Manifest.CA.CertificateSHA256 {
			c.cert = cert
		}
	case ".crl":
		crl, err := parseCRL(raw)
		if err != nil {
			c.add(cadb.Damage, cadb.CodeFormat, f, "%v", err)
		} else {
			c.crls = append(c.crls, setCRL{fileLabel(c.entry, f), crl})
		}
	}
	return nil
}

// parseCRL reads PEM or DER.
func parseCRL(raw []byte) (*x509.RevocationList, error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("-----BEGIN")) {
		if b, _ := pem.Decode(raw); b != nil && b.Type == "X509 CRL" {
			raw = b.Bytes
		}
	}
	return x509.ParseRevocationList(raw)
}

// finish looks at what needs all files of the set together.
func (c *contents) finish() error {
	label := setLabel(c.entry)
	if c.cert != nil {
		for _, l := range c.crls {
			if err := c.signed(l.crl); err != nil {
				c.v.add(cadb.Damage, cadb.CodeSignature, l.label, "not signed by the set's CA certificate: %v", err)
			}
		}
	}
	if c.ese() {
		if err := c.finishESE(); err != nil {
			return err
		}
	}
	if c.bad > 0 || len(c.logs) == 0 {
		if len(c.logs) == 0 && c.bad == 0 {
			c.v.add(cadb.Damage, cadb.CodeMissing, label, "there is no log in the set")
		}
		return nil
	}
	if c.ese() {
		return nil
	}
	sortLogs(c.logs)
	dir := label + "/" + backupset.RoleLog.Dir()
	c.v.found.Add(checkLogs(c.engine, c.logs, logFiles(c.engine, c.v.labels, dir))...)
	c.copyEnd(label)
	return nil
}

// signed checks a CRL. An authority whose key was renewed goes on signing CRLs
// with the old key as well, and its set has both certificates.
func (c *contents) signed(crl *x509.RevocationList) error {
	err := crl.CheckSignatureFrom(c.cert)
	for _, other := range c.certs {
		if err != nil && bytes.Equal(other.RawSubject, c.cert.RawSubject) && crl.CheckSignatureFrom(other) == nil {
			return nil
		}
	}
	return err
}

// copyEnd looks whether a full set has all logs that its database needs.
func (c *contents) copyEnd(label string) {
	m := c.entry.Manifest
	if m.Type != backupset.Full {
		return
	}
	var end cadb.LogInfo
	for _, l := range c.logs {
		if l.EarliestTarget != 0 {
			end = l
		}
	}
	switch {
	case end.Generation == 0:
		c.v.add(cadb.Damage, cadb.CodeMissing, label, "no log in the set ends the copying of a database: the last one is missing")
	case end.CopyFirst < c.logs[0].Generation:
		c.v.add(cadb.Damage, cadb.CodeMissing, label, "the database needs the logs from generation %s on, and they begin at %s",
			generation(end.CopyFirst), generation(c.logs[0].Generation))
	case m.EarliestTarget != 0 && m.EarliestTarget != end.EarliestTarget:
		c.v.add(cadb.Damage, cadb.CodeMismatch, label, "the manifest says that the earliest target is %d, and the log of generation %s says %d",
			m.EarliestTarget, generation(end.Generation), end.EarliestTarget)
	}
}

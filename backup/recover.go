package backup

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/internal/durable"
)

// RecoverOptions are the options of [Recover].
type RecoverOptions struct {
	Source
	Until    Until
	MoreLogs []string // see MaterializeOptions
	OpenLog  string

	// Scratch is the directory in which a temporary one is made; empty for the
	// system's.
	Scratch  string
	Progress func(Progress)

	// quick leaves out what takes long and is not about whether the files are whole.
	quick bool
}

// Recovery is a chain that was recovered in a temporary directory. One of an engine
// whose logs only its own service replays was checked there instead, and is read as it
// was copied.
type Recovery struct {
	*Materialized
	cadb.Recovered

	// DB is the recovered database, open. It is nil if the database is of a kind that
	// cannot be read here although no fault was found, see Unreadable.
	DB *cadb.DB

	// Unreplayed says that DB was not recovered: rows can be missing, old or there
	// twice. Checked is what the check of database and logs found; nil if the logs were
	// replayed. Unreadable is why DB is nil.
	Unreplayed bool
	Checked    *esecheck.Report
	Unreadable error

	checked []cadb.Finding // what Checked says, without damage
	remove  func(*error)
}

// Close closes the database and removes the directory.
func (r *Recovery) Close() (err error) {
	defer r.remove(&err)
	if r.DB != nil {
		err = r.DB.Close()
	}
	return err
}

// Recover copies a chain into a temporary directory, replays its logs there and
// opens the database. The engine's integrity check has been passed; what the
// rows say has not been looked at. Damage is a [*DamageError].
//
// A chain of AD CS is not replayed: database and logs are checked together, as the
// engine would before it replays them, and the copy is opened as it stands.
func Recover(ctx context.Context, o RecoverOptions) (*Recovery, error) {
	chain, _, err := o.chain(ctx)
	if err != nil {
		return nil, err
	}
	return o.recover(ctx, chain)
}

func (o RecoverOptions) recover(ctx context.Context, chain backupset.Chain) (_ *Recovery, err error) {
	dir, remove, err := scratch(o.Scratch)
	if err != nil {
		return nil, err
	}
	r := &Recovery{remove: remove}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	m, err := materialize(ctx, MaterializeOptions{Source: o.Source, Until: o.Until, Dir: dir, MoreLogs: o.MoreLogs, OpenLog: o.OpenLog, Progress: o.Progress}, chain)
	if err != nil {
		return nil, err
	}
	r.Materialized = m
	if !m.Engine.Replays() {
		return r, r.check(ctx, o)
	}
	return r, r.replay(ctx)
}

// replay turns the copy into the database as it was, and opens it.
func (r *Recovery) replay(ctx context.Context) (err error) {
	m := r.Materialized
	if r.Recovered, err = m.Engine.Recover(ctx, m.Database, m.paths(), m.Target.Generation); err != nil {
		return m.replayError(err)
	}
	label := m.databaseLabel()
	where := "recovered to generation " + generation(r.Recovered.Last)
	if r.DB, err = cadb.Open(ctx, m.Database); err != nil {
		if ctx.Err() != nil || environmental(err) {
			return err
		}
		return damage(cadb.CodeStructure, label, where, "%v", errors.Unwrap(err))
	}
	found, err := r.DB.IntegrityCheck(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return damage(cadb.CodeStructure, label, where, "integrity check: %v", err)
	}
	if len(found) > 0 {
		d := new(DamageError)
		for _, s := range found {
			d.Findings = append(d.Findings, cadb.Finding{Severity: cadb.Damage, Code: cadb.CodeStructure, File: label, Where: where,
				Message: "integrity check: " + s})
		}
		return d
	}
	return nil
}

// checkChain does what Recover of an engine that replays does first.
func (m *Materialized) checkChain() error {
	infos := make([]cadb.LogInfo, len(m.Logs))
	for i, l := range m.Logs {
		infos[i] = l.LogInfo
	}
	if err := m.Engine.CheckChain(infos); err != nil {
		code, _ := cadb.LogFindingCode(err)
		return damage(code, setLabel(m.Chain.Tip()), "", "%v", err)
	}
	return nil
}

// databaseLabel is what messages call the database file.
func (m *Materialized) databaseLabel() string { return fileLabel(m.Chain[0], m.DatabaseFile) }

// replayError names the file of the set, where the engine named the copy.
func (m *Materialized) replayError(err error) error {
	if environmental(err) {
		return err
	}
	label := m.databaseLabel()
	for _, l := range m.Logs {
		if l.Path == cadb.LogErrorPath(err) {
			label = m.Label(l.MaterializedFile)
		}
	}
	code, _ := cadb.LogFindingCode(err)
	return damage(code, label, "", "%s", inDir(err, m.Dir))
}

// inDir is an error's text without the names of a temporary directory.
func inDir(err error, dir string) string {
	return strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
}

// caCertificate finds the CA certificate by which to check signatures: the one
// whose digest the manifest has, among the files of the set and the rows of the
// database. It also says where it is from. Without a manifest there is nothing
// to tell the right one by, and the result is nil.
func (r *Recovery) caCertificate(ctx context.Context) (*x509.Certificate, string, error) {
	want := r.Chain.Full().Manifest.CA.CertificateSHA256
	if want == "" {
		return nil, "", nil
	}
	for _, f := range r.Dynamic {
		if !strings.EqualFold(filepath.Ext(f.File.Name), ".crt") {
			continue
		}
		raw, err := durable.ReadFile(durable.OS, f.Path, 1<<20)
		if err != nil {
			return nil, "", err
		}
		if cert, err := parseCertificate(raw); err == nil && fingerprint(cert.Raw) == want {
			return cert, r.Label(f), nil
		}
	}
	for row, err := range r.DB.Requests(ctx, cadb.Filter{NoRequest: true, Dispositions: caDispositions}) {
		if err != nil {
			return nil, "", err
		}
		if fingerprint(row.RawCertificate) != want {
			continue
		}
		if cert, err := x509.ParseCertificate(row.RawCertificate); err == nil {
			return cert, fmt.Sprintf("request %d of the database, whose SHA-256 is the manifest's", row.ID), nil
		}
	}
	if r.Unreplayed {
		return nil, "", nil // the logs may have it
	}
	return nil, "", damage(cadb.CodeMissing, setLabel(r.Chain.Full()), "", "the CA certificate that the manifest names (SHA-256 %s) is neither in the set's files nor in its database", want)
}

// parseCertificate reads PEM or DER.
func parseCertificate(raw []byte) (*x509.Certificate, error) {
	if b, _ := pem.Decode(raw); b != nil && b.Type == "CERTIFICATE" {
		raw = b.Bytes
	}
	return x509.ParseCertificate(raw)
}

package demo

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/folder"
)

func (s *story) source() backup.Source {
	return backup.Source{Store: folder.Root(s.path(backupsDir), folder.Options{})}
}

// verify proves the sets alone.
func (s *story) verify(ctx context.Context) (string, error) {
	r, err := backup.Verify(ctx, backup.VerifyOptions{Source: s.source(), Level: backup.LevelDatabase})
	if err != nil {
		return "", err
	}
	if err := damage(r.Findings); err != nil {
		return "", err
	}
	for _, l := range backup.Levels {
		s.rep.Levels = append(s.rep.Levels, string(l))
	}
	files := 0
	for _, set := range r.Sets {
		files += set.Files
	}
	return fmt.Sprintf("%s, %s, down to every row of the database: no damage", plural(len(r.Sets), "set", "sets"), plural(files, "file", "files")), nil
}

// drill restores into scratch, with the open log if there is one.
func (s *story) drill(ctx context.Context) (string, error) {
	r, err := backup.Drill(ctx, backup.DrillOptions{Source: s.source(), OpenLog: s.openLog})
	if err != nil {
		return "", err
	}
	if err := damage(r.Findings); err != nil {
		return "", err
	}
	s.rep.Levels = append(s.rep.Levels, "drill")
	for _, st := range r.Proven {
		s.rep.Proven = append(s.rep.Proven, st.Text)
	}
	for _, st := range r.NotProven {
		s.rep.NotProven = append(s.rep.NotProven, st.Text)
	}
	what := plural(len(r.Sets), "set", "sets")
	if s.openLog != "" {
		what += " and the open log"
	}
	return fmt.Sprintf("recovered in scratch from %s; %s certificates checked", what, count(int(r.Database.Certificates))), nil
}

func damage(findings []cadb.Finding) error {
	for _, f := range findings {
		if f.Severity == cadb.Damage {
			return errors.New(f.String())
		}
	}
	return nil
}

// restore builds a new authority from the safe, and restores the sets into it.
func (s *story) restore(ctx context.Context) (_ string, err error) {
	dir := s.path(restoredDir)
	key, err := authority.ReadKey(s.path(safeDir, "ca.key"), nil)
	if err != nil {
		return "", err
	}
	if err := certsrv.Init(ctx, dir, certsrv.InitOptions{Key: key, Certificate: s.ca, Host: s.config.Host}); err != nil {
		return "", err
	}
	if err := copyFile(s.path(safeDir, "accounts.json"), filepath.Join(dir, "accounts.json")); err != nil {
		return "", err
	}
	conn, err := connect.Address{Scheme: connect.CA, Dir: dir}.Open(ctx, connect.Options{Stopped: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	target, err := conn.Target()
	if err != nil {
		return "", err
	}
	fetched, err := os.ReadFile(s.path(recordsDir, "fetched.crl"))
	if err != nil {
		return "", err
	}
	r, err := backup.Restore(ctx, backup.RestoreOptions{Source: s.source(), OpenLog: s.openLog, Target: target,
		CRLs: []backup.CRLFile{{Name: "the CRL that relying parties have", Raw: fetched}}})
	if err != nil {
		return "", err
	}
	s.rep.RestoreBytes = r.Bytes
	if r.Gap.Open() {
		return fmt.Sprintf("%s into a new authority; no CRL until %s", size(r.Bytes),
			plural(len(r.Gap.Revoked), "lost revocation is repeated", "lost revocations are repeated")), nil
	}
	return size(r.Bytes) + " into a new authority, with the key and the accounts from the safe", nil
}

// restart starts the restored authority and has it do what it did before.
func (s *story) restart(ctx context.Context) (string, error) {
	if err := s.start(ctx, s.path(restoredDir)); err != nil {
		return "", err
	}
	c := &Client{Name: s.clients[0].Name, Password: s.clients[0].Password, URL: s.child.EST, CA: s.ca}
	defer c.Close()
	var err error
	if c.Record, err = NewRecord(s.path(recordsDir, "after-the-restore.jsonl")); err != nil {
		return "", err
	}
	s.records = append(s.records, c.Record)
	if s.rep.Next, err = c.Enrol(ctx, "next.demo.test"); err != nil {
		return "", s.child.explain(err)
	}
	s.rep.DownSeconds = time.Since(s.killed).Seconds()
	text := fmt.Sprintf("recovered; next certificate %.1f s after the loss", s.rep.DownSeconds)
	if s.o.LoseEverything {
		// The gate that the restore has closed: repeat the revocation, then publish.
		if err := s.child.ask(Order{Do: "crl"}, nil); err == nil {
			s.problem("a CRL was published although it forgets a revocation")
		}
		if err := s.child.ask(Order{Do: "revoke", Serial: s.rep.Revocation.Serial}, nil); err != nil {
			return "", s.child.explain(err)
		}
		text += "; revocation repeated"
	}
	var crl CRL
	if err := s.child.ask(Order{Do: "crl"}, &crl); err != nil {
		return "", s.child.explain(err)
	}
	list, err := s.fetchCRL(ctx, s.path(recordsDir, "fetched-after.crl"))
	if err != nil {
		return "", err
	}
	if !lists(list, s.rep.Revocation.Serial) {
		s.problem("the CRL after the restore does not list the revoked certificate")
	}
	child := s.child
	s.child = nil
	return text + fmt.Sprintf("; CRL %d", crl.Number), child.stop()
}

// compare holds the restored database against the clients' records.
func (s *story) compare(ctx context.Context) (_ string, err error) {
	config, err := certsrv.ReadConfig(s.path(restoredDir))
	if err != nil {
		return "", err
	}
	db, err := cadb.Open(ctx, s.path(restoredDir, filepath.FromSlash(config.Database)))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := s.match(ctx, db); err != nil {
		return "", err
	}
	r := s.rep
	r.OK = len(r.Problems) == 0
	if s.o.LoseEverything {
		return fmt.Sprintf("%s of %s acknowledged certificates are there; %s came after the last set", count(r.Restored), count(r.Acknowledged), count(r.Missing)), nil
	}
	return fmt.Sprintf("all %s acknowledged certificates are there, byte for byte; none missing", count(r.Restored)), nil
}

func (s *story) match(ctx context.Context, db *cadb.DB) error {
	acknowledged, err := s.acknowledged()
	if err != nil {
		return err
	}
	r := s.rep
	r.Acknowledged = len(acknowledged)
	if r.Acknowledged != int(s.acked.Load()) {
		s.problem("the clients' records have %d certificates, and %d were counted", r.Acknowledged, s.acked.Load())
	}
	seen := map[string]bool{}
	for row, err := range db.Requests(ctx, cadb.Filter{NoRequest: true, Dispositions: []schema.Disposition{schema.Issued, schema.Revoked}}) {
		if err != nil {
			return err
		}
		sum := sha256.Sum256(row.RawCertificate)
		e, known := acknowledged[row.Serial]
		switch {
		case seen[row.Serial]:
			s.problem("serial number %s is in the database twice", row.Serial)
		case row.Serial == r.Next.Serial && known:
			s.problem("serial number %s was given a second time after the restore", row.Serial)
		case row.Serial == r.Next.Serial:
		case row.RawCertificate == nil: // a revocation that outlived its certificate
		case !known:
			r.Unanswered++
		case e.SHA256 != hex.EncodeToString(sum[:]):
			s.problem("certificate %s is not the one that the client received", row.Serial)
		default:
			r.Restored++
			delete(acknowledged, row.Serial)
		}
		seen[row.Serial] = true
		if row.Serial == r.Revocation.Serial && !s.o.LoseEverything {
			r.RevocationRestored = row.Disposition == schema.Revoked
		}
	}
	if !seen[r.Next.Serial] {
		s.problem("the certificate issued after the restore is not in the database")
	}
	s.judgeMissing(acknowledged)
	return nil
}

// judgeMissing lists what is missing, and says whether that is as it must be.
func (s *story) judgeMissing(missing map[string]Entry) {
	r := s.rep
	r.Missing = len(missing)
	r.MissingList = sorted(missing)
	if !s.o.LoseEverything {
		if r.Missing > 0 {
			s.problem("%d acknowledged certificates are missing", r.Missing)
		}
		if !r.RevocationRestored {
			s.problem("the revocation is missing")
		}
		return
	}
	for _, e := range r.MissingList {
		if e.At.Before(s.lastTake) {
			s.problem("certificate %s is missing, and was acknowledged before the last backup", e.Serial)
		}
	}
	r.MissingList = append(r.MissingList, r.Revocation)
}

func (s *story) problem(format string, args ...any) {
	s.rep.Problems = append(s.rep.Problems, fmt.Sprintf(format, args...))
}

// fetchCRL gets the CRL over HTTP, as a relying party does, checks its signature
// and keeps it.
func (s *story) fetchCRL(ctx context.Context, name string) (*x509.RevocationList, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.child.HTTP+"/"+url.PathEscape(s.config.SanitizedName)+".crl", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("CRL: %s", resp.Status)
	}
	list, err := x509.ParseRevocationList(raw)
	if err != nil {
		return nil, fmt.Errorf("CRL: %w", err)
	}
	if err := list.CheckSignatureFrom(s.ca); err != nil {
		return nil, fmt.Errorf("CRL: %w", err)
	}
	return list, os.WriteFile(name, raw, 0o600)
}

func lists(l *x509.RevocationList, serial string) bool {
	for _, e := range l.RevokedCertificateEntries {
		if schema.SerialText(e.SerialNumber) == serial {
			return true
		}
	}
	return false
}

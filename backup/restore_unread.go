package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/hint"
)

// verifyUnreplayed is step 0 for a database that only the service itself recovers: every
// file is whole and the logs follow each other, as recover has seen, the rows agree with
// what is signed in them, and the set is of the target's authority.
func (j *restoreJob) verifyUnreplayed(ctx context.Context) error {
	known, err := j.knownAuthority(ctx)
	if err != nil {
		return err
	}
	j.noteFindings()
	j.rep.Findings = append(j.rep.Findings, j.rec.checked...)
	if j.rec.DB == nil {
		f, _ := j.rec.unreadable()
		proven, notProven := j.rec.unread()
		j.rep.Findings = append(j.rep.Findings, f)
		j.rep.Proven, j.rep.NotProven = append(j.rep.Proven, proven...), append(j.rep.NotProven, notProven...)
	} else if err := j.proveAll(ctx); err != nil {
		return err
	}
	if !known {
		j.rep.NotProven = append(j.rep.NotProven, Statement{"authority",
			"That the set is of this authority: it has the authority's name, and no CA certificate that says so."})
	}
	return nil
}

// knownAuthority refuses a set of another authority, and says whether anything but the
// name tells that it is the target's: the manifest, the set's files, or its database.
// The logs may hold a certificate that is newer than those in the database.
func (j *restoreJob) knownAuthority(ctx context.Context) (bool, error) {
	full := j.rec.Chain.Full().Manifest
	ours, err := j.ownCertificate()
	if err != nil {
		return false, err
	}
	if ours || j.cas.hasSum(full.CA.CertificateSHA256) {
		return true, nil
	}
	if j.rec.DB != nil {
		own, err := j.rec.DB.CACertificate(ctx)
		switch {
		case err == nil && (j.cas.has(own) || j.hasCA(ctx)):
			return true, nil
		case err == nil && string(own.RawSubject) != string(j.ca.RawSubject):
			return false, otherAuthority(own.Subject.String(), fingerprint(own.Raw), j.id.Name, fingerprint(j.ca.Raw))
		case err != nil && !errors.Is(err, cadb.ErrNoCACertificate):
			return false, err
		}
	}
	name := full.CA.SanitizedName
	if name == "" {
		name = strings.TrimSuffix(j.rec.DatabaseFile.Name, filepath.Ext(j.rec.DatabaseFile.Name))
	}
	if !strings.EqualFold(name, j.id.SanitizedName) && !strings.EqualFold(name, certadm.SanitizeName(j.id.Name)) {
		return false, hint.With(fmt.Errorf("%w: it was taken of %s, and the target is %s", ErrOtherAuthority, name, j.id.Name),
			"restore into the authority that the set was taken of")
	}
	return false, nil
}

// unread says what is proven of a database whose rows were not looked at.
func (r *Recovery) unread() (proven, notProven []Statement) {
	if r.Chain.Full().Manifest.Synthesized {
		notProven = append(notProven, Statement{"no-manifest", "That the files are as they were taken: the set has no manifest with their digests."})
	}
	return r.wholeStatements(), append(notProven, recoveryOpen)
}

// ownCertificate reports whether the target's certificate is among the set's files.
func (j *restoreJob) ownCertificate() (bool, error) {
	for _, f := range j.rec.Dynamic {
		if !strings.EqualFold(filepath.Ext(f.File.Name), ".crt") {
			continue
		}
		raw, err := os.ReadFile(f.Path)
		if err != nil {
			return false, err
		}
		if cert, err := parseCertificate(raw); err == nil && j.cas.has(cert) {
			return true, nil
		}
	}
	return false, nil
}

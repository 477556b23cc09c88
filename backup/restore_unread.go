package backup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/certadm"
)

// verifyUnread is step 0 for a database that only the service itself recovers:
// every file is whole and the logs follow each other, as materialize has seen, and
// the set is of the target's authority as far as the set's own files tell.
func (j *restoreJob) verifyUnread() error {
	full := j.rec.Chain.Full().Manifest
	ours, err := j.ownCertificate()
	if err != nil {
		return err
	}
	named := j.cas.hasSum(full.CA.CertificateSHA256)
	if !named && !ours {
		name := full.CA.SanitizedName
		if name == "" {
			name = strings.TrimSuffix(j.rec.DatabaseFile.Name, filepath.Ext(j.rec.DatabaseFile.Name))
		}
		if !strings.EqualFold(name, j.id.SanitizedName) && !strings.EqualFold(name, certadm.SanitizeName(j.id.Name)) {
			return &hintError{err: fmt.Errorf("%w: it was taken of %s, and the target is %s", ErrOtherAuthority, name, j.id.Name),
				hint: "restore into the authority that the set was taken of"}
		}
		j.rep.NotProven = append(j.rep.NotProven, Statement{"authority",
			"That the set is of this authority: it has the authority's name, and no CA certificate that says so."})
	}
	j.noteFindings()
	proven, notProven := j.rec.unread()
	j.rep.Proven, j.rep.NotProven = append(j.rep.Proven, proven...), append(j.rep.NotProven, notProven...)
	return nil
}

// unread says what is proven of a database that only the service itself recovers.
func (r *Recovery) unread() (proven, notProven []Statement) {
	logs := r.Logs
	if r.Chain.Full().Manifest.Synthesized {
		notProven = append(notProven, Statement{"files", "That the files are as they were taken: the set has no manifest with their digests."})
	} else {
		proven = append(proven, Statement{"files", fmt.Sprintf("The database and %s (%s) are whole: %s.", count(len(logs), "log"),
			generations(logs[0].Generation, logs[len(logs)-1].Generation), r.wholeBy())})
	}
	proven = append(proven, Statement{"chain", fmt.Sprintf("The logs follow each other without a gap, of one stream (signature %.16s…).", r.Target.Signature)})
	notProven = append(notProven, Statement{"recovery", "That the database recovers: its logs are replayed by the service alone, as it starts."})
	return proven, notProven
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

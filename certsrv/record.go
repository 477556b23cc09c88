package certsrv

import (
	"fmt"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// BackupMark says what the last backup of a kind covered.
type BackupMark struct {
	Time time.Time `json:"time"`

	// Signature is the log signature as text. A mark counts only while the
	// database has the same one: a restore gives it a new one.
	Signature string `json:"signature"`

	// First and Last are the log generations that the set holds.
	First uint32 `json:"first"`
	Last  uint32 `json:"last"`
}

// backupRecord is system/backups.json: AD CS keeps DBLastFullBackup,
// DBLastIncrementalBackup and DBLastRecovery in its registry key.
type backupRecord struct {
	Schema int `json:"schema"`

	// Signature is the log signature at the last start. Another one at the next
	// says that the database was restored, or that a lost log was accepted.
	Signature string `json:"signature,omitempty"`

	LastFull        *BackupMark `json:"last_full,omitempty"`
	LastIncremental *BackupMark `json:"last_incremental,omitempty"`
	LastRecovery    time.Time   `json:"last_recovery,omitzero"`

	// RequestFloor and CRLFloor are the lowest request id and CRL number that
	// may be given next: after a restore they are ahead of the database,
	// because numbers given after the backup must not come back.
	RequestFloor int64 `json:"request_floor,omitempty"`
	CRLFloor     int64 `json:"crl_floor,omitempty"`
}

func readRecord(fsys durable.FS, at layout) (backupRecord, error) {
	r := backupRecord{Schema: 1}
	if _, err := readJSON(fsys, at.path(statusName), &r); err != nil {
		return r, fmt.Errorf("backup record: %w", err)
	}
	if r.Schema != 1 {
		return r, fmt.Errorf("backup record %s: schema %d is not known here", at.path(statusName), r.Schema)
	}
	return r, nil
}

func writeRecord(fsys durable.FS, at layout, r backupRecord) error {
	if err := writeJSON(fsys, at.path(statusName), r, fileMode); err != nil {
		return fmt.Errorf("backup record: %w", err)
	}
	return nil
}

// chain is what an incremental backup continues: the last full backup under
// this signature, and the last generation that any set since then holds.
// It is nil if there is no such backup.
func (r *backupRecord) chain(signature string) *BackupMark {
	if r.LastFull == nil || r.LastFull.Signature != signature {
		return nil
	}
	m := *r.LastFull
	if i := r.LastIncremental; i != nil && i.Signature == signature && i.Last > m.Last {
		m.Last = i.Last
	}
	return &m
}

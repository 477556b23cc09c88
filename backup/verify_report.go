package backup

import (
	"fmt"
	"slices"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
)

// VerifyReport is what [Verify] found.
type VerifyReport struct {
	Schema int   `json:"schema"` // 1
	OK     bool  `json:"ok"`     // there is no damage
	Level  Level `json:"level"`

	Sets []SetReport `json:"sets"`

	// Verdict is what the check of a database of AD CS with its logs came to, in words:
	// from LevelContent on.
	Verdict string `json:"verdict,omitempty"`

	// Database is there from LevelDatabase on, if it came so far.
	Database *DatabaseReport `json:"database,omitempty"`

	Findings  []cadb.Finding `json:"findings"`
	Proven    []Statement    `json:"proven"`
	NotProven []Statement    `json:"not_proven"`

	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_nanoseconds"`
	Bytes    int64         `json:"bytes_read"`
}

// judge makes the last word of what the check of database and logs came to and of all
// other findings: a verdict without a fault must not stand beside damage.
func (r *VerifyReport) judge() { judge(r.Findings, &r.Verdict, r.Database, &r.Proven) }

func judge(found []cadb.Finding, verdict *string, db *DatabaseReport, proven *[]Statement) {
	n := 0
	for _, f := range found {
		if f.Severity == cadb.Damage {
			n++
		}
	}
	if *verdict == "" || n == 0 {
		return
	}
	*verdict = fmt.Sprintf("damaged: %d findings", n)
	if db != nil {
		db.Verdict = *verdict
	}
	*proven = slices.DeleteFunc(*proven, func(s Statement) bool { return s.Code == "verdict" })
}

// SetReport is one set of the chain.
type SetReport struct {
	ID          string         `json:"id,omitempty"`
	Name        string         `json:"name,omitempty"`
	Location    string         `json:"location"`
	Type        backupset.Type `json:"type"`
	State       string         `json:"state"` // confirmed, unconfirmed, damaged
	NoManifest  bool           `json:"no_manifest,omitempty"`
	First       uint32         `json:"first_generation"`
	Last        uint32         `json:"last_generation"`
	Files       int            `json:"files"`
	Bytes       int64          `json:"bytes"`
	Start       time.Time      `json:"start"`
	End         time.Time      `json:"end"`
	CA          string         `json:"ca"`
	Certificate string         `json:"ca_certificate_sha256,omitempty"`
}

// DatabaseReport is what the recovered database showed.
type DatabaseReport struct {
	// Unreplayed says that it was read as it was copied, because only its own service
	// replays its logs: rows can be missing, old or there twice. Generation is then the
	// last one whose log is there. Verdict is what the check of database and logs came
	// to, and State what the database says of itself.
	Unreplayed bool   `json:"unreplayed,omitempty"`
	Verdict    string `json:"verdict,omitempty"`
	State      string `json:"state,omitempty"`

	Generation     uint32    `json:"generation"`
	Closed         time.Time `json:"closed"`
	EarliestTarget uint32    `json:"earliest_target"`
	CAFrom         string    `json:"ca_certificate_from"`
	cadb.Report
	Size int64 `json:"size"`
}

func (r *Recovery) databaseReport(p proof) *DatabaseReport {
	rep := p.report
	rep.Findings = nil // they are in the list of the job
	d := &DatabaseReport{Generation: r.Target.Generation, Closed: r.Target.Closed, EarliestTarget: r.Earliest.Generation,
		CAFrom: p.caFrom, Report: rep, Size: r.Recovered.Size}
	if r.Checked != nil {
		d.Unreplayed, d.Verdict, d.State = r.Unreplayed, r.Checked.String(), r.DB.Info().State
	}
	return d
}

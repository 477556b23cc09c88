package backupset

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// Manifest says what a set is and what is in it. It is complete when the set
// is committed and never changes afterwards.
type Manifest struct {
	Schema int    `json:"schema"` // Schema; Encode fills it in
	ID     string `json:"id"`     // see NewID
	Tool   string `json:"tool"`   // what wrote it, for example "certkeep 1.0 linux/amd64"

	CA     CA     `json:"ca"`
	Engine string `json:"engine"` // "sqlite" or "ese"
	Type   Type   `json:"type"`

	// Parent is the id of the set that this incremental one continues. Empty
	// for a full set.
	Parent string `json:"parent,omitempty"`

	Start time.Time `json:"start"` // when BackupPrepare was called
	End   time.Time `json:"end"`   // when the last file had been stored

	// Signature identifies the database (not the authority) in lower-case
	// hexadecimal; a restore gives the database a new one. Empty if unknown.
	Signature string `json:"signature,omitempty"`

	// The log generations that the set holds, both included; zero if it holds
	// none.
	FirstGeneration uint32 `json:"first_generation"`
	LastGeneration  uint32 `json:"last_generation"`

	// EarliestTarget is the generation up to which a full set must be replayed
	// at least, because the database was changing while it was copied. Zero in
	// an incremental set, and where the engine itself knows.
	EarliestTarget uint32 `json:"earliest_target,omitempty"`

	// LastLogHead is how the newest log begins: what the next one must continue. It is for
	// a Store whose contents the machine that takes backups cannot read.
	LastLogHead []byte `json:"last_log_head,omitempty"`

	Files []File `json:"files"`

	// Locations is the restore map, decoded; its bytes are the file of
	// RoleLocations. Full sets only.
	Locations []Location `json:"locations,omitempty"`

	// DynamicFiles lists every name that the server gave, those included that
	// could not be copied.
	DynamicFiles []DynamicFile `json:"dynamic_files,omitempty"`

	Completeness Completeness `json:"completeness"`

	// Calls are the calls of the procedure up to the commit, in order. The
	// later ones are in the receipt.
	Calls []Call `json:"calls,omitempty"`

	// Synthesized says that there is no manifest file: a Store made this one up
	// from what it found, as for a folder that certutil wrote. Such a manifest
	// has no hashes, may lack anything, and cannot be encoded.
	Synthesized bool `json:"synthesized,omitempty"`

	// SHA256 is the manifest's own digest, in lower-case hexadecimal. Encode
	// and DecodeManifest fill it in.
	SHA256 string `json:"-"`
}

// CA is the authority a set was taken from.
type CA struct {
	Name          string `json:"name"`
	SanitizedName string `json:"sanitized_name"`
	// CertificateSHA256 is the digest of the CA certificate's DER, in
	// lower-case hexadecimal. Empty if the certificate could not be had.
	CertificateSHA256 string `json:"certificate_sha256,omitempty"`
	Host              string `json:"host"`
}

// Type is the type of a set.
type Type string

// The types of sets.
const (
	Full        Type = "full"        // database, logs, restore map
	Incremental Type = "incremental" // logs alone
)

// Role says what a file is in its set, and where a plain folder keeps it.
type Role string

// The roles of files. Names are unique, letter case ignored, within the first
// three together and within each of the other two.
const (
	RoleDatabase  Role = "database"  // DataBase/<CA>.db or .edb
	RoleLog       Role = "log"       // DataBase/logNNNNN.log or edbNNNNN.log
	RoleLocations Role = "locations" // DataBase/certbkxp.dat
	RoleDynamic   Role = "dynamic"   // DynamicFiles/…
	RoleCompanion Role = "companion" // Companions/…: what the API does not back up
)

// LocationsName is the name of the file of RoleLocations
// (wszDBBACKUPCERTBACKDAT).
const LocationsName = "certbkxp.dat"

// File is a file of a set.
type File struct {
	Role   Role   `json:"role"`
	Name   string `json:"name"`             // see ValidateName
	Source string `json:"source,omitempty"` // the server's name for it, UNC
	Size   int64  `json:"size"`             // bytes
	SHA256 string `json:"sha256,omitempty"` // lower-case hexadecimal; empty only if synthesized
}

// Location is an entry of the restore map.
type Location struct {
	Tag  certadm.FileType `json:"tag"`
	Path string           `json:"path"` // UNC
}

// DynamicFile is an entry of the server's dynamic file list. Exactly one of
// File and Error is set.
type DynamicFile struct {
	Source string `json:"source"`          // the server's name for it
	File   string `json:"file,omitempty"`  // the name of its copy, of RoleDynamic
	Error  string `json:"error,omitempty"` // why there is no copy
}

// Presence is whether a set holds a part of the authority.
type Presence string

// The answers of a completeness statement.
const (
	Present      Presence = "present"
	Absent       Presence = "absent"        // looked for, or known, not to be there
	NotAttempted Presence = "not attempted" // nobody looked
	InHSM        Presence = "in an HSM"     // cannot be backed up here
)

// Completeness is the completeness statement: what of an authority the set
// holds. Each field must be set, so that nothing is ever silently missing.
// An incremental set has the database and the restore map in its full set:
// its own statement says Absent.
type Completeness struct {
	Database      Presence `json:"database"`
	Logs          Presence `json:"logs"`
	RestoreMap    Presence `json:"restore_map"`
	DynamicFiles  Presence `json:"dynamic_files"`
	CACertificate Presence `json:"ca_certificate"`
	PrivateKey    Presence `json:"private_key"`
	Configuration Presence `json:"configuration"`
	CAPolicy      Presence `json:"ca_policy"`
	Templates     Presence `json:"templates"`
}

// Part is one line of a completeness statement.
type Part struct {
	Name     string // for people: "private key"
	Presence Presence
}

// Parts lists the statement in a fixed order, for printing.
func (c Completeness) Parts() []Part {
	return []Part{
		{"database", c.Database},
		{"logs", c.Logs},
		{"restore map", c.RestoreMap},
		{"dynamic files", c.DynamicFiles},
		{"CA certificate", c.CACertificate},
		{"private key", c.PrivateKey},
		{"configuration", c.Configuration},
		{"CAPolicy", c.CAPolicy},
		{"templates", c.Templates},
	}
}

// Call is one call of the procedure. Reads of one file are one entry.
type Call struct {
	Function string          // "CertSrvBackupOpenFile"
	Path     string          // its argument, if it has one
	Result   certadm.HRESULT // SOK or the failure
	Start    time.Time
	Duration time.Duration // kept in microseconds
}

type callJSON struct {
	Function     string    `json:"function"`
	Path         string    `json:"path,omitempty"`
	Result       string    `json:"result"` // 0xC8000230
	Start        time.Time `json:"start"`
	Microseconds int64     `json:"microseconds"`
}

// MarshalJSON writes the result as hexadecimal and the duration as
// microseconds.
func (c Call) MarshalJSON() ([]byte, error) {
	return json.Marshal(callJSON{c.Function, c.Path, formatResult(c.Result), c.Start.UTC(), c.Duration.Microseconds()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Call) UnmarshalJSON(b []byte) error {
	var j callJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	code, err := parseResult(j.Result)
	if err != nil {
		return err
	}
	const most = int64(1<<63-1) / int64(time.Microsecond)
	if j.Microseconds < 0 || j.Microseconds > most {
		return fmt.Errorf("call of %d microseconds", j.Microseconds)
	}
	*c = Call{j.Function, j.Path, code, j.Start, time.Duration(j.Microseconds) * time.Microsecond}
	return nil
}

func formatResult(h certadm.HRESULT) string { return fmt.Sprintf("0x%08X", uint32(h)) }

func parseResult(s string) (certadm.HRESULT, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || len(digits) != 8 {
		return 0, fmt.Errorf("result %.20q is not of the form 0x80070002", s)
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("result %.20q is not of the form 0x80070002", s)
	}
	return certadm.HRESULT(n), nil
}

// Find returns the first file of a role, for the roles that have one.
func (m *Manifest) Find(r Role) (File, bool) {
	for _, f := range m.Files {
		if f.Role == r {
			return f, true
		}
	}
	return File{}, false
}

// ByRole returns the files of a role, in the manifest's order.
func (m *Manifest) ByRole(r Role) []File {
	var fs []File
	for _, f := range m.Files {
		if f.Role == r {
			fs = append(fs, f)
		}
	}
	return fs
}

// Size is the number of bytes in the set's files.
func (m *Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

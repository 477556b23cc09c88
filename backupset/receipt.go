package backupset

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// Receipt says what became of a session after its set was committed: whether
// the server truncated its logs, and what End returned.
type Receipt struct {
	Schema         int    `json:"schema"`          // Schema; filled in
	SetID          string `json:"set"`             // PutReceipt fills it in if empty
	ManifestSHA256 string `json:"manifest_sha256"` // Manifest.SHA256; likewise

	// Confirmed says that the session ended well, so that the set may be the
	// parent of another. It requires End to be SOK. A failed truncation does
	// not forbid it: the logs will be in the next set again.
	Confirmed bool `json:"confirmed"`

	Truncation Truncation `json:"truncation"`
	End        Outcome    `json:"end"` // of CertSrvBackupEnd
	Finished   time.Time  `json:"finished"`

	// Calls are those after the commit.
	Calls []Call `json:"calls,omitempty"`

	SHA256 string `json:"-"` // the receipt's own digest, filled in
}

// Truncation is what was asked of TruncateLogs and what came of it, as the
// server's list of logs tells afterwards.
type Truncation struct {
	Requested bool    `json:"requested"`
	Outcome   Outcome `json:"outcome"` // zero when not requested

	// Before and After are the generations in the server's list before and
	// after; Removed are those that are really gone. All empty when the list
	// was not read.
	Before  Generations `json:"before,omitempty"`
	After   Generations `json:"after,omitempty"`
	Removed Generations `json:"removed,omitempty"`

	// InDirectory are the generations that the log directory itself had before and
	// after, where it could be looked into; Removed then counts what went there.
	InDirectory *BeforeAfter `json:"in_directory,omitempty"`

	// NotTruncated says that logs stayed that should have gone: the log directory
	// still has them, or the engine said so.
	NotTruncated bool `json:"not_truncated,omitempty"`

	// Remarks say what an operator should know: logs that stayed though the server
	// no longer lists them, and events of the engine.
	Remarks []string `json:"remarks,omitempty"`
}

// BeforeAfter is what a directory held at two times.
type BeforeAfter struct {
	Before Generations `json:"before"`
	After  Generations `json:"after"`
}

// Outcome is the result of a call, and its error text if it failed.
type Outcome struct {
	Result certadm.HRESULT
	Error  string
}

// OutcomeOf is the outcome of a call that returned err.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Outcome{}
	}
	return Outcome{certadm.CodeOf(err), clip(err.Error(), maxText)}
}

// Matches checks that a receipt belongs to a manifest; the error is an
// ErrDamaged. A synthesized manifest has no receipt.
func (r *Receipt) Matches(m *Manifest) error {
	switch {
	case r.SetID != m.ID:
		return fmt.Errorf("receipt is of set %.80q, not %.80q: %w", r.SetID, m.ID, ErrDamaged)
	case r.ManifestSHA256 != m.SHA256 || m.SHA256 == "":
		return fmt.Errorf("receipt of set %s is of another manifest: %w", m.ID, ErrDamaged)
	}
	return nil
}

type outcomeJSON struct {
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

// MarshalJSON writes the result as hexadecimal.
func (o Outcome) MarshalJSON() ([]byte, error) {
	return json.Marshal(outcomeJSON{formatResult(o.Result), o.Error})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (o *Outcome) UnmarshalJSON(b []byte) error {
	var j outcomeJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	code, err := parseResult(j.Result)
	if err != nil {
		return err
	}
	*o = Outcome{code, j.Error}
	return nil
}

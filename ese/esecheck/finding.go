package esecheck

import (
	"fmt"
	"strings"
)

// Severity says how bad a finding is.
type Severity string

// Damage means that something is not what the engine wrote, or is missing and needed.
// A warning is something that a person should look at. A note is only said for
// completeness.
const (
	Damage  Severity = "damage"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is one thing that the check found.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     Code     `json:"code"`
	File     string   `json:"file,omitempty"`

	// Page and Generation are 0 if it is not about one. Offset is in bytes from the
	// beginning of the file, -1 if it is about all of it.
	Page       uint32 `json:"page,omitempty"`
	Generation uint32 `json:"generation,omitempty"`
	Offset     int64  `json:"offset"`

	// Error is the engine's own error for this, 0 if it has none.
	Error JetError `json:"error,omitempty"`

	Message string `json:"message"`
}

// String is "severity: file: where: message (error)".
func (f Finding) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: ", f.Severity)
	if f.File != "" {
		fmt.Fprintf(&s, "%s: ", f.File)
	}
	if f.Page != 0 {
		fmt.Fprintf(&s, "page %d: ", f.Page)
	}
	if f.Generation != 0 {
		fmt.Fprintf(&s, "generation %d: ", f.Generation)
	}
	if f.Offset > 0 {
		fmt.Fprintf(&s, "offset %d: ", f.Offset)
	}
	s.WriteString(f.Message)
	if f.Error != 0 {
		fmt.Fprintf(&s, " (%v)", f.Error)
	}
	return s.String()
}

// Code is a fixed word for the kind of a finding, for programs.
type Code string

// The codes.
const (
	Unreadable       Code = "unreadable"          // could not be read at all
	BadHeader        Code = "bad-header"          // header of a database
	HeaderCopy       Code = "header-copy"         // one of the two copies of a header is damaged, or they differ
	BadState         Code = "state"               // what the database says of itself: dirty, a backup
	History          Code = "history"             // repairs and bad pages that the engine has met
	UnknownRevision  Code = "unknown-revision"    // newer than what this was tried on
	BadSize          Code = "size"                // not whole pages, or not the size the header says
	BadTrailer       Code = "bad-trailer"         // missing, or damaged
	ForeignTrailer   Code = "foreign-trailer"     // of another database or backup
	BadPage          Code = "bad-page"            // wrong checksum
	CorrectablePage  Code = "correctable-page"    // one wrong bit that the checksum locates
	MisplacedPage    Code = "misplaced-page"      // the contents of another page
	BadLogHeader     Code = "bad-log-header"      //
	BadLogName       Code = "log-name"            // not that of its generation
	DuplicateLog     Code = "duplicate-log"       // a generation twice
	ForeignLog       Code = "foreign-log"         // of another stream
	LogSequence      Code = "log-sequence"        // does not follow the one before
	LogSums          Code = "log-sums"            // not the one that the next was written after
	LogVersion       Code = "log-version"         // format or sectors change in the stream
	BadSegment       Code = "bad-segment"         //
	CorrectSegment   Code = "correctable-segment" //
	TornSegment      Code = "torn-segment"        //
	LogEnd           Code = "log-end"             // how a log ends
	NotChecked       Code = "not-checked"         // what this cannot check
	MissingLog       Code = "missing-log"         // that recovery needs
	MissingCommitted Code = "missing-committed"   // that recovery does not need, but has changes
	SpareLog         Code = "spare-log"           // that recovery does not need
	ForeignDatabase  Code = "foreign-database"    // a log or checkpoint names another one
	BadCheckpoint    Code = "bad-checkpoint"      //
	CatalogDiffers   Code = "catalog"             // and its shadow are not the same
	BadTree          Code = "bad-tree"            //
	BadRow           Code = "bad-row"             // a record or value that cannot be decoded
	IndexDiffers     Code = "index"               // an index and the rows of its table do not agree
	UnsupportedValue Code = "unsupported-value"   // that this package does not decode
)

// JetError is an error of the engine.
type JetError int

// The errors that findings correspond to.
const (
	LogFileCorrupt                JetError = -501
	LogGenerationMismatch         JetError = -513
	BadLogVersion                 JetError = -514
	InvalidLogSequence            JetError = -515
	MissingLogFile                JetError = -528
	BadLogSignature               JetError = -530
	BadDbSignature                JetError = -531
	BadCheckpointSignature        JetError = -532
	CheckpointCorrupt             JetError = -533
	BadPatchPage                  JetError = -535
	LogFileSizeMismatch           JetError = -541
	RequiredLogFilesMissing       JetError = -543
	LogSectorSizeMismatch         JetError = -546
	DatabaseDirtyShutdown         JetError = -550
	DatabasePatchFileMismatch     JetError = -552
	LogTornWriteDuringHardRestore JetError = -570
	LogCorruptDuringHardRestore   JetError = -573
	CommittedLogFilesMissing      JetError = -582
	LogSequenceChecksumMismatch   JetError = -590
	LogReadVerifyFailure          JetError = -612
	ReadVerifyFailure             JetError = -1018
	DiskIO                        JetError = -1022
	InvalidDatabase               JetError = -1028
	DatabaseCorrupted             JetError = -1206
	CatalogCorrupted              JetError = -1220
	SecondaryIndexCorrupted       JetError = -1414
	LVCorrupted                   JetError = -1526
)

var jetNames = map[JetError]string{
	LogFileCorrupt: "LogFileCorrupt", LogGenerationMismatch: "LogGenerationMismatch", BadLogVersion: "BadLogVersion",
	InvalidLogSequence: "InvalidLogSequence", MissingLogFile: "MissingLogFile", BadLogSignature: "BadLogSignature",
	BadDbSignature: "BadDbSignature", BadCheckpointSignature: "BadCheckpointSignature", CheckpointCorrupt: "CheckpointCorrupt",
	BadPatchPage: "BadPatchPage", LogFileSizeMismatch: "LogFileSizeMismatch", RequiredLogFilesMissing: "RequiredLogFilesMissing",
	LogSectorSizeMismatch: "LogSectorSizeMismatch", DatabaseDirtyShutdown: "DatabaseDirtyShutdown",
	DatabasePatchFileMismatch: "DatabasePatchFileMismatch", LogTornWriteDuringHardRestore: "LogTornWriteDuringHardRestore",
	LogCorruptDuringHardRestore: "LogCorruptDuringHardRestore", CommittedLogFilesMissing: "CommittedLogFilesMissing",
	LogSequenceChecksumMismatch: "LogSequenceChecksumMismatch", LogReadVerifyFailure: "LogReadVerifyFailure",
	ReadVerifyFailure: "ReadVerifyFailure", DiskIO: "DiskIO", InvalidDatabase: "InvalidDatabase", DatabaseCorrupted: "DatabaseCorrupted",
	CatalogCorrupted: "CatalogCorrupted", SecondaryIndexCorrupted: "SecondaryIndexCorrupted", LVCorrupted: "LVCorrupted",
}

// String is the name and number, as in "JET_errReadVerifyFailure -1018".
func (e JetError) String() string {
	if name, ok := jetNames[e]; ok {
		return fmt.Sprintf("JET_err%s %d", name, int(e))
	}
	return fmt.Sprintf("JET_err %d", int(e))
}

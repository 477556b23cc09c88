package sqlitelog

import (
	"io"
	"time"
)

// HeaderSize is the length of a log's header; the WAL's bytes follow.
const HeaderSize = 4096

// Header is the first 4096 bytes of a closed log.
type Header struct {
	// Signature of the line of logs that this one belongs to.
	Signature Signature
	// Generation is the log's number, from 1.
	Generation uint32
	// Previous is Sum of the header before; zero in the first log of a new database.
	// In the first log after a restore it is the Sum of the last log replayed, whose
	// Signature is another.
	Previous [32]byte
	// Digest is SHA-256 of all bytes after the header.
	Digest [32]byte
	// PageSize of the database, in bytes.
	PageSize uint32
	// Frames is how many WAL frames follow, the last being a commit.
	Frames uint32
	// DatabasePages is the size of the database after that commit.
	DatabasePages uint32
	// MarkPage is the page of the one-row table that names the generation.
	MarkPage uint32
	// MarkFrame is the frame, from 1, whose commit wrote this generation's row. Frames
	// before it repeat earlier generations, when a checkpoint was busy.
	MarkFrame uint32
	// Opened and Closed are when the generation was begun and closed.
	Opened, Closed time.Time
	// CopyFirst and EarliestTarget are not zero in the last log of a full copy: its logs
	// start at CopyFirst, and it must not be replayed to less than EarliestTarget.
	CopyFirst, EarliestTarget uint32
	// Salvaged: made by Salvage from a bare WAL, not closed by its database.
	Salvaged bool
}

// Sum is SHA-256 of the encoded header. Since the header holds the digest of what
// follows, it stands for the whole file. It is what the next log's Previous holds.
func (h Header) Sum() [32]byte { panic("not written yet") }

// FileSize is the length of the whole log file.
func (h Header) FileSize() int64 { panic("not written yet") }

// ReadHeader reads and checks a log's first HeaderSize bytes, and only these.
// Errors are *LogError without a path.
func ReadHeader(r io.Reader) (Header, error) { panic("not written yet") }

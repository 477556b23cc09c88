package esetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/certkeep/certkeep/ese"
)

// Options say how a database is written. The zero value is a clean one of 4 KiB pages
// as AD CS has them, of the format of Windows Server 2012 to 2019, that was never
// logged.
type Options struct {
	PageSize            int    // 4096 (also if 0), 8192, 16384 or 32768
	Revision            uint32 // of the format 0x620; 0 is 20
	MinorRevision       uint32
	OldChecksums        bool // those of Windows Vista and before, for pages of up to 8 KiB
	WideLongIDs         bool // long values with numbers of eight bytes, as on new servers
	AutoIncrementInRoot bool // the long form of roots, as on new servers
	ExtraCatalogColumn  bool // the thirteenth fixed column that new servers have

	// Compress marks all long columns of CreateCA as compressed.
	Compress bool

	// Intrinsic is the longest value that stays in its record, in bytes; 0 is 1023.
	Intrinsic int

	// Seed makes signatures and times differ.
	Seed uint64

	// Time is when everything happened; the zero value is some day in 2025.
	Time time.Time

	// Logs is the stream of logs that the database belongs to; nil: none.
	Logs *LogStream

	// State is CleanShutdown if 0. Others need Logs and Required.
	State ese.State

	// Required and Committed are the generations that recovery needs, and the last
	// with changes.
	RequiredLow, RequiredHigh, Committed uint32

	// Backup makes it the copy that a streaming backup leaves, with a trailer.
	Backup *Backup

	// FullPrev is the last backup, as the live database remembers it; 0: none.
	FullPrevLow, FullPrevHigh uint32

	// Header and Trailer change those before they get their checksums, may be nil.
	Header, Trailer func(b []byte)

	// TempDir is where keys are sorted; empty is the system's. SortBytes is the memory
	// for sorting, of each index; 0 is 4 MiB.
	TempDir   string
	SortBytes int
}

// Backup is what a streaming backup says of itself.
type Backup struct {
	Low, High uint32 // generations of its logs

	// NewTrailer fills the fields that engines have since version 9300.
	NewTrailer bool
}

func (o Options) withDefaults() (Options, error) {
	switch o.PageSize {
	case 0:
		o.PageSize = 4096
	case 4096, 8192, 16384, 32768:
	default:
		return o, fmt.Errorf("page size of %d bytes", o.PageSize)
	}
	if o.OldChecksums && o.PageSize > 8192 {
		return o, fmt.Errorf("pages of %d bytes have no old checksums", o.PageSize)
	}
	if o.Revision == 0 {
		o.Revision = 20
	}
	if o.Intrinsic == 0 {
		o.Intrinsic = 1023
	}
	if o.Time.IsZero() {
		o.Time = time.Date(2025, 8, 19, 13, 4, 11, 123e6, time.UTC)
	}
	if o.State == 0 {
		o.State = ese.CleanShutdown
		if o.Backup != nil {
			o.State = ese.DirtyShutdown
		}
	}
	if o.SortBytes == 0 {
		o.SortBytes = 4 << 20
	}
	if (o.State != ese.CleanShutdown || o.Backup != nil) && o.Logs == nil {
		return o, fmt.Errorf("a database that was not shut down needs logs")
	}
	return o, nil
}

// Kinds of what is made of a seed.
const (
	seedDatabase = iota + 1
	seedLogs
	seedBody
	seedCertificates
)

func random(seed, kind uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, kind)) }

// LogTime is a time as ESE stores it, in UTC.
func LogTime(t time.Time) (b ese.LogTime) {
	t = t.UTC()
	ms := t.Nanosecond() / 1e6
	return ese.LogTime{byte(t.Second()), byte(t.Minute()), byte(t.Hour()), byte(t.Day()), byte(t.Month()), byte(t.Year() - 1900),
		1 | byte(ms&0x7f)<<1, byte(ms>>7) << 1}
}

// NewSignature is a signature made of a seed, without a computer's name as modern
// Windows leaves it.
func NewSignature(seed uint64, t time.Time) (s ese.Signature) {
	le.PutUint32(s[:], random(seed, seedDatabase).Uint32())
	made := LogTime(t)
	copy(s[4:], made[:])
	return s
}

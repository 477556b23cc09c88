package eseview

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/certkeep/certkeep/ese"
)

// Range is a range of log generations, both included; zeros if there is none.
type Range struct {
	First uint32 `json:"first"`
	Last  uint32 `json:"last"`
}

// String is as esentutl prints it.
func (r Range) String() string {
	return fmt.Sprintf("%d-%d (0x%x-0x%x)", r.First, r.Last, r.First, r.Last)
}

// Moment is a place in the stream of logs and the time of it.
type Moment struct {
	Position string `json:"position"` // generation:sector:byte, in hexadecimal
	Time     string `json:"time,omitempty"`
}

// Signature identifies a database or a stream of logs.
type Signature struct {
	Random   uint32 `json:"random"`
	Created  string `json:"created,omitempty"`
	Computer string `json:"computer,omitempty"`
}

// Backup is what a header remembers of a backup.
type Backup struct {
	Kind        string `json:"kind"`           // previous-full, current-full, …
	Type        string `json:"type,omitempty"` // streaming, snapshot, …
	Generations Range  `json:"generations"`
	Mark        Moment `json:"mark"`
}

// Incident counts something that happened to a database.
type Incident struct {
	Kind  string `json:"kind"`
	Count uint32 `json:"count"`
	Last  string `json:"last,omitempty"`
	Old   uint32 `json:"old,omitempty"` // before the last repair or defragmentation
}

// stamp is a time in RFC 3339, empty if it is unset.
func stamp(t ese.LogTime) string { return rfc3339(t.Time()) }

func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func moment(p ese.LogPosition, t ese.LogTime) Moment { return Moment{p.String(), stamp(t)} }

// signature is nil for that of a database that never had one.
func signature(s ese.Signature) *Signature {
	if s == (ese.Signature{}) {
		return nil
	}
	return &Signature{binary.LittleEndian.Uint32(s[:]), rfc3339(s.Created()), computer(s)}
}

// computer is the name of the machine in a signature, which modern Windows leaves
// empty.
func computer(s ese.Signature) string {
	b, _, _ := bytes.Cut(s[12:], []byte{0})
	if !utf8.Valid(b) {
		return fmt.Sprintf("%x", b)
	}
	return string(b)
}

// backupTypes are those of the header, by number.
var backupTypes = []string{"streaming", "volume snapshot", "snapshot", "surrogate"}

func backupType(n uint32) string {
	if n < uint32(len(backupTypes)) {
		return backupTypes[n]
	}
	return fmt.Sprint(n)
}

// bit is a flag and its name.
type bit struct {
	value uint32
	name  string
}

// names lists the flags that are set; those without a name in hexadecimal.
func names(flags uint32, known []bit) []string {
	list := []string{}
	for _, b := range known {
		if flags&b.value != 0 {
			list = append(list, b.name)
			flags &^= b.value
		}
	}
	if flags != 0 {
		list = append(list, fmt.Sprintf("0x%x", flags))
	}
	return list
}

var columnFlags = []bit{
	{uint32(ese.ColumnNotNull), "not-null"}, {uint32(ese.ColumnVersion), "version"}, {uint32(ese.ColumnAutoIncrement), "auto-increment"},
	{uint32(ese.ColumnMultiValued), "multi-valued"}, {uint32(ese.ColumnDefault), "default"}, {uint32(ese.ColumnEscrow), "escrow"},
	{0x40, "finalize"}, {uint32(ese.ColumnUserDefault), "user-default"}, {uint32(ese.ColumnTemplate), "template"}, {0x200, "delete-on-zero"},
	{uint32(ese.ColumnCompressed), "compressed"}, {uint32(ese.ColumnEncrypted), "encrypted"},
}

// indexFlags are those of the catalog. The three for NULLs say which keys the index
// takes.
var indexFlags = []bit{{1, "unique"}, {2, "all-nulls"}, {4, "first-null"}, {8, "some-nulls"}, {0x20, "primary"}, {0x10000, "extended-columns"}}

var logFlags = []bit{{1, "from-reserve"}, {2, "circular"}, {4, "was-circular"}}

// storage is where records have a column, which its number says.
func storage(id uint32) string {
	switch {
	case id <= 127:
		return "fixed"
	case id <= 255:
		return "variable"
	}
	return "tagged"
}

// kebab turns the words of a state or a type into one.
func kebab(s string) string { return strings.ReplaceAll(strings.ToLower(s), " ", "-") }

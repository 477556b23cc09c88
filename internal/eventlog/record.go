package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
)

// A Record is an event that was read from a log.
type Record struct {
	Number  uint32
	Time    time.Time // when it was reported, to the second
	ID      uint16    // without severity and facility, as viewers show it
	Source  string
	Strings []string
}

// EVENTLOGRECORD (winnt.h): fourteen double words, source and computer name, SID,
// strings, data, padding, and the length once more.
const (
	recordHead      = 56
	recordMin       = recordHead + 2 + 2 + 4 // two empty names, the length
	recordSignature = 0x654c664c             // "LfLe"
	maxStrings      = 256
)

var errRecord = errors.New("malformed event record")

// decodeRecords reads a buffer of ReadEventLog: whole records, one after another.
// On an error those before it are returned as well.
func decodeRecords(buf []byte) ([]Record, error) {
	var out []Record
	for len(buf) > 0 {
		if len(buf) < recordMin {
			return out, fmt.Errorf("%w: %d bytes are left", errRecord, len(buf))
		}
		size := binary.LittleEndian.Uint32(buf)
		if size < recordMin || size%4 != 0 || uint64(size) > uint64(len(buf)) {
			return out, fmt.Errorf("%w: it says that it has %d bytes, of %d", errRecord, size, len(buf))
		}
		r, err := decodeRecord(buf[:size])
		if err != nil {
			return out, err
		}
		out = append(out, r)
		buf = buf[size:]
	}
	return out, nil
}

// decodeRecord reads one; b is the whole of it.
func decodeRecord(b []byte) (Record, error) {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	if u32(4) != recordSignature || u32(len(b)-4) != uint32(len(b)) {
		return Record{}, fmt.Errorf("%w: signature or second length", errRecord)
	}
	r := Record{Number: u32(8), Time: time.Unix(int64(u32(12)), 0), ID: uint16(u32(20))}
	body := b[:len(b)-4]
	var ok bool
	if r.Source, _, ok = cutString(body[recordHead:]); !ok {
		return Record{}, fmt.Errorf("%w: source", errRecord)
	}
	n, at := int(binary.LittleEndian.Uint16(b[26:])), u32(36)
	if n == 0 {
		return r, nil
	}
	if n > maxStrings || at < recordHead || uint64(at) > uint64(len(body)) {
		return Record{}, fmt.Errorf("%w: %d strings at %d", errRecord, n, at)
	}
	rest := body[at:]
	for range n {
		var s string
		if s, rest, ok = cutString(rest); !ok {
			return Record{}, fmt.Errorf("%w: a string without end", errRecord)
		}
		r.Strings = append(r.Strings, s)
	}
	return r, nil
}

// cutString reads UTF-16 up to a zero.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	var u []uint16
	for i := 0; i+1 < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			return string(utf16.Decode(u)), b[i+2:], true
		}
		u = append(u, c)
	}
	return "", nil, false
}

// isESENT225 says whether a record is the engine's "no log files can be truncated",
// of Certificate Services' database: the first string of the engine's events is the
// program's name, with or without its extension.
func isESENT225(r Record) bool {
	if r.ID != 225 || !strings.EqualFold(r.Source, "ESENT") || len(r.Strings) == 0 {
		return false
	}
	return strings.HasPrefix(strings.ToLower(r.Strings[0]), "certsrv")
}

// slack is how far beyond the moment in question records are read, because a
// clock that is set in between puts them out of order.
const slack = 10 * time.Minute

// pick adds the matching records not before since, and says whether reading
// backwards has come far enough.
func pick(out, records []Record, since time.Time) (_ []Record, done bool) {
	since = since.Truncate(time.Second) // a record's time is
	for _, r := range records {
		if r.Time.Before(since.Add(-slack)) {
			return out, true
		}
		if isESENT225(r) && !r.Time.Before(since) {
			out = append(out, r)
		}
	}
	return out, false
}

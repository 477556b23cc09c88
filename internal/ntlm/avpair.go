package ntlm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// AV pair ids (MS-NLMP section 2.2.2.1).
const (
	avEOL             = 0
	avNbComputer      = 1
	avNbDomain        = 2
	avDNSComputer     = 3
	avDNSDomain       = 4
	avDNSTree         = 5
	avFlags           = 6
	avTimestamp       = 7
	avTargetName      = 9
	avChannelBindings = 10

	avFlagMIC = 2 // in avFlags: the AUTHENTICATE_MESSAGE has a MIC

	maxPairs = 64 // ten are defined
)

// pair is one AV_PAIR.
type pair struct {
	id    uint16
	value []byte
}

// pairs is a list of AV pairs without the one that ends it.
type pairs []pair

// parsePairs reads the list at the start of b, up to the pair that ends it.
// What follows is ignored: the list in a response is followed by padding.
func parsePairs(b []byte) (pairs, error) {
	var list pairs
	for {
		if len(b) < 4 {
			return nil, errors.New("av pairs end early")
		}
		id, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		b = b[4:]
		if id == avEOL {
			if n != 0 {
				return nil, errors.New("the last av pair has a length")
			}
			return list, nil
		}
		if n > len(b) {
			return nil, fmt.Errorf("av pair %d is longer than its message", id)
		}
		if len(list) == maxPairs {
			return nil, errors.New("too many av pairs")
		}
		if _, twice := list.get(id); twice {
			return nil, fmt.Errorf("av pair %d comes twice", id)
		}
		list = append(list, pair{id, b[:n:n]})
		b = b[n:]
	}
}

func (l pairs) get(id uint16) ([]byte, bool) {
	for _, p := range l {
		if p.id == id {
			return p.value, true
		}
	}
	return nil, false
}

// flags returns the value of avFlags, zero when there is none.
func (l pairs) flags() (uint32, error) {
	v, ok := l.get(avFlags)
	if !ok {
		return 0, nil
	}
	if len(v) != 4 {
		return 0, errors.New("av flags are not of 4 bytes")
	}
	return binary.LittleEndian.Uint32(v), nil
}

// timestamp returns the server's time as it was sent.
func (l pairs) timestamp() (t [8]byte, ok bool, err error) {
	v, ok := l.get(avTimestamp)
	if ok && len(v) != len(t) {
		return t, false, errors.New("av timestamp is not of 8 bytes")
	}
	copy(t[:], v)
	return t, ok, nil
}

func (l pairs) marshal() []byte {
	var b []byte
	for _, p := range append(l[:len(l):len(l)], pair{id: avEOL}) {
		b = binary.LittleEndian.AppendUint16(b, p.id)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(p.value)))
		b = append(b, p.value...)
	}
	return b
}

const fileTimeEpoch = 11644473600 // seconds from 1601 to 1970

// fileTime encodes t as a FILETIME: 100 ns since 1601.
func fileTime(t time.Time) (b [8]byte) {
	ticks := (t.Unix()+fileTimeEpoch)*1e7 + int64(t.Nanosecond())/100
	binary.LittleEndian.PutUint64(b[:], uint64(ticks))
	return b
}

// fromFileTime is the inverse; times that are none are the zero time.
func fromFileTime(b [8]byte) time.Time {
	ticks := binary.LittleEndian.Uint64(b[:])
	if ticks == 0 || ticks > 1<<62 {
		return time.Time{}
	}
	return time.Unix(int64(ticks/1e7)-fileTimeEpoch, int64(ticks%1e7)*100).UTC()
}

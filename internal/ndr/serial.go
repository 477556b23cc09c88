package ndr

import "encoding/binary"

// Type serialization, version 1 (MS-RPCE section 2.2.6): a structure outside a
// procedure's stub, behind a common and a private header.
const serialHeader = 16

// AppendSerialized appends object, encoded with its own alignment, as a type
// serialization stream. It is padded to a multiple of 8.
func AppendSerialized(buf, object []byte) []byte {
	padded := (len(object) + 7) &^ 7
	buf = append(buf, 1, 0x10, 8, 0, 0xcc, 0xcc, 0xcc, 0xcc)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(padded))
	buf = append(buf, 0, 0, 0, 0)
	buf = append(buf, object...)
	return append(buf, make([]byte, padded-len(object))...)
}

// SerializedSize is the length that AppendSerialized gives an object of n
// bytes.
func SerializedSize(n int) int { return serialHeader + (n+7)&^7 }

// Serialized returns the object in a type serialization stream, and what
// follows it. The object's padding is not told apart from it.
func Serialized(b []byte) (object, rest []byte, err error) {
	switch {
	case len(b) < serialHeader:
		return nil, nil, &Error{0, "serialized type is shorter than its headers"}
	case b[0] != 1 || b[1] != 0x10 || binary.LittleEndian.Uint16(b[2:]) != 8:
		return nil, nil, &Error{0, "no little-endian type serialization version 1"}
	}
	n := binary.LittleEndian.Uint32(b[8:])
	if uint64(n) > uint64(len(b)-serialHeader) {
		return nil, nil, &Error{8, "serialized type is longer than its buffer"}
	}
	end := serialHeader + int(n)
	return b[serialHeader:end:end], b[end:], nil
}

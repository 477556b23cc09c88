package csra

import (
	"encoding/binary"
	"fmt"

	"github.com/certkeep/certkeep/certadm"
)

// encodeProperty makes the blob in which GetCAProperty returns a value (MS-WCCE
// section 3.2.1.4.3.2).
func encodeProperty(v certadm.CAProperty, t certadm.PropertyType) ([]byte, error) {
	switch t {
	case certadm.PropertyLong:
		return binary.LittleEndian.AppendUint32(nil, uint32(v.Long)), nil
	case certadm.PropertyDate:
		return binary.LittleEndian.AppendUint64(nil, filetime(v.Time)), nil
	case certadm.PropertyBinary:
		return v.Binary, nil
	case certadm.PropertyString:
		return appendString(nil, v.Text), nil
	}
	return nil, certadm.EInvalidArg
}

// decodeProperty is the inverse.
func decodeProperty(b []byte, t certadm.PropertyType) (v certadm.CAProperty, err error) {
	v.Type = t
	switch t {
	case certadm.PropertyLong:
		if len(b) != 4 {
			return v, &malformed{fmt.Sprintf("a number of %d bytes", len(b))}
		}
		v.Long = int32(binary.LittleEndian.Uint32(b))
	case certadm.PropertyDate:
		if len(b) != 8 {
			return v, &malformed{fmt.Sprintf("a time of %d bytes", len(b))}
		}
		v.Time = fromFiletime(binary.LittleEndian.Uint64(b))
	case certadm.PropertyBinary:
		v.Binary = b
	case certadm.PropertyString:
		v.Text, err = parseString(b)
	default:
		err = certadm.EInvalidArg
	}
	return v, err
}

package dcom

import "github.com/certkeep/certkeep/internal/ndr"

// IRemoteSCMActivator's messages (MS-DCOM section 3.1.2.5.2.3).

// encodeCreateRequest appends RemoteCreateInstance's parameters after ORPCTHIS:
// no outer object, and the properties.
func encodeCreateRequest(e *ndr.Encoder, properties []byte) {
	e.Null()
	e.Referent()
	encodePointer(e, properties)
}

// decodeCreateRequest reads a whole request. The properties are nil when the
// request has none, or asks for aggregation.
func decodeCreateRequest(d *ndr.Decoder) (this orpcThis, properties []byte) {
	this = decodeThis(d)
	if d.Pointer() {
		decodePointer(d)
		return this, nil
	}
	if d.Pointer() {
		properties = decodePointer(d)
	}
	return this, properties
}

// encodeCreateReply appends RemoteCreateInstance's answer after ORPCTHAT.
func encodeCreateReply(e *ndr.Encoder, properties []byte, hr HResult) {
	if properties == nil {
		e.Null()
	} else {
		e.Referent()
		encodePointer(e, properties)
	}
	e.U32(uint32(hr))
}

// decodeCreateReply reads RemoteCreateInstance's answer after ORPCTHAT. A
// failure is an HResult.
func decodeCreateReply(d *ndr.Decoder) (activationReply, error) {
	var properties []byte
	has := d.Pointer()
	if has {
		properties = decodePointer(d)
	}
	hr := HResult(d.U32())
	if d.Err() != nil {
		return activationReply{}, d.Err()
	}
	if hr.failed() { // that not all interfaces are there is a success
		return activationReply{}, hr
	}
	if !has {
		return activationReply{}, &ndr.Error{Offset: d.Offset(), Reason: "activation reply without properties"}
	}
	return unpackReply(properties)
}

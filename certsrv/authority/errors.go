package authority

import (
	"errors"
	"fmt"
)

// Reason is the rule that a refused request broke.
type Reason string

// The reasons, as they appear in a [RequestError].
const (
	ReasonTooLarge  Reason = "too large"
	ReasonMalformed Reason = "malformed"
	ReasonSignature Reason = "bad signature"
	ReasonAlgorithm Reason = "signature algorithm"
	ReasonKey       Reason = "weak or unsupported key"
	ReasonSubject   Reason = "subject"
	ReasonAltName   Reason = "subject alternative name"
	ReasonExtension Reason = "requested extension"
	ReasonCA        Reason = "CA certificate"
)

// ErrRequest is what every [RequestError] is, for errors.Is.
var ErrRequest = errors.New("certificate request refused")

// RequestError says why a request is refused. Its text is meant for the
// requester: it quotes no more than a bounded, printable part of the request.
type RequestError struct {
	Reason Reason
	Detail string
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("certificate request refused (%s): %s", e.Reason, e.Detail)
}

// Is makes errors.Is(err, ErrRequest) true.
func (e *RequestError) Is(target error) bool { return target == ErrRequest }

func refuse(r Reason, format string, args ...any) error {
	return &RequestError{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

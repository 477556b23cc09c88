package csra

import (
	"errors"

	"github.com/certkeep/certkeep/internal/dcerpc"
)

// fromFault makes an HRESULT of a fault that the server answered with, and leaves
// other errors alone.
func fromFault(err error) error {
	var f *dcerpc.Fault
	if !errors.As(err, &f) {
		return err
	}
	return &remoteFault{code: faultCode(f.Status), fault: err}
}

package csra

import (
	"context"
	"fmt"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

// proxy makes calls on the server's object. What a peer answers is in the
// decoder, which is good until the buffer that was passed is used again.
type proxy interface {
	Call(ctx context.Context, opnum uint16, buffer []byte, args func(*ndr.Encoder)) (*ndr.Decoder, error)
}

// calls makes single calls of ICertAdminD(2). A failure that the server returned
// is, or wraps, a certadm.HRESULT; any other error is of the connection.
type calls struct {
	p  proxy
	d2 bool // ICertAdminD2
}

// errNoD2 is the answer to methods that only ICertAdminD2 has.
var errNoD2 = fmt.Errorf("the server has no ICertAdminD2: %w", certadm.ENotImpl)

// call makes a call and reads its answer: params its parameters, if there are
// any, and then the HRESULT.
func (c calls) call(ctx context.Context, op uint16, args func(*ndr.Encoder), params func(*ndr.Decoder) error) error {
	if op > lastOpnumOfD && !c.d2 {
		return errNoD2
	}
	if args == nil {
		args = func(*ndr.Encoder) {}
	}
	d, err := c.p.Call(ctx, op, nil, args)
	if err != nil {
		return fromFault(err)
	}
	if params != nil {
		err = params(d)
	}
	return result(d, err)
}

// result ends the reading of an answer. What the server says of its failure comes
// first, then what is wrong with the parameters.
func result(d *ndr.Decoder, err error) error {
	code := certadm.HRESULT(d.U32())
	switch {
	case d.Err() != nil:
		return d.Err()
	case code != certadm.SOK:
		return code
	}
	return err
}

func (c calls) prepare(ctx context.Context, a prepareArgs) error {
	return c.call(ctx, opBackupPrepare, func(e *ndr.Encoder) { encodePrepare(e, a) }, nil)
}

// simple makes a call without parameters.
func (c calls) simple(ctx context.Context, op uint16) error { return c.call(ctx, op, nil, nil) }

// list makes a call that returns a list, in WCHARs.
func (c calls) list(ctx context.Context, op uint16) (units []uint16, err error) {
	err = c.call(ctx, op, nil, func(d *ndr.Decoder) (err error) { units, err = decodeList(d); return err })
	if err != nil {
		return nil, err
	}
	return units, nil
}

func (c calls) openFile(ctx context.Context, path string) (size int64, err error) {
	err = c.call(ctx, opBackupOpenFile, func(e *ndr.Encoder) { e.UniqueString(&path) }, func(d *ndr.Decoder) error {
		if size = int64(d.U64()); size < 0 {
			return &malformed{fmt.Sprintf("a file of %d bytes", uint64(size))}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return size, nil
}

// read returns the reply's array, which is a part of buffer if that is large
// enough, and cbRead.
func (c calls) read(ctx context.Context, cb int32, buffer []byte) (buf []byte, n int32, err error) {
	d, err := c.p.Call(ctx, opBackupReadFile, buffer, func(e *ndr.Encoder) { e.I32(cb) })
	if err != nil {
		return nil, 0, fromFault(err)
	}
	buf, n = decodeRead(d)
	if len(buf) != int(cb) || n < 0 || n > cb {
		err = &malformed{fmt.Sprintf("%d bytes asked for, %d returned, of which %d are to count", cb, len(buf), n)}
	}
	if err = result(d, err); err != nil {
		return nil, 0, err
	}
	return buf, n, nil
}

// readOverhead is what a reply of BackupReadFile has besides the bytes: ORPCTHAT
// and the three numbers, and some more should a server send extensions.
const readOverhead = 64

// onAuthority makes a call that takes the authority's name and returns a number.
func (c calls) number(ctx context.Context, op uint16, authority *string) (v uint32, err error) {
	err = c.call(ctx, op, func(e *ndr.Encoder) { e.UniqueString(authority) }, func(d *ndr.Decoder) error { v = d.U32(); return nil })
	if err != nil {
		return 0, err
	}
	return v, nil
}

func (c calls) ping(ctx context.Context, op uint16, authority *string) error {
	return c.call(ctx, op, func(e *ndr.Encoder) { e.UniqueString(authority) }, nil)
}

// blob makes a call that takes the authority's name and some numbers, and returns
// a CERTTRANSBLOB, a copy.
func (c calls) blob(ctx context.Context, op uint16, authority *string, numbers ...uint32) (b []byte, err error) {
	err = c.call(ctx, op, func(e *ndr.Encoder) {
		e.UniqueString(authority)
		for _, n := range numbers {
			e.U32(n)
		}
	}, func(d *ndr.Decoder) (err error) {
		b, err = decodeBlob(d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), b...), nil
}

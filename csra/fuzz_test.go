package csra

import (
	"bytes"
	"context"
	"testing"
	"unicode/utf8"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

// What BackupPrepare's parameters say survives being encoded again, and the
// parameters end where they are said to.
func FuzzPrepare(f *testing.F) {
	f.Add(stub(f, requestVectors[1].want))
	f.Add(stub(f, requestVectors[1].want[:len(requestVectors[1].want)-16]+"00000000efbeadde"))
	f.Add(words(0, 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := ndr.NewDecoder(b)
		a := decodePrepare(d)
		if d.Err() != nil {
			return
		}
		e := ndr.NewEncoder(nil)
		encodePrepare(e, a)
		again := decodePrepare(ndr.NewDecoder(e.Bytes()))
		if (a.authority == nil) != (again.authority == nil) || a.authority != nil && *a.authority != *again.authority ||
			a.grbitJet != again.grbitJet || a.flags != again.flags || a.annotation != again.annotation || a.clientUnit != again.clientUnit {
			t.Errorf("%x is %+v, and then %+v", b, a, again)
		}
		if kind, ok := a.typeOf(); ok != (kind == certadm.BackupFull || kind == certadm.BackupLogsOnly) {
			t.Errorf("%+v is a backup of type %d, %v", a, kind, ok)
		}
	})
}

// A property that a server returns is refused, or is the same when it is encoded
// again: a client's copy of a set's companions is what the server has.
func FuzzProperty(f *testing.F) {
	for _, v := range []certadm.CAProperty{
		{Type: certadm.PropertyLong, Long: -7}, {Type: certadm.PropertyDate}, {Type: certadm.PropertyBinary, Binary: []byte{0x30, 0}},
		{Type: certadm.PropertyString, Text: "Żółw 🐢"},
	} {
		b, err := encodeProperty(v, v.Type)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, int32(v.Type))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, int32(certadm.PropertyDate))
	f.Add([]byte{0, 0xd8, 0, 0}, int32(certadm.PropertyString))
	f.Fuzz(func(t *testing.T, b []byte, typ int32) {
		v, err := decodeProperty(b, certadm.PropertyType(typ))
		if err != nil {
			return
		}
		if !utf8.ValidString(v.Text) {
			t.Errorf("%x is %q", b, v.Text)
		}
		again, err := encodeProperty(v, certadm.PropertyType(typ))
		if err != nil {
			t.Fatalf("%x is %+v: %v", b, v, err)
		}
		w, err := decodeProperty(again, certadm.PropertyType(typ))
		if err != nil || w.Long != v.Long || w.Text != v.Text || !bytes.Equal(w.Binary, v.Binary) || !w.Time.Equal(v.Time) {
			t.Errorf("%x is %+v, and then %+v, %v", b, v, w, err)
		}
	})
}

// Whatever one answer of a server is, the client's method returns an error or
// something that makes sense, and the client goes on.
func FuzzClient(f *testing.F) {
	for i, s := range []string{vectorOpened, vectorRead, vectorList, vectorNone, vectorDenied, vectorState} {
		f.Add([]uint16{24, 25, 22, 23, 29, 19}[i], stub(f, s)[thatSize:])
	}
	f.Add(opGetCAProperty, words(4, 0x20000, 4, 'x', 0))
	f.Add(opGetLocations, stub(f, vectorList)[thatSize:])
	f.Add(opBackupPrepare, words(0))
	f.Fuzz(func(t *testing.T, op uint16, b []byte) {
		c, d := directClient(&settings{name: "Fake CA"}, newFake())
		defer c.Close()
		once := true
		c.calls.p = answering{d, func(o uint16, _ *ndr.Decoder, out *ndr.Encoder) (bool, error) {
			if o != op || !once {
				return false, nil
			}
			once = false
			out.Raw(b)
			return true, nil
		}}
		ctx := t.Context()
		check := func(err error) {
			if err != nil && (certadm.CodeOf(err) == certadm.SOK || certadm.CodeOf(err) == certadm.RPCServerUnavailable) {
				t.Errorf("method %d answers %x: %v", op, b, err)
			}
		}
		check(backUp(ctx, c))
		for _, call := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := c.IsServerOnline(ctx); return err },
			func(ctx context.Context) error { _, err := c.DatabaseLocations(ctx); return err },
			func(ctx context.Context) error { _, err := c.DynamicFiles(ctx); return err },
			func(ctx context.Context) error { _, err := c.Identity(ctx); return err },
			func(ctx context.Context) error { _, err := c.CRL(ctx); return err },
			func(ctx context.Context) error { _, err := c.MyRoles(ctx); return err },
			func(ctx context.Context) error { _, err := c.ServerControl(ctx, 2); return err },
		} {
			check(call(ctx))
		}
	})
}

package dcom

import (
	"reflect"
	"testing"

	"github.com/certkeep/certkeep/internal/ndr"
)

// TestUnpackRequest reads requests of other clients than this one: with
// properties that nobody knows, in another order, twice, or with parts missing.
func TestUnpackRequest(t *testing.T) {
	good := activationRequest{clsid: adminCLSID, iids: []ndr.GUID{admin2IID, adminIID}, version: Version{5, 4}, protseqs: []uint16{31, TowerTCP}}
	other := good
	other.clsid = testCLSID
	instantiation := property{propInstantiation, good.instantiation()}
	request := property{propScmRequest, good.scmRequest()}
	object := func(f func(*ndr.Encoder)) []byte { return encoded(f) }
	instantiate := func(count, table uint32, iids ...ndr.GUID) property {
		return property{propInstantiation, object(func(e *ndr.Encoder) {
			e.GUID(adminCLSID)
			for _, v := range []uint32{0, 0, 0, count, 0} {
				e.U32(v)
			}
			if table == 0 {
				e.Null()
			} else {
				e.Referent()
			}
			e.U32(0)
			encodeVersion(e, Version{5, 4})
			if table != 0 {
				e.U32(table)
			}
			for _, iid := range iids {
				e.GUID(iid)
			}
		})}
	}
	scm := func(reserved bool, n, table uint32) property {
		return property{propScmRequest, object(func(e *ndr.Encoder) {
			if reserved {
				e.Referent()
			} else {
				e.Null()
			}
			e.Referent()
			if reserved {
				e.U32(0xdddddddd)
			}
			e.U32(2)
			e.U16(uint16(n))
			e.Referent()
			e.U32(table)
			e.U16(31)
			e.U16(TowerTCP)
		})}
	}
	noTCP := good
	noTCP.protseqs = nil
	for _, tt := range []struct {
		name  string
		props []property
		want  *activationRequest // nil: refused
	}{
		{"the least", []property{instantiation, request}, &good},
		{"another order", []property{request, instantiation}, &good},
		{"unknown ones between", []property{{short(0x1b9), []byte("junk")}, instantiation, {short(0x777), nil}, request}, &good},
		{"the first of two counts", []property{instantiation, {propInstantiation, other.instantiation()}, request}, &good},
		{"a reserved pointer", []property{instantiation, scm(true, 2, 2)}, &good},
		{"no protocols", []property{instantiation, {propScmRequest, object(func(e *ndr.Encoder) {
			e.Null()
			e.Referent()
			e.U32(2)
			e.U16(0)
			e.Null()
		})}}, &noTCP},
		{"ten properties", append(make([]property, 8), instantiation, request), &good},
		{"eleven properties", append(make([]property, 9), instantiation, request), nil},
		{"no instantiation", []property{request}, nil},
		{"no request", []property{instantiation}, nil},
		{"no properties", nil, nil},
		{"an empty instantiation", []property{{propInstantiation, nil}, request}, nil},
		{"an empty request", []property{instantiation, {propScmRequest, nil}}, nil},
		{"no remote request", []property{instantiation, {propScmRequest, make([]byte, 8)}}, nil},
		{"no interfaces", []property{instantiate(0, 0), request}, nil},
		{"interfaces without a table", []property{instantiate(2, 0), request}, nil},
		{"fewer interfaces than promised", []property{instantiate(2, 1, adminIID), request}, nil},
		{"a table that is too long", []property{instantiate(1000, 1000, adminIID), request}, nil},
		{"fewer protocols than promised", []property{instantiation, scm(false, 3, 2)}, nil},
		{"very many protocols", []property{instantiation, scm(false, 0xffff, 0xffff)}, nil},
	} {
		got, err := unpackRequest(packProperties(iidPropertiesIn, clsidPropertiesIn, tt.props))
		switch {
		case tt.want == nil && err == nil:
			t.Errorf("%s: read as %+v", tt.name, got)
		case tt.want != nil && (err != nil || !reflect.DeepEqual(got, *tt.want)):
			t.Errorf("%s: read as %+v, %v, want %+v", tt.name, got, err, *tt.want)
		}
	}
}

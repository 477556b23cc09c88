package dcom

import (
	"encoding/binary"
	"net"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/certkeep/certkeep/internal/ndr"
)

// TowerTCP is the tower id of ncacn_ip_tcp.
const TowerTCP = 7

// StringBinding is an address: "host" in a resolver's bindings, "host[port]"
// in an exporter's (MS-DCOM section 2.2.19.3).
type StringBinding struct {
	Tower   uint16
	Address string
}

// SecurityBinding is an authentication service that a server has, and the
// principal name to use for it, often empty (MS-DCOM section 2.2.19.4).
type SecurityBinding struct {
	Service   uint16
	Principal string
}

// Bindings is a DUALSTRINGARRAY (MS-DCOM section 2.2.19).
type Bindings struct {
	Strings  []StringBinding
	Security []SecurityBinding
}

// units returns the array and the index of the first security binding.
func (b Bindings) units() (u []uint16, security int) {
	for _, s := range b.Strings {
		u = append(u, s.Tower)
		u = append(append(u, utf16.Encode([]rune(s.Address))...), 0)
	}
	if len(b.Strings) == 0 {
		u = append(u, 0) // the smallest array is four zeros
	}
	u = append(u, 0)
	security = len(u)
	for _, s := range b.Security {
		u = append(u, s.Service, 0xffff)
		u = append(append(u, utf16.Encode([]rune(s.Principal))...), 0)
	}
	if len(b.Security) == 0 {
		u = append(u, 0)
	}
	return append(u, 0), security
}

// pack returns the form inside an OBJREF, which is no NDR.
func (b Bindings) pack(buf []byte) []byte {
	u, security := b.units()
	buf = binary.LittleEndian.AppendUint16(buf, uint16(len(u)))
	buf = binary.LittleEndian.AppendUint16(buf, uint16(security))
	for _, c := range u {
		buf = binary.LittleEndian.AppendUint16(buf, c)
	}
	return buf
}

// encode appends the NDR form: a conformant structure.
func (b Bindings) encode(e *ndr.Encoder) {
	u, security := b.units()
	e.U32(uint32(len(u)))
	e.U16(uint16(len(u)))
	e.U16(uint16(security))
	e.Units(u)
}

// unpackBindings reads the form inside an OBJREF.
func unpackBindings(d *ndr.Decoder) Bindings {
	n, security := int(d.U16()), int(d.U16())
	return parseBindings(d, d.Units(n), security)
}

func decodeBindings(d *ndr.Decoder) Bindings {
	max := d.Count(2, 1<<16-1)
	n, security := int(d.U16()), int(d.U16())
	u := d.Units(max)
	if d.Err() == nil && n > len(u) {
		d.Fail("bindings of %d units in an array of %d", n, len(u))
	}
	if d.Err() != nil {
		return Bindings{}
	}
	return parseBindings(d, u[:n], security)
}

func parseBindings(d *ndr.Decoder, u []uint16, security int) (b Bindings) {
	if d.Err() == nil && security > len(u) {
		d.Fail("security bindings at %d of %d units", security, len(u))
	}
	if d.Err() != nil {
		return b
	}
	for s := u[:security]; len(s) > 0 && s[0] != 0; {
		address, rest, ok := cutString(s[1:])
		if !ok {
			d.Fail("string binding without its end")
			return Bindings{}
		}
		b.Strings = append(b.Strings, StringBinding{s[0], address})
		s = rest
	}
	for s := u[security:]; len(s) > 0 && s[0] != 0; {
		if len(s) < 2 {
			d.Fail("security binding without its end")
			return Bindings{}
		}
		name, rest, ok := cutString(s[2:])
		if !ok {
			d.Fail("security binding without its end")
			return Bindings{}
		}
		b.Security = append(b.Security, SecurityBinding{s[0], name})
		s = rest
	}
	return b
}

// cutString returns what comes before the first NUL, and what comes after it.
func cutString(u []uint16) (string, []uint16, bool) {
	for i, c := range u {
		if c == 0 {
			return string(utf16.Decode(u[:i])), u[i+1:], true
		}
	}
	return "", nil, false
}

// endpoint takes "host[port]" apart.
func endpoint(address string) (host string, port int, ok bool) {
	open := strings.LastIndexByte(address, '[')
	if open < 0 || !strings.HasSuffix(address, "]") {
		return "", 0, false
	}
	p, err := strconv.ParseUint(address[open+1:len(address)-1], 10, 16)
	if err != nil || p == 0 {
		return "", 0, false
	}
	return address[:open], int(p), true
}

// Port returns the TCP port of an exporter's bindings: that of the binding for
// host if there is one, else the first. Nothing else of them is of use to a
// client: it stays on the host that it dialled, because a binding that points
// elsewhere would send its credentials there.
func (b Bindings) Port(host string) (port int, ok bool) {
	for _, s := range b.Strings {
		h, p, valid := endpoint(s.Address)
		if s.Tower != TowerTCP || !valid {
			continue
		}
		if sameHost(h, host) {
			return p, true
		}
		if !ok {
			port, ok = p, true
		}
	}
	return port, ok
}

// Service returns the service class of the principal name for host that a
// security binding names, or def. A name for another host is not used; neither
// is one of a service that has nothing to do with DCOM, for a server must not
// be able to choose what its clients prove to it.
func (b Bindings) Service(host, def string) string {
	for _, s := range b.Security {
		service, h, ok := strings.Cut(s.Principal, "/")
		if !ok || !sameHost(h, host) {
			continue
		}
		for _, known := range []string{"RPCSS", "host", "RestrictedKrbHost"} {
			if strings.EqualFold(service, known) {
				return known
			}
		}
	}
	return def
}

func sameHost(a, b string) bool {
	a, b = strings.Trim(a, "[]"), strings.Trim(b, "[]")
	if x, y := net.ParseIP(a), net.ParseIP(b); x != nil || y != nil {
		return x != nil && x.Equal(y)
	}
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

package dcom

import (
	"context"
	"slices"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// resolverLevel asks privacy of everything but the two methods that clients
// call before they authenticate (MS-DCOM section 3.2.4.1.1.1).
func resolverLevel(op uint16) dcerpc.Level {
	if op == opServerAlive || op == opServerAlive2 {
		return dcerpc.LevelNone
	}
	return dcerpc.LevelPrivacy
}

// resolve is IObjectExporter.
func (s *Server) resolve(_ context.Context, c *dcerpc.Call) ([]byte, error) {
	out := ndr.NewEncoder(c.Reply[:0])
	switch c.Opnum {
	case opServerAlive:
		out.U32(0)
	case opServerAlive2:
		aliveReply{version: Current, bindings: s.resolverBindings(c.Conn.LocalAddr())}.encode(out)
	case opResolveOxid, opResolveOxid2:
		r, err := decodeOxidRequest(c.Stub)
		if err != nil {
			return nil, err
		}
		reply, status := oxidReply{version: Current}, uint32(statusInvalidOXD)
		if r.oxid == s.oxid && slices.Contains(r.protseqs, TowerTCP) {
			reply.exporter = s.exporterBindings(c.Conn.LocalAddr())
			reply.remUnknown = s.remUnknown
			reply.authnHint = uint32(dcerpc.LevelPrivacy)
			status = 0
		}
		reply.encode(out, c.Opnum == opResolveOxid2, status)
	case opSimplePing:
		d := ndr.NewDecoder(c.Stub)
		set := d.U64()
		if d.Err() != nil {
			return nil, d.Err()
		}
		out.U32(uint32(s.table.simplePing(set, s.caller(c))))
	case opComplexPing:
		r, err := decodePing(c.Stub)
		if err != nil {
			return nil, err
		}
		set, status := s.table.complexPing(r, s.caller(c))
		encodePingReply(out, set, uint32(status))
	default:
		return nil, &dcerpc.Fault{Status: dcerpc.StatusOpRange}
	}
	return out.Bytes(), nil
}

// Package dcom is the part of DCOM (MS-DCOM) that one object per connection to
// a service needs, as client and as server: the resolver (IObjectExporter),
// activation by RemoteCreateInstance, calls on interfaces, reference counts,
// and pings.
//
// A client calls [Activate] and then methods of a [Proxy]. A server describes
// its [Class] values to [NewServer] and serves the interfaces that come back
// with package dcerpc; resolver and exporter may share one port.
//
// Everything but ServerAlive and ServerAlive2 travels with packet privacy. What
// a peer sends is never trusted with more than it has proven: a server's
// bindings move the client to another port, never to another host, and a
// server's interface pointers (IPIDs) are of use only to the principal that
// activated the object.
package dcom

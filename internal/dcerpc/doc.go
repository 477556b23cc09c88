// Package dcerpc is the connection-oriented DCE/RPC protocol (C706 chapter 12,
// with the extensions of MS-RPCE), as client and as server, over TCP.
//
// A connection carries one call at a time. It is bound to interfaces
// (presentation contexts), and has any number of security contexts, each a
// [gss.Context] with ciphers and sequence numbers of its own. Stubs travel in
// fragments, each signed and sealed by itself; package ndr encodes what is in
// them. Only NDR 2.0 in little-endian order is spoken.
//
// # Memory
//
// What a peer can make this package allocate is bounded before it is allocated:
// a buffer for PDUs of at most 64 KiB that grows as bytes arrive and not as
// lengths promise, one for fragments to be sent, and one stub in each direction
// within the limits that were set. See [Limits.PerConnection].
package dcerpc

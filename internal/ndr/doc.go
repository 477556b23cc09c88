// Package ndr encodes and decodes Network Data Representation, version 2.0,
// little-endian (C706 chapter 14), as far as DCOM's interfaces use it.
//
// There is no reflection and no interface compiler: a procedure's stub is
// written, and read, parameter by parameter, in the order of its IDL. Alignment
// counts from the start of the stub. A pointer's referent comes where the
// pointer stands and what it points to where the IDL puts it: for a parameter
// directly after it, for members of a structure after the whole structure.
package ndr

// Package ese reads files of the Extensible Storage Engine, which keeps the
// database of AD CS. So far it reads the headers of transaction logs: which
// database a log belongs to, and which log it follows.
//
// All numbers are little-endian. What is read is never trusted: sizes are fixed,
// and a header counts only if its checksum is right.
package ese

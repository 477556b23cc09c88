// Package eseview shows files of the Extensible Storage Engine to somebody who knows
// esentutl: what a file is, its header, the tables and rows of a database, and what a
// check finds. It only reads.
//
// A [Group] is what belongs together: a directory, or the files that were named one by
// one. Its files are opened when they are read, a few at a time, by [Files].
//
// Every type that is printed as JSON names its fields in snake case. An [Anonymous]
// report is built from numbers and known words alone, never by striking things out of
// another report: what it does not name it cannot give away.
package eseview

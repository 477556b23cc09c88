// Package ese reads files of the Extensible Storage Engine ("JET Blue"), which
// keeps the database of AD CS: databases (.edb), transaction logs, checkpoints. It
// needs neither Windows nor the engine, and never writes.
//
//	db, err := ese.Open(file, size)
//	table, err := db.Table("Certificates")
//	for row, err := range table.Rows() {
//		serial, err := row.Text("$SerialNumber")
//	}
//
// # What can be trusted
//
// Every page that is read is checked against its checksum first ([CheckPage]). A
// page with one wrong bit, which the checksum can locate, is corrected in memory and
// a note is left ([Database.Notes]); any other damaged page is an error of the rows
// on it, and reading goes on behind it.
//
// A database that was not shut down ([Database.State]), which every backup made
// while the engine runs is, lacks what stands only in the logs. It is read as far as
// it goes: rows can be missing, old, or there twice. Only the engine's recovery
// makes it exact; this package does not replay logs.
//
// # Limits
//
// All numbers are little-endian. No count or length from a file is believed: every
// walk through a tree is bounded in depth and visits a page once, long values are
// read piece by piece. What cannot be read for certain is an error, never a guess:
// values compressed by other methods than 7-bit and XPRESS, and encrypted ones, are
// [ErrUnsupported].
//
// A [Database] may be used by several goroutines if its io.ReaderAt may.
package ese

// Package esetest writes databases, logs and checkpoints of the Extensible Storage
// Engine, for tests and benchmarks only: nothing that it writes was ever open in the
// engine, and nothing that matters must be kept in it.
//
//	w, err := esetest.Create(file, esetest.Options{})
//	t, err := w.CreateTable(esetest.TableSpec{Name: "T", Columns: …, Indexes: …})
//	row := t.Row()
//	row.Uint32(0, 1)
//	err = t.Insert(row)
//	info, err := w.Close()
//
// A [Writer] is a bulk loader. Rows must be inserted in the order of the primary key;
// pages are written once, when they are full. Memory does not grow with the rows: what
// secondary indexes need is sorted in temporary files. The same calls with the same
// [Options] make the same bytes.
//
// [CA] is a Writer for the database of Certificate Services. [WriteBackup] lays out what
// "certutil -backupDB" leaves, [WriteLive] the directory of an authority that was
// stopped or died. [LogStream] makes logs and checkpoints.
//
// It shares no code with the reader, package ese, except for the names of types,
// so that each can be held against the other, and both against libesedb.
//
// # What it cannot do
//
//   - Keys of Unicode columns are the engine's only in form: the engine takes them from
//     Windows' collation. They order by upper-case code units here, and only indexes
//     depend on them.
//   - Segments of logs have checksums and places as the engine gives them, but random
//     bytes where log records would be: they cannot be replayed.
//   - Bodies of logs of version 7 are filled with the engine's pattern for unused space.
//   - Names of AD CS's indexes, which of its columns are fixed, variable or tagged,
//     and the flags of its columns are guesses; no database of it was at hand.
package esetest

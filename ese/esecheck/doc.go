// Package esecheck checks a database of the Extensible Storage Engine together with
// its logs and its checkpoint, as far as that is possible without replaying the logs:
// what the engine would check before it opens or restores them, in the same order.
//
// What was found is a list of findings, each with the file, the page or generation, the
// offset, and the error that the engine would give. The [Verdict] is what they come to.
// "No fault found" is as much as can be said: only the engine's recovery proves that the
// logs can be replayed.
//
// A copy that was made while the engine ran is of pages from different moments. That
// trees in it do not fit together, and rows are old, missing or there twice, is normal:
// those are notes, never damage.
package esecheck

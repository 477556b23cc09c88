// Package backupset is what one backup set is: its [Manifest], its [Receipt],
// the [Chain] of sets that a restore needs, and the [Store] that keeps sets.
//
// A set is a directory-like collection of files, taken from one certification
// authority in one session: a full set holds the database, the logs that cover
// the copying, and the restore map (certbkxp.dat); an incremental set holds
// logs alone. The manifest names every file with its size and SHA-256, and says
// what the set does not hold. It is written with the set, and never changed.
// The receipt is written afterwards, when the server has truncated its logs
// and ended the session; a set without a good receipt is unconfirmed, and never
// becomes the parent of another.
//
// # Taking a set
//
//	w, err := store.Create(ctx, backupset.CreateOptions{Name: "monday"})
//	defer w.Abort() // does nothing after Commit
//	f, err := w.CreateFile(ctx, backupset.RoleDatabase, "CA.db", size)
//	n, sum, err := backupset.Copy(ctx, f, src)
//	err = f.Close()
//	…
//	err = w.Commit(ctx, manifest)           // durable, and visible as a whole
//	err = store.PutReceipt(ctx, id, receipt) // after truncation and End
//
// # Formats
//
// Manifest and receipt are JSON objects, indented by two spaces, whose last
// member is the SHA-256 of every byte before that member's line, so that
//
//	head -n -2 certkeep.json | sha256sum
//
// checks one without certkeep. Any changed byte is found: before the line by
// the digest, in it and after it because those bytes have only one spelling.
// Members that this version does not know are ignored, and a schema number
// higher than [Schema] is refused ([ErrNewer]): a schema number grows when an
// old reader would misunderstand, not when something is merely added.
//
// Everything that is read is taken for hostile: sizes, counts and strings are
// bounded, and names are checked by [ValidateName] before they meet a file
// system.
package backupset

import "errors"

// Schema is the version of manifests and receipts that this package writes,
// and the newest that it reads.
const Schema = 1

// What goes wrong with sets. Errors wrap these, with the name of the file or
// set concerned.
var (
	// ErrDamaged: the bytes are not what was written. Exit code 4.
	ErrDamaged = errors.New("damaged")
	// ErrNotFound: there is no such set, or no such file in it.
	ErrNotFound = errors.New("not found")
	// ErrExists: a set is already there, and replacing it was not asked for.
	ErrExists = errors.New("already there")
	// ErrUnconfirmed: the set has no good receipt.
	ErrUnconfirmed = errors.New("unconfirmed")
	// ErrNewer: written by a newer version, in a schema that this one does not
	// know.
	ErrNewer = errors.New("written by a newer version of certkeep")
	// ErrChain: a set that is needed is missing, or does not fit.
	ErrChain = errors.New("chain is broken")
	// ErrAmbiguous: several sets answer to that name.
	ErrAmbiguous = errors.New("ambiguous")
	// ErrSealed: the contents of the set cannot be read with the keys at hand.
	ErrSealed = errors.New("sealed")
)

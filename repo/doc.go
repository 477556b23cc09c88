// Package repo keeps backup sets in a repository: encrypted, deduplicated, and readable
// for nobody but those who hold a restore identity. It is a backupset.Store.
//
// # Who holds what
//
// Packs, which hold what sets consist of, are sealed to the repository's key, an age X25519
// recipient. Its identity is sealed to each restore recipient separately; nobody else
// has it. A host that takes backups has a [HostKey]: the keys that manifests and chunk lists of
// its authorities are sealed to, a key for the ids of chunks, and an Ed25519 key to sign with.
// None opens a pack. The root key, whose seed is sealed to the repository's key, certifies
// hosts: enrolling or revoking one takes a restore identity.
//
// # What is where
//
// All objects are written once and never changed. docs/repository-format.md describes every
// byte; in short:
//
//	certkeep-repository.json   what it is: version, id, public root key
//	journal/AUTHOR/SEQ         signed, chained entries: all that is asserted
//	meta/XX/SHA256             manifests, receipts, layouts, chunk lists, tables, sealed keys
//	packs/XX/ID                sealed segments of chunks
//	leases/HOST/RUN-N          runs on their way
//
// The journals (package journal) are the truth: an object that no entry refers to is
// garbage. Segments prove themselves by their hash, so they may be moved by anyone.
//
// # Many writers, and prune
//
// There are no locks. A run publishes a lease before it looks at what is stored, and renews
// it; it refuses to publish its set if the lease ever lapsed. A prune keeps whatever a
// run with an unexpired lease may refer to. It deletes in two steps: what is found dead is
// noted first, and what was noted long enough ago is looked at anew before it goes. All
// times that are compared come from the store.
package repo

package repo

import (
	"time"

	"github.com/certkeep/certkeep/repo/internal/journal"
)

const schema = 1

// Ref names an object of metadata: meta/XX/SHA256.
type Ref struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

func (r Ref) key() string {
	if len(r.SHA256) < 2 {
		return metaDir + "none"
	}
	return metaDir + r.SHA256[:2] + "/" + r.SHA256
}

const metaDir = "meta/"

// Roles of hosts, and what each may do.
const (
	RoleBackup    = "backup"    // write sets, receipts and proofs
	RoleRetention = "retention" // forget sets, and move segments
)

// The records of journals. Each is a JSON object with its type; unknown types are passed over.
const (
	typeKey       = "repository-key"
	typeSlot      = "recipient"
	typeSlotGone  = "recipient-removed"
	typeHost      = "host"
	typeHostGone  = "host-revoked"
	typeCA        = "ca"
	typeSet       = "set"
	typePartial   = "partial"
	typeWithdrawn = "withdrawn"
	typeReceipt   = "receipt"
	typeProof     = "proof"
	typeForget    = "forget"
	typeMoved     = "moved"
	typeLayout    = "layout"
)

// keyRecord begins an epoch: from here on packs are sealed to this key. By the root.
type keyRecord struct {
	Type      string `json:"type"`
	Epoch     int    `json:"epoch"` // from 1 on
	Recipient string `json:"recipient"`
	RootSeed  Ref    `json:"root_seed"` // sealed to the key
}

// slotRecord seals the repository's keys, this epoch's and all earlier ones, to one
// restore recipient. By the root.
type slotRecord struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	Epoch     int    `json:"epoch"`
	Kind      string `json:"kind"`                // "x25519", "hybrid", "passphrase", "plugin"
	Recipient string `json:"recipient,omitempty"` // its public key, if it has one
	Comment   string `json:"comment,omitempty"`
	Object    Ref    `json:"object"` // age, without zstd
}

type slotGoneRecord struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// hostRecord certifies a host. By the root.
type hostRecord struct {
	Type  string   `json:"type"`
	Host  string   `json:"host"`
	Name  string   `json:"name"`
	Key   string   `json:"key"` // Ed25519, hexadecimal
	Roles []string `json:"roles"`
}

// hostGoneRecord ends a host's standing: what it wrote behind Last counts for nothing. By the root.
type hostGoneRecord struct {
	Type   string       `json:"type"`
	Host   string       `json:"host"`
	Last   journal.Head `json:"last"`
	Reason string       `json:"reason,omitempty"`
}

// caRecord keeps an authority's keys for those who restore: sealed to the repository key.
type caRecord struct {
	Type   string `json:"type"`
	CA     string `json:"ca"`
	Object Ref    `json:"object"`
}

// objects are what a set, or a part of one, consists of.
type objects struct {
	Layout Ref   `json:"layout"` // sealed to the authority's metadata key
	Table  Ref   `json:"table"`  // of segments; zstd
	Lists  []Ref `json:"lists,omitempty"`
}

func (o *objects) refs() []Ref { return append([]Ref{o.Layout, o.Table}, o.Lists...) }

// setRecord publishes a set.
type setRecord struct {
	Type     string `json:"type"`
	CA       string `json:"ca"`
	Set      string `json:"set"`
	Manifest Ref    `json:"manifest"` // sealed to the authority's metadata key
	objects
	Bytes  int64 `json:"bytes"`  // of the set's files
	New    int64 `json:"new"`    // of these, what was not there before
	Stored int64 `json:"stored"` // what this set added to the store
	// Origin is the entry that published the set in the repository it was copied from.
	Origin string `json:"origin,omitempty"`
}

// partialRecord tells a later run of the same host what an unfinished one has stored.
type partialRecord struct {
	Type string `json:"type"`
	CA   string `json:"ca"`
	Run  string `json:"run"`
	objects
}

// withdrawnRecord takes a set back that turned out not to be whole. By its author.
type withdrawnRecord struct {
	Type string `json:"type"`
	Set  string `json:"set"`
	Why  string `json:"why"`
}

type receiptRecord struct {
	Type   string `json:"type"`
	Set    string `json:"set"`
	Object Ref    `json:"object"`
}

// proofRecord is the outcome of a verification. Part and Parts say which share of the
// packs was read, Part from 1 to Parts; at the level of the inventory it is all of them.
type proofRecord struct {
	Type  string    `json:"type"`
	Sets  []setName `json:"sets"`
	Level string    `json:"level"`
	Part  int       `json:"part,omitempty"`
	Parts int       `json:"parts,omitempty"`
	OK    bool      `json:"ok"`
	At    time.Time `json:"at"`
}

// setName is a set as it stands in the journal of its author. Entry is the number of the
// entry that published it: an id may be published anew after it was given up. In records
// about one's own sets it is left out: they are about the last of that id before them.
type setName struct {
	Author string `json:"author"`
	Set    string `json:"set"`
	Entry  uint64 `json:"entry,omitempty"`
}

type forgetRecord struct {
	Type string    `json:"type"`
	Sets []setName `json:"sets"`
}

// movedRecord says where the segments of packs are that a prune has taken apart. It is
// only a hint: segments prove themselves.
type movedRecord struct {
	Type string   `json:"type"`
	From []string `json:"from"`
	To   []string `json:"to"`
}

// layoutRecord replaces where a set's chunks are, after a prune took segments apart.
type layoutRecord struct {
	Type string  `json:"type"`
	Set  setName `json:"set"`
	// Of is the hash of the entry that published the set: the root's journal is copied into repositories made like this one, where a
	// set of that name is another's copy. Empty means any.
	Of string `json:"of,omitempty"`
	objects
}

package backupset

// Chain is what a restore needs: a full set and the incremental ones that
// follow it, in the order of their generations.
type Chain []Entry

// ResolveOptions are the options of Resolve.
type ResolveOptions struct {
	// AllowUnconfirmed also takes parents that have no good receipt: their
	// files may well be whole, and a restore may have nothing better. The set
	// asked for may be unconfirmed in any case.
	AllowUnconfirmed bool
}

// Resolve finds the chain that ends in the set with the given id or name among
// the entries of one Store. Sets with a manifest are followed from parent to
// parent; each must be of the same authority, engine and database signature,
// and continue the generations of the one before it. A synthesized incremental
// set says no parent: it follows the newest full set that its generations
// continue, directly or through other synthesized incremental sets.
//
// Errors are ErrNotFound, ErrAmbiguous or ErrDamaged for the set itself, and
// ErrChain (with ErrUnconfirmed or ErrDamaged, where that is why) naming the
// set or the generations that are missing.
func Resolve(entries []Entry, id string, o ResolveOptions) (Chain, error) {
	return resolve(entries, id, o)
}

// Newest finds the chain of the newest set among those that match accepts: the
// one that ends at the latest time. All sets match if it is nil.
func Newest(entries []Entry, match func(*Manifest) bool, o ResolveOptions) (Chain, error) {
	return newest(entries, match, o)
}

// Parent finds the chain that a new incremental set may continue: that of the
// newest matching set, provided that it and all its parents are confirmed and
// none is synthesized. The error says why there is none.
func Parent(entries []Entry, match func(*Manifest) bool) (Chain, error) {
	return parent(entries, match)
}

// Tip is the last set of the chain.
func (c Chain) Tip() Entry { return c[len(c)-1] }

// Full is the first set of the chain.
func (c Chain) Full() Entry { return c[0] }

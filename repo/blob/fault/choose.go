package fault

import (
	"fmt"
	"hash/fnv"
	"slices"
)

// At has the nth call of a Store (from 1 on) fail so.
func At(n int, act Act) Chooser {
	return func(c Call) Act {
		if c.N == n {
			return act
		}
		return None
	}
}

// From has the nth call and all after it fail so: a store that went away.
func From(n int, act Act) Chooser {
	return func(c Call) Act {
		if c.N >= n {
			return act
		}
		return None
	}
}

// On has the nth call of an operation with this key fail so; n of zero is each of them,
// and an empty key any.
func On(o Op, key string, n int, act Act) Chooser {
	return func(c Call) Act {
		if c.Op == o && (key == "" || c.Key == key) && (n == 0 || c.Nth == n) {
			return act
		}
		return None
	}
}

// First is the first choice that is not None.
func First(choosers ...Chooser) Chooser {
	return func(c Call) Act {
		for _, choose := range choosers {
			if act := choose(c); act != None {
				return act
			}
		}
		return None
	}
}

// Random has calls fail with the probability p, each in one of these ways.
func Random(seed uint64, p float64, acts ...Act) Chooser {
	return func(c Call) Act {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %d %d %s", seed, c.Op, c.Nth, c.Key)
		// FNV's upper bits hardly differ between short texts that do.
		x := mix(h.Sum64())
		if float64(x>>11)/(1<<53) >= p || len(acts) == 0 {
			return None
		}
		return acts[mix(x)%uint64(len(acts))]
	}
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Bytes reads a script from bytes, for fuzzing: two bits of each for a call, in the
// order of calls, choose between None and the three acts. Beyond the script is None.
func Bytes(script []byte, acts [3]Act) Chooser {
	script = slices.Clone(script)
	return func(c Call) Act {
		n := c.N - 1
		if n/4 >= len(script) {
			return None
		}
		if x := script[n/4] >> (n % 4 * 2) & 3; x > 0 {
			return acts[x-1]
		}
		return None
	}
}

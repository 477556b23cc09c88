package backupset

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/certkeep/certkeep/certadm"
)

// Generations is an ascending list of log generations. As text it is a list of
// ranges in five hexadecimal digits, as in the names of logs: "00001-0001a 0001c".
type Generations []uint32

// maxGenerations bounds what the text of a few bytes can ask for.
const maxGenerations = 1 << 20

func (g Generations) String() string {
	var b strings.Builder
	for i := 0; i < len(g); {
		j := i + 1
		for j < len(g) && g[j] == g[j-1]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%05x", g[i])
		if j-1 > i {
			fmt.Fprintf(&b, "-%05x", g[j-1])
		}
		i = j
	}
	return b.String()
}

// MarshalText is String.
func (g Generations) MarshalText() ([]byte, error) {
	for i := 1; i < len(g); i++ {
		if g[i] <= g[i-1] {
			return nil, fmt.Errorf("generations are not ascending: %d after %d", g[i], g[i-1])
		}
	}
	if len(g) > maxGenerations {
		return nil, fmt.Errorf("%d generations: too many", len(g))
	}
	return []byte(g.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (g *Generations) UnmarshalText(b []byte) error {
	var out Generations
	for _, f := range strings.Fields(string(b)) {
		lo, hi, isRange := strings.Cut(f, "-")
		first, err := parseGeneration(lo)
		if err != nil {
			return err
		}
		last := first
		if isRange {
			if last, err = parseGeneration(hi); err != nil {
				return err
			}
		}
		if last < first || len(out) > 0 && first <= out[len(out)-1] {
			return fmt.Errorf("generations are not ascending at %q", f)
		}
		if int64(last)-int64(first)+int64(len(out)) >= maxGenerations {
			return fmt.Errorf("generations: more than %d", maxGenerations)
		}
		for n := first; ; n++ {
			out = append(out, n)
			if n == last {
				break
			}
		}
	}
	*g = out
	return nil
}

func parseGeneration(s string) (uint32, error) {
	if len(s) < 5 || len(s) > 8 {
		return 0, fmt.Errorf("generation %.20q is not five to eight hexadecimal digits", s)
	}
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil || strings.ToLower(s) != s {
		return 0, fmt.Errorf("generation %.20q is not five to eight hexadecimal digits", s)
	}
	return uint32(n), nil
}

// LogGeneration takes the name of a log apart: three letters for the engine
// ("edb" for ESE, "log" for SQLite), returned in lower case, and the generation,
// see [certadm.ParseLogGeneration]. It is a name alone that is meant, not a path.
func LogGeneration(name string) (base string, generation uint32, ok bool) {
	generation, ok = certadm.ParseLogGeneration(name)
	if !ok || certadm.BaseName(name) != name {
		return "", 0, false
	}
	base = strings.ToLower(name[:3])
	if strings.Trim(base, "abcdefghijklmnopqrstuvwxyz") != "" {
		return "", 0, false
	}
	return base, generation, true
}

func sortEntries(es []Entry) {
	slices.SortStableFunc(es, func(a, b Entry) int {
		switch {
		case a.Manifest == nil && b.Manifest == nil:
		case a.Manifest == nil:
			return 1
		case b.Manifest == nil:
			return -1
		default:
			if c := a.Manifest.Start.Compare(b.Manifest.Start); c != 0 {
				return c
			}
			if c := cmp.Compare(a.Manifest.LastGeneration, b.Manifest.LastGeneration); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name))
	})
}

package certadmtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// lastItem is the highest number of an item that concerns a Service. The
// checklist goes on with tools and files.
const lastItem = 71

// item is one behaviour of the checklist.
type item struct {
	number int
	parts  []part
}

// part is a test of its own, with an authority of its own.
type part struct {
	name string
	run  func(p *probe)
}

// Run tests the implementation behind newEnv, which makes a fresh authority for
// each call, and for the test it is given. skip lists the items that do not
// apply to the implementation, by number, with the reason; the package comment
// has the rules.
//
// Each part of an item is a subtest: "item21/second client is refused".
func Run(t *testing.T, newEnv func(t *testing.T) Env, skip map[int]string) {
	for _, problem := range checkSkip(skip) {
		t.Error(problem)
	}
	var known abilities
	for _, it := range items() {
		reason, listed := skip[it.number]
		t.Run(fmt.Sprintf("item%02d", it.number), func(t *testing.T) {
			var results []result
			for _, pt := range it.parts {
				t.Run(pt.name, func(t *testing.T) {
					done := false
					defer func() { // newEnv must not get around the list by t.Skip
						if !done {
							t.Error("the test was ended before the part was done")
						}
					}()
					r := runPart(t, newEnv, &known, pt)
					done = true
					results = append(results, r)
					if !listed {
						r.report(t)
					} else if r.unsupported != "" {
						t.Skip(r.unsupported)
					}
				})
			}
			if !listed || len(results) < len(it.parts) { // -run chose some of the parts
				return
			}
			failures, logs := judge(it, results, reason)
			for _, s := range logs {
				t.Log(s)
			}
			for _, s := range failures {
				t.Error(s)
			}
		})
	}
}

// checkSkip looks for entries that can never be right.
func checkSkip(skip map[int]string) []string {
	var problems []string
	for n, reason := range skip {
		if n < 1 || n > lastItem {
			problems = append(problems, fmt.Sprintf("item %d is listed as skipped, but there are only items 1 to %d", n, lastItem))
		}
		if strings.TrimSpace(reason) == "" {
			problems = append(problems, fmt.Sprintf("item %d is listed as skipped, but without a reason", n))
		}
	}
	slices.Sort(problems)
	return problems
}

// result is what became of one part.
type result struct {
	part        string
	failures    []string
	unsupported string // the ability that was lacking
}

// report reports the part of an item that is not listed.
func (r result) report(t testing.TB) {
	t.Helper()
	for _, s := range r.failures {
		t.Error(s)
	}
	if r.unsupported != "" {
		t.Errorf("cannot run here (%s), and the item is not listed as skipped", r.unsupported)
	}
}

// judge applies the rules of the skip list to a listed item, all of whose parts
// were tried.
func judge(it item, results []result, reason string) (failures, logs []string) {
	var failed, lacking []string
	for _, r := range results {
		for _, s := range r.failures {
			failed = append(failed, r.part+": "+s)
		}
		if r.unsupported != "" {
			lacking = append(lacking, r.part+": "+r.unsupported)
		}
	}
	switch {
	case len(lacking) > 0: // what could run has to pass
		logs = append(logs, fmt.Sprintf("item %d is skipped in part: %s", it.number, reason))
		return failed, append(logs, lacking...)
	case len(failed) > 0:
		logs = append(logs, fmt.Sprintf("item %d is a known deviation: %s", it.number, reason))
		return nil, append(logs, failed...)
	}
	return []string{fmt.Sprintf("item %d is listed as skipped (%s), but runs and passes here: strike it from the list", it.number, reason)}, nil
}

// runPart runs a part and records what it finds, without failing t.
func runPart(t *testing.T, newEnv func(t *testing.T) Env, known *abilities, pt part) (r result) {
	p := &probe{t: t, newEnv: newEnv, known: known, ctx: t.Context()}
	defer func() {
		p.finish()
		r = result{part: pt.name, failures: p.failures, unsupported: p.lacking}
	}()
	defer p.recover()
	pt.run(p)
	return
}

// items returns the whole checklist, in order.
func items() []item {
	all := slices.Concat(
		listItems(), onlineItems(),
		prepareItems(), sequenceItems(), nameItems(), fileItems(), truncateItems(), endItems(),
		accessItems(), restoreItems(), recoveryItems(), chainItems(),
	)
	slices.SortFunc(all, func(a, b item) int { return a.number - b.number })
	return all
}

// abilities are the optional interfaces that Envs were found not to implement. It
// saves making an authority for every part that needs one of them.
type abilities struct{ lacking map[string]bool }

// unsupported reports whether err says that an Env lacks an ability.
func unsupported(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

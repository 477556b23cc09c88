package backup

import (
	"fmt"
	"slices"

	"github.com/certkeep/certkeep/cadb"
)

// checkLogs checks that whole logs, in ascending order, follow each other. file
// names a generation's log, also that of one which is missing.
func checkLogs(engine cadb.Engine, logs []cadb.LogInfo, file func(uint32) string) (found []cadb.Finding) {
	add := func(code string, g uint32, format string, args ...any) {
		found = append(found, cadb.Finding{Severity: cadb.Damage, Code: code, File: file(g), Message: fmt.Sprintf(format, args...)})
	}
	// A single log of another database differs from those on both sides of it,
	// and is the one to blame.
	signature := commonSignature(logs)
	var prev *cadb.LogInfo
	for i := range logs {
		l := &logs[i]
		if l.Signature != signature {
			add(cadb.CodeForeign, l.Generation, "belongs to another database (signature %.16s…, the other logs have %.16s…)", l.Signature, signature)
			prev = nil
			continue
		}
		if prev != nil {
			if l.Generation != prev.Generation+1 {
				for g := prev.Generation + 1; g < l.Generation && g < prev.Generation+100; g++ {
					add(cadb.CodeMissing, g, "the log is missing: generation %s is followed by %s", generation(prev.Generation), generation(l.Generation))
				}
			} else if err := engine.CheckChain([]cadb.LogInfo{*prev, *l}); err != nil {
				code, _ := cadb.LogFindingCode(err)
				add(code, l.Generation, "does not follow %s: %v", file(prev.Generation), err)
			}
		}
		prev = l
	}
	return found
}

// commonSignature is the signature that most of the logs have.
func commonSignature(logs []cadb.LogInfo) string {
	count := make(map[string]int)
	best := ""
	for _, l := range logs {
		count[l.Signature]++
		if count[l.Signature] > count[best] {
			best = l.Signature
		}
	}
	return best
}

// logFiles names the logs of a chain: by the set that has one, or should.
func logFiles(engine cadb.Engine, labels map[uint32]string, dir string) func(uint32) string {
	return func(g uint32) string {
		if s, ok := labels[g]; ok {
			return s
		}
		return dir + "/" + engine.LogName(g)
	}
}

// sortLogs sorts by generation.
func sortLogs(logs []cadb.LogInfo) {
	slices.SortFunc(logs, func(a, b cadb.LogInfo) int { return int(int64(a.Generation) - int64(b.Generation)) })
}

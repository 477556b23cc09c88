package esecheck_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/ese/internal/findings"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

var le = binary.LittleEndian

// set is a backup to check: its database and logs by name.
type set struct {
	db   seed.DB
	edb  []byte // instead of db
	logs map[string][]byte
	cp   []byte
	edit func(in *esecheck.Input)
}

// backup is a streaming backup of generations 3 to 5, whose logs know their
// predecessors' sums.
func backup() *set {
	s := &set{db: seed.Sample(4096, false), logs: make(map[string][]byte)}
	s.db.Header = func(b []byte) {
		le.PutUint32(b[52:], 2)
		copy(b[184:192], []byte{9, 0, 8, 0, 3, 0, 0, 0})
		copy(b[192:200], seed.Time(9))
		le.PutUint32(b[200:], 3)
		le.PutUint32(b[296:], 4)
		le.PutUint32(b[300:], 4)
		copy(b[348:356], seed.Time(14)) // of log 4
		le.PutUint32(b[416:], 4)
	}
	s.db.Trailer = func(b []byte) { le.PutUint32(b[60:], 5) }
	s.addLogs(3, 5, nil)
	return s
}

// addLogs adds logs that follow each other.
func (s *set) addLogs(from, to uint32, change func(l *seed.Log)) {
	var sums uint64
	for g := from; g <= to; g++ {
		l := seed.Log{Generation: g, Sectors: 16, Segments: 4, Created: 10 + byte(g), Previous: 9 + byte(g), Sums: sums, MinorUpdate: 13, Signature: "logs", Database: "database"}
		if change != nil {
			change(&l)
		}
		s.logs[name(g)], sums = l.Bytes()
	}
}

func name(g uint32) string { return fmt.Sprintf("edb%05X.log", g) }

func (s *set) check(t *testing.T) *esecheck.Report {
	t.Helper()
	b := s.edb
	if b == nil {
		b = s.db.Bytes()
	}
	in := esecheck.Input{Database: &esecheck.File{Name: "CA.edb", R: bytes.NewReader(b), Size: int64(len(b))}, Depth: esecheck.Rows}
	for n, b := range s.logs {
		in.Logs = append(in.Logs, esecheck.File{Name: n, R: bytes.NewReader(b), Size: int64(len(b))})
	}
	if s.cp != nil {
		in.Checkpoint = &esecheck.File{Name: "edb.chk", R: bytes.NewReader(s.cp), Size: int64(len(s.cp))}
	}
	if s.edit != nil {
		s.edit(&in)
	}
	r, err := esecheck.Check(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSoundBackup(t *testing.T) {
	r := backup().check(t)
	if r.Verdict != esecheck.Sound || r.String() != "no fault found (logs not replayed)" || r.Generation != 5 || r.Low != 3 || r.High != 5 || len(r.Logs) != 3 {
		t.Errorf("%v, logs %d to %d, complete to %d\n%s", r, r.Low, r.High, r.Generation, findings.All(r))
	}
	if r.Rows["Requests"] != 4 || r.Rows["Derived"] != 1 || len(r.Rows) != 3 {
		t.Error(r.Rows)
	}
	// A value that another reader would have to decode, and a missing long value: notes.
	if s := findings.All(r); !strings.Contains(s, "unsupported-value") && !strings.Contains(s, "LZ4") || !strings.Contains(s, "no such long value: 00000099") {
		t.Error(s)
	}
}

// TestWhatIsWrongWithABackup: each fault has its own finding, and its own error.
func TestWhatIsWrongWithABackup(t *testing.T) {
	for what, x := range map[string]struct {
		change  func(s *set)
		want    string
		verdict string
	}{
		"a page": {func(s *set) { s.edb = s.db.Bytes(); s.edb[12*4096+50] ^= 3 }, "damage bad-page -1018", "damaged: 1 finding"},
		"a page's single bit": {func(s *set) { s.edb = s.db.Bytes(); s.edb[12*4096+50] ^= 1 },
			"warning correctable-page -1018", "no fault found (logs not replayed)"},
		"a page in another's place": {func(s *set) { s.edb = s.db.Bytes(); copy(s.edb[8*4096:9*4096], s.edb[13*4096:]) },
			"damage misplaced-page -1018", "damaged: 1 finding"},
		"header":            {func(s *set) { s.edb = s.db.Bytes(); s.edb[50] ^= 1 }, "warning header-copy -1018", "no fault found (logs not replayed)"},
		"shadow":            {func(s *set) { s.edb = s.db.Bytes(); s.edb[4146] ^= 1 }, "warning header-copy -1018", "no fault found (logs not replayed)"},
		"header and shadow": {func(s *set) { s.edb = s.db.Bytes(); s.edb[50] ^= 1; s.edb[4146] ^= 1 }, "damage bad-header -1018", "damaged: 1 finding"},
		"no database":       {func(s *set) { s.edb = make([]byte, 1<<16) }, "damage bad-header -1028", "damaged: 1 finding"},
		"trailer":           {func(s *set) { s.edb = s.db.Bytes(); s.edb[len(s.edb)-1] ^= 1 }, "damage bad-trailer -535", "damaged: 1 finding"},
		"no trailer":        {func(s *set) { s.db.Trailer = nil }, "damage bad-trailer -535", "damaged: 1 finding"},
		"foreign trailer": {func(s *set) {
			old := s.db.Trailer
			s.db.Trailer = func(b []byte) { old(b); b[64]++ }
		}, "damage foreign-trailer -552", "damaged: 1 finding"},
		"truncated database": {func(s *set) { b := s.db.Bytes(); s.edb = b[:len(b)-4096-100] },
			"damage size -1018, damage bad-trailer -535", "damaged: 2 findings"},
		"repaired": {func(s *set) {
			old := s.db.Header
			s.db.Header = func(b []byte) { old(b); b[240] = 1; b[400] = 2 }
		}, "warning history 0, warning history 0", "no fault found (logs not replayed)"},

		"missing log":        {func(s *set) { delete(s.logs, name(4)) }, "damage missing-log -543", "damaged: 1 finding"},
		"first log missing":  {func(s *set) { delete(s.logs, name(3)) }, "damage missing-log -543", "damaged: 1 finding"},
		"last log missing":   {func(s *set) { delete(s.logs, name(5)) }, "damage missing-log -543", "damaged: 1 finding"},
		"no logs":            {func(s *set) { s.logs = nil }, "damage missing-log -543", "damaged: 1 finding"},
		"logs elsewhere":     {func(s *set) { s.logs = nil; s.edit = func(in *esecheck.Input) { in.LogsElsewhere = true } }, "", "no fault found (logs not replayed)"},
		"swapped logs":       {func(s *set) { s.logs[name(3)], s.logs[name(4)] = s.logs[name(4)], s.logs[name(3)] }, "damage log-name -513, damage log-name -513", "damaged: 2 findings"},
		"renamed log":        {func(s *set) { s.logs[name(6)] = s.logs[name(5)]; delete(s.logs, name(5)) }, "damage log-name -513", "damaged: 1 finding"},
		"log twice":          {func(s *set) { s.logs["copy of edb00005.log"] = s.logs[name(5)] }, "damage duplicate-log -515", "damaged: 1 finding"},
		"truncated log":      {func(s *set) { s.logs[name(4)] = s.logs[name(4)][:12*4096] }, "damage size -541", "damaged: 1 finding"},
		"cut in the segment": {func(s *set) { s.logs[name(4)] = s.logs[name(4)][:12*4096+9] }, "damage size -541", "damaged: 1 finding"},
		"log's header":       {func(s *set) { s.logs[name(4)][700] ^= 1 }, "damage bad-log-header -501, damage missing-log -543", "damaged: 2 findings"},
		"empty log":          {func(s *set) { s.logs[name(4)] = nil }, "damage bad-log-header -501, damage missing-log -543", "damaged: 2 findings"},
		"segment":            {func(s *set) { s.logs[name(4)][3*4096+99] ^= 3 }, "damage bad-segment -573", "damaged: 1 finding"},
		"single bit of a segment": {func(s *set) { s.logs[name(4)][3*4096+99] ^= 1 },
			"warning correctable-segment -612", "no fault found (logs not replayed)"},
		"torn segment": {func(s *set) { clear(s.logs[name(4)][4*4096+100 : 5*4096]) }, "damage torn-segment -570", "damaged: 1 finding"},
		"unused space": {func(s *set) { s.logs[name(4)][9*4096+99] ^= 3 }, "damage bad-segment -573", "damaged: 1 finding"},
		"end cut off, with sound segments": {func(s *set) { clear(s.logs[name(4)][3*4096:]) },
			"damage log-sums -590", "damaged: 1 finding"},
		"end of the last log cut off, with sound segments": {func(s *set) { clear(s.logs[name(5)][3*4096:]) },
			"warning log-end 0", "no fault found (logs not replayed)"},
		"last log without segments": {func(s *set) { clear(s.logs[name(5)][4096:]) }, "warning log-end 0", "no fault found (logs not replayed)"},
		"log of another stream": {func(s *set) { s.addLogs(4, 4, func(l *seed.Log) { l.Signature = "other" }) },
			"damage foreign-log -530", "damaged: 1 finding"},
		"all logs of another stream": {func(s *set) { s.addLogs(3, 5, func(l *seed.Log) { l.Signature = "other" }) },
			"damage foreign-log -530, damage foreign-log -530, damage foreign-log -530", "damaged: 3 findings"},
		"log of another day": {func(s *set) { s.addLogs(5, 5, func(l *seed.Log) { l.Previous = 1; l.Sums = 0 }) },
			"damage log-sequence -515", "damaged: 1 finding"},
		"not the log that the header knows": {func(s *set) {
			s.addLogs(3, 5, func(l *seed.Log) { l.Created, l.Previous = l.Created+7, l.Previous+7 })
		}, "damage log-sequence -515", "damaged: 1 finding"},
		"another database": {func(s *set) { s.addLogs(3, 5, func(l *seed.Log) { l.Database = "strange" }) },
			"warning foreign-database -531, warning foreign-database -531, warning foreign-database -531", "no fault found (logs not replayed)"},
		"format going back": {func(s *set) {
			s.addLogs(3, 5, func(l *seed.Log) { l.MinorUpdate = 20 - l.Generation; l.Sums = 0 })
		}, "warning log-version -514, warning log-version -514", "no fault found (logs not replayed)"},

		"later logs":        {func(s *set) { s.addLogs(3, 9, nil) }, "", "no fault found (logs not replayed)"},
		"gap in later logs": {func(s *set) { s.addLogs(3, 9, nil); delete(s.logs, name(7)) }, "warning missing-committed -582", "complete only to generation 6"},
		"earlier logs":      {func(s *set) { s.addLogs(1, 5, nil) }, "", "no fault found (logs not replayed)"},
		"reserve and next": {func(s *set) { s.logs["edbres00001.jrs"], s.logs["edbtmp.log"] = make([]byte, 4096), make([]byte, 10) },
			"", "no fault found (logs not replayed)"},
		"tree of a fuzzy copy": {func(s *set) {
			p := s.db.Pages[10]
			p.Next = 4711
			s.db.Pages[10] = p
		}, "", "no fault found (logs not replayed)"},
		"catalog of a fuzzy copy": {func(s *set) {
			p := s.db.Pages[24]
			p.Nodes = p.Nodes[:5]
			s.db.Pages[24] = p
		}, "", "no fault found (logs not replayed)"},
	} {
		t.Run(what, func(t *testing.T) {
			s := backup()
			x.change(s)
			r := s.check(t)
			if got := findings.Serious(r); got != x.want || r.String() != x.verdict {
				t.Errorf("%s: %s\nwant %s: %s\n%s", r, got, x.verdict, x.want, findings.All(r))
			}
		})
	}
}

// TestEveryBitOfABackup: no bit of database, trailer or logs can be wrong unseen.
func TestEveryBitOfABackup(t *testing.T) {
	s := backup()
	s.edb = s.db.Bytes()
	s.edit = func(in *esecheck.Input) { in.Depth = esecheck.Pages }
	whole := len(s.check(t).Findings)
	files := map[string][]byte{"CA.edb": s.edb}
	for n, b := range s.logs {
		files[n] = b
	}
	flips := 0
	for n, b := range files {
		for bit := 0; bit < 8*len(b); bit += 1217 { // prime to all that matters
			b[bit/8] ^= 1 << (bit % 8)
			r := s.check(t)
			found := false
			for _, f := range r.Findings {
				found = found || f.Severity != esecheck.Note && f.File == n
			}
			if !found || len(r.Findings) <= whole {
				t.Fatalf("%s: bit %d: %v\n%s", n, bit, r, findings.All(r))
			}
			b[bit/8] ^= 1 << (bit % 8)
			flips++
		}
	}
	t.Log(flips, "bits flipped")
}

// live is a directory of a CA that is not backed up: a dirty database, the current
// log, a checkpoint.
func live() *set {
	s := &set{db: seed.Sample(4096, false), logs: make(map[string][]byte), cp: seed.Checkpoint(4, "logs", "database")}
	s.db.Header = func(b []byte) {
		le.PutUint32(b[52:], 2)
		le.PutUint32(b[296:], 4)
		le.PutUint32(b[300:], 5)
		le.PutUint32(b[416:], 6)
	}
	s.addLogs(3, 6, nil)
	s.logs["edb.log"] = s.logs[name(6)]
	delete(s.logs, name(6))
	return s
}

func TestLiveDirectory(t *testing.T) {
	for what, x := range map[string]struct {
		change  func(s *set)
		want    string
		verdict string
	}{
		"whole":            {func(*set) {}, "", "no fault found (logs not replayed)"},
		"current log gone": {func(s *set) { delete(s.logs, "edb.log") }, "warning missing-committed -582", "complete only to generation 5"},
		"needed log gone":  {func(s *set) { delete(s.logs, name(5)) }, "damage missing-log -543", "damaged: 1 finding"},
		"torn at the end": {func(s *set) { clear(s.logs["edb.log"][4*4096+100 : 5*4096]) },
			"warning torn-segment 0", "no fault found (logs not replayed)"},
		"torn in a closed log": {func(s *set) { clear(s.logs[name(5)][4*4096+100 : 5*4096]) },
			"damage torn-segment -570", "damaged: 1 finding"},
		"database cut off": {func(s *set) { b := s.db.Bytes(); s.edb = b[:len(b)-5*4096] }, "damage size -1206", "damaged: 1 finding"},
		"no logs named": {func(s *set) {
			old := s.db.Header
			s.db.Header = func(b []byte) { old(b); clear(b[296:304]); clear(b[416:420]) }
		}, "warning state -550", "no fault found (logs not replayed)"},
		"never logged": {func(s *set) {
			old := s.db.Header
			s.db.Header = func(b []byte) { old(b); clear(b[296:304]); clear(b[416:420]); clear(b[108:136]) }
		}, "damage state -550", "damaged: 1 finding"},
		"checkpoint":            {func(s *set) { s.cp[9] ^= 1 }, "warning header-copy -533", "no fault found (logs not replayed)"},
		"checkpoint and shadow": {func(s *set) { s.cp[9] ^= 1; s.cp[5000] ^= 1 }, "warning bad-checkpoint -533", "no fault found (logs not replayed)"},
		"foreign checkpoint":    {func(s *set) { s.cp = seed.Checkpoint(4, "other", "") }, "warning bad-checkpoint -532", "no fault found (logs not replayed)"},
		"another's checkpoint":  {func(s *set) { s.cp = seed.Checkpoint(4, "logs", "strange") }, "warning foreign-database -531", "no fault found (logs not replayed)"},
	} {
		s := live()
		x.change(s)
		r := s.check(t)
		if got := findings.Serious(r); got != x.want || r.String() != x.verdict {
			t.Errorf("%s: %s: %s\nwant %s: %s\n%s", what, r, got, x.verdict, x.want, findings.All(r))
		}
	}
}

// TestCleanDatabase: here trees that do not fit are damage.
func TestCleanDatabase(t *testing.T) {
	clean := func() *set {
		s := &set{db: seed.Sample(4096, false), logs: make(map[string][]byte)}
		p := s.db.Pages[11]
		p.Nodes = p.Nodes[:2:2] // the last row refers to a long value that is not there
		s.db.Pages[11] = p
		p = s.db.Pages[seed.IndexRoot]
		p.Nodes = p.Nodes[:2:2]
		s.db.Pages[seed.IndexRoot] = p
		return s
	}
	for what, x := range map[string]struct {
		page   uint32
		change func(p *seed.Page)
		want   string
	}{
		"whole":        {12, func(*seed.Page) {}, ""},
		"link":         {10, func(p *seed.Page) { p.Next = 4711 }, "damage bad-tree -1206"},
		"catalog":      {24, func(p *seed.Page) { p.Nodes = p.Nodes[:5] }, "damage catalog -1220"},
		"index order":  {7, func(p *seed.Page) { p.Nodes[1].Key = []byte("a") }, "damage bad-tree -1206"},
		"stale index":  {7, func(p *seed.Page) { p.Nodes = append(p.Nodes, seed.Node{Key: []byte("name"), Data: seed.Key(4)}) }, "damage index -1414"},
		"stale table":  {10, func(p *seed.Page) { p.Nodes = p.Nodes[:1] }, "damage index -1414"},
		"long value":   {6, func(p *seed.Page) { p.Nodes = append(p.Nodes[:3:3], p.Nodes[4:]...) }, "damage bad-row -1526"},
		"space":        {1, func(p *seed.Page) { p.External = seed.Space(31, 0, 0) }, "damage size -1206"},
		"record":       {10, func(p *seed.Page) { p.Nodes[0].Data = []byte{1} }, "damage bad-row -1206"},
		"tree is gone": {7, func(p *seed.Page) { p.Object = 99 }, "damage bad-tree -1206"},
	} {
		s := clean()
		p := s.db.Pages[x.page]
		x.change(&p)
		s.db.Pages[x.page] = p
		r := s.check(t)
		if got := findings.Serious(r); got != x.want || (r.Verdict == esecheck.Damaged) != (x.want != "") || r.Low != 0 {
			t.Errorf("%s: %s: %s, want %s\n%s", what, r, got, x.want, findings.All(r))
		}
	}
	s := clean()
	s.addLogs(1, 2, nil)
	if r := s.check(t); r.Verdict != esecheck.Sound || !strings.Contains(findings.All(r), "needs no logs") {
		t.Errorf("%v\n%s", r, findings.All(r))
	}
}

// TestOnlyLogs: without a database nobody knows what is needed.
func TestOnlyLogs(t *testing.T) {
	s := backup()
	s.edit = func(in *esecheck.Input) { in.Database = nil }
	if r := s.check(t); r.Verdict != esecheck.Sound || findings.Serious(r) != "" || r.Generation != 5 {
		t.Errorf("%v %d\n%s", r, r.Generation, findings.All(r))
	}
	delete(s.logs, name(4))
	if r := s.check(t); r.String() != "complete only to generation 3" || findings.Serious(r) != "warning missing-log -528" {
		t.Errorf("%v\n%s", r, findings.All(r))
	}
}

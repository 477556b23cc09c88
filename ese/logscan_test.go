package ese_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

func scan(t *testing.T, b []byte) (*ese.Log, ese.LogScan) {
	t.Helper()
	l, err := ese.OpenLog(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Scan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return l, s
}

var plainLog = seed.Log{Generation: 10, Sectors: 16, Segments: 5, Created: 10, Previous: 9, Signature: "logs", Database: "database", MinorUpdate: 13}

func TestLog(t *testing.T) {
	b, sums := plainLog.Bytes()
	l, s := scan(t, b)
	if !s.Checked || s.Segments != 5 || s.Sums != sums || s.End != ese.EndShadow || len(s.Faults) > 0 {
		t.Errorf("%+v", s)
	}
	if len(l.Attached) != 1 || l.Attached[0].Path != `C:\Windows\system32\CertLog\CA.edb` || l.Attached[0].Signature != ese.Signature(seed.Signature("database")) ||
		l.LogPath != `C:\Windows\system32\CertLog\` || l.PageSize != 4096 {
		t.Errorf("%+v", l)
	}
	next := plainLog
	next.Generation, next.Created, next.Previous, next.Sums = 11, 11, 10, sums
	b, _ = next.Bytes()
	n, _ := scan(t, b)
	if err := errors.Join(n.Follows(l.LogHeader), n.FollowsSums(s)); err != nil {
		t.Error(err)
	}
	s.Sums++
	if err := n.FollowsSums(s); !errors.Is(err, ese.ErrLogSums) {
		t.Error(err)
	}
}

// TestEndsOfLogs: what may stand behind the last segment, and what may not.
func TestEndsOfLogs(t *testing.T) {
	older := plainLog
	older.Generation, older.Segments = 8, 15
	stale, _ := older.Bytes()
	newer := plainLog
	newer.Generation, newer.Segments = 12, 15
	foreign, _ := newer.Bytes()
	for what, x := range map[string]struct {
		log      seed.Log
		change   func(b []byte)
		segments int
		end      ese.LogEnd
		fault    ese.SegmentVerdict
		at       int
	}{
		"shadow":          {plainLog, func([]byte) {}, 5, ese.EndShadow, 0, 0},
		"no shadow":       {with(plainLog, func(l *seed.Log) { l.NoShadow = true }), func([]byte) {}, 5, ese.EndUnused, 0, 0},
		"empty":           {with(plainLog, func(l *seed.Log) { l.Segments = 0 }), func([]byte) {}, 0, ese.EndUnused, 0, 0},
		"full":            {with(plainLog, func(l *seed.Log) { l.Segments = 15 }), func([]byte) {}, 15, ese.EndFull, 0, 0},
		"recycled":        {plainLog, func(b []byte) { copy(b[7*4096:], stale[7*4096:]) }, 5, ese.EndShadow, 0, 0},
		"only stale":      {with(plainLog, func(l *seed.Log) { l.NoShadow = true }), func(b []byte) { copy(b[6*4096:], stale[6*4096:]) }, 5, ese.EndStale, 0, 0},
		"of a later log":  {plainLog, func(b []byte) { copy(b[3*4096:], foreign[3*4096:4*4096]) }, 4, ese.EndShadow, ese.SegmentForeign, 3},
		"swapped":         {plainLog, func(b []byte) { copy(b[3*4096:], b[4*4096:5*4096]) }, 4, ese.EndShadow, ese.SegmentBad, 3},
		"hole":            {plainLog, func(b []byte) { clear(b[3*4096 : 4*4096]) }, 4, ese.EndShadow, ese.SegmentAfterEnd, 4},
		"two bits":        {plainLog, func(b []byte) { b[3*4096+77] ^= 3 }, 4, ese.EndShadow, ese.SegmentBad, 3},
		"one bit":         {plainLog, func(b []byte) { b[3*4096+77] ^= 2 }, 5, ese.EndShadow, ese.SegmentCorrectable, 3},
		"bit of shadow":   {plainLog, func(b []byte) { b[6*4096+77] ^= 2 }, 5, ese.EndShadow, ese.SegmentCorrectable, 6},
		"bits of shadow":  {plainLog, func(b []byte) { b[6*4096+77] ^= 3 }, 5, ese.EndBad, ese.SegmentBad, 6},
		"torn":            {plainLog, func(b []byte) { clear(b[5*4096+512 : 6*4096]) }, 5, ese.EndTorn, ese.SegmentTorn, 5},
		"torn not at end": {plainLog, func(b []byte) { clear(b[4*4096+512 : 5*4096]) }, 4, ese.EndShadow, ese.SegmentBad, 4},
		"in unused space": {plainLog, func(b []byte) { b[9*4096+1] = 1 }, 5, ese.EndShadow, ese.SegmentBad, 9},
		"first":           {plainLog, func(b []byte) { b[4096+3000] ^= 255 }, 4, ese.EndShadow, ese.SegmentBad, 1},
	} {
		b, sums := x.log.Bytes()
		x.change(b)
		_, s := scan(t, b)
		if s.Segments != x.segments || s.End != x.end || (x.fault != 0) != (len(s.Faults) > 0) {
			t.Errorf("%s: %+v", what, s)
			continue
		}
		if x.fault != 0 && (s.Faults[0].Verdict != x.fault || s.Faults[0].Segment != x.at || s.Faults[0].Offset != int64(x.at)*4096) {
			t.Errorf("%s: %+v", what, s.Faults[0])
		}
		if len(s.Faults) > 1 {
			t.Errorf("%s: one fault is told more than once: %+v", what, s.Faults)
		}
		if whole := x.segments == x.log.Segments; whole != (s.Sums == sums) {
			t.Errorf("%s: sums %016x of %016x", what, s.Sums, sums)
		}
	}
}

func with(l seed.Log, change func(l *seed.Log)) seed.Log {
	change(&l)
	return l
}

// TestEveryBitOfALog: behind the header, no bit can be wrong unseen.
func TestEveryBitOfALog(t *testing.T) {
	l := plainLog
	l.Sectors, l.Segments = 6, 2
	b, _ := l.Bytes()
	for bit := 8 * 4096; bit < 8*len(b); bit += 31 {
		b[bit/8] ^= 1 << (bit % 8)
		_, s := scan(t, b)
		if len(s.Faults) == 0 {
			t.Fatalf("bit %d: %+v", bit, s)
		}
		if f := s.Faults[0]; f.Verdict == ese.SegmentCorrectable && f.Segment*8*4096+f.Bit != bit {
			t.Fatalf("bit %d: %+v", bit, f)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestLogOfVersion7(t *testing.T) {
	l := with(plainLog, func(l *seed.Log) {
		l.Header = func(b []byte) { le.PutUint32(b[32:], 7); le.PutUint32(b[36:], 3704) }
	})
	b, _ := l.Bytes()
	b[5000] = 99
	if _, s := scan(t, b); s.Checked || len(s.Faults) > 0 {
		t.Errorf("%+v", s)
	}
	next, _ := plainLog.Bytes()
	n, _ := scan(t, next)
	if err := n.FollowsSums(ese.LogScan{}); err != nil {
		t.Error(err)
	}
}

func TestRefusedLogs(t *testing.T) {
	b, _ := plainLog.Bytes()
	if _, err := ese.OpenLog(bytes.NewReader(b), 4095); !errors.Is(err, ese.ErrNotLog) {
		t.Error(err)
	}
	bad, _ := with(plainLog, func(l *seed.Log) { l.Header = func(b []byte) { le.PutUint16(b[673:], 0xffff) } }).Bytes()
	if _, err := ese.OpenLog(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, ese.ErrCorrupt) {
		t.Error(err)
	}
	l, err := ese.OpenLog(bytes.NewReader(b[:5000]), int64(len(b))) // shorter than promised
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Scan(context.Background()); err == nil {
		t.Error("no error at the end of the file")
	}
}

func TestCheckpoint(t *testing.T) {
	good := seed.Checkpoint(7, "logs", "database")
	cp, err := ese.ReadCheckpoint(bytes.NewReader(good), int64(len(good)))
	if err != nil || cp.Position != (ese.LogPosition{Generation: 7, Sector: 3}) || cp.Signature != ese.Signature(seed.Signature("logs")) ||
		len(cp.Attached) != 1 || cp.Shadow || cp.Differ || cp.ShadowIsDamaged {
		t.Errorf("%+v, %v", cp, err)
	}
	for bit := 0; bit < 8*4096; bit += 5 {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		cp, err := ese.ReadCheckpoint(bytes.NewReader(b), int64(len(b)))
		if err != nil || !cp.Shadow || cp.Position.Generation != 7 {
			t.Fatalf("bit %d: %+v, %v", bit, cp, err)
		}
		if cp, err = ese.ReadCheckpoint(bytes.NewReader(append(b[4096:], b[:4096]...)), int64(len(b))); err != nil || !cp.ShadowIsDamaged {
			t.Fatalf("bit %d of the shadow: %+v, %v", bit, cp, err)
		}
		if _, err := ese.ReadCheckpoint(bytes.NewReader(b), 4096); !errors.Is(err, ese.ErrChecksum) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	for what, b := range map[string][]byte{"short": good[:4095], "a log": func() []byte { b, _ := plainLog.Bytes(); return b }()} {
		if _, err := ese.ReadCheckpoint(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ese.ErrNotCheckpoint) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestIdentify(t *testing.T) {
	log, _ := plainLog.Bytes()
	for want, b := range map[ese.FileType][]byte{
		ese.FileDatabase: seed.Sample(8192, true).Bytes(), ese.FileLog: log, ese.FileCheckpoint: seed.Checkpoint(1, "logs", ""), ese.FileUnknown: make([]byte, 9000),
	} {
		if got, err := ese.Identify(bytes.NewReader(b), int64(len(b))); got != want || err != nil {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	needFixtures(t)
	jfm := readFixture(t, fixtures+"/secedit-cis/secedit.jfm")
	if got, err := ese.Identify(bytes.NewReader(jfm), int64(len(jfm))); got != ese.FileFlushMap || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestParseLogName(t *testing.T) {
	for name, want := range map[string]struct {
		kind       ese.NameKind
		base       string
		generation uint32
	}{
		"edb0000A.log":                    {ese.LogName, "edb", 10},
		"EDB0000a.LOG":                    {ese.LogName, "EDB", 10},
		"edbFFFFF.log":                    {ese.LogName, "edb", 0xfffff},
		"edb00100000.log":                 {ese.LogName, "edb", 0x100000},
		"edb00000001.log":                 {ese.LogName, "edb", 1},
		`C:\Windows\CertLog\edb00012.log`: {ese.LogName, "edb", 0x12},
		"DataBase/edb00012.jtx":           {ese.LogName, "edb", 0x12},
		"edb.log":                         {ese.CurrentLog, "edb", 0},
		"edbtmp.log":                      {ese.TemporaryLog, "edb", 0},
		"edbres00001.jrs":                 {ese.ReserveLog, "edb", 0},
		"res1.log":                        {ese.ReserveLog, "", 0},
		"edb.chk":                         {ese.CheckpointName, "edb", 0},
		"CA.edb":                          {ese.DatabaseName, "", 0},
		"CA.jfm":                          {ese.FlushMapName, "", 0},
		"edb00000.log":                    {},
		"edb0001.log":                     {},
		"edb0000G.log":                    {},
		"edb+0001.log":                    {},
		"edb0x001.log":                    {},
		"edb00_01.log":                    {},
		"certbkxp.dat":                    {},
		"":                                {},
		"ed.log":                          {},
	} {
		kind, base, generation := ese.ParseLogName(name)
		if kind != want.kind || base != want.base || generation != want.generation {
			t.Errorf("%q: %v %q %d, want %v", name, kind, base, generation, want)
		}
	}
}

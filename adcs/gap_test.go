package adcs

import (
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
)

func testGap(number int64) backup.Gap {
	return backup.Gap{Schema: 1, CRLNumber: number, RequestID: 7, Revoked: []backup.GapRevocation{{Serial: "01", Time: testTime, Source: "a.crl"}},
		Issued: []backup.GapCertificate{}, Sources: []backup.GapSource{}}
}

func TestRecordGap(t *testing.T) {
	f := newFake(t)
	now := testTime
	h := f.open(t, Options{Now: func() time.Time { return now }})
	if path, err := h.GapFile(); path != "" || err != nil {
		t.Errorf("before any: %q, %v", path, err)
	}
	record := func(g backup.Gap, file string) {
		t.Helper()
		if err := h.RecordGap(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		path, err := h.GapFile()
		if err != nil || filepath.Base(path) != file {
			t.Errorf("%q, %v, want %s", path, err, file)
		}
		b, err := durable.ReadFile(f.fsys, path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var r recordedGap
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(recordedGap{1, testName, r.Recorded, g}, r); diff != "" {
			t.Error(diff)
		}
	}
	record(testGap(1), "gap-20261125T120000Z.json")
	record(testGap(1), "gap-20261125T120000Z.json") // repeated
	for i := int64(2); i < 13; i++ {                // all within a second
		record(testGap(i), map[bool]string{true: "gap-20261125T120000Z-12.json"}[i == 12]+map[bool]string{true: "gap-20261125T120000Z-" + string(rune('0'+i)) + ".json"}[i < 10]+
			map[bool]string{true: "gap-20261125T120000Z-1" + string(rune('0'+i-10)) + ".json"}[i == 10 || i == 11])
	}
	now = now.Add(time.Hour)
	record(testGap(1), "gap-20261125T130000Z.json")
	if n := len(f.files(t, `C:\ProgramData\certkeep`)); n != 13 {
		t.Errorf("%d files: one was replaced", n)
	}
}

func TestRecordGapDurable(t *testing.T) {
	for n := 1; ; n++ {
		f := newFake(t)
		disk := durabletest.New()
		f.root, f.fsys = "/", disk
		h := f.open(t, Options{})
		disk.Inject(durabletest.Fault{Op: n, Err: syscall.EIO})
		err := h.RecordGap(t.Context(), testGap(1))
		fired := disk.Fired()
		disk.Heal()
		if !fired {
			break
		}
		if path, _ := h.GapFile(); err == nil && path == "" {
			t.Errorf("operation %d failed, nobody said so, and there is no gap", n)
		}
	}
	f := newFake(t)
	disk := durabletest.New()
	f.root, f.fsys = "/", disk
	h := f.open(t, Options{})
	if err := h.RecordGap(t.Context(), testGap(1)); err != nil {
		t.Fatal(err)
	}
	disk.Mark("recorded")
	disk.CrashStates(func(s durabletest.State) {
		f.fsys = s.Disk()
		if path, err := f.open(t, Options{}).GapFile(); s.Reached("recorded") && (err != nil || path == "") {
			t.Errorf("%v: %q, %v", s, path, err)
		}
	})
}

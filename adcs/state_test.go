package adcs

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/internal/durable"
)

// FuzzState: whatever stands in the state files, nothing moves but files of the
// engine, to directories beside their own, and no value is set but the two.
func FuzzState(f *testing.F) {
	m := newFakeAt("/")
	dir := m.native(`C:\Windows\system32\CertLog`)
	aside := dir + asideMark + "20261125T120000Z"
	j := asideJournal{Schema: 1, State: asideMoving, Dirs: []asideDir{{dir, aside}}, Runs: 1,
		Moves: []asideMove{{From: filepath.Join(dir, "edb.log"), To: filepath.Join(aside, "edb.log")}, {From: filepath.Join(dir, "edb.log"), To: filepath.Join(aside, "again-1", "edb.log"), Again: 1}}}
	w := withheld{Schema: 1, Authority: testName, Values: []withheldValue{{Name: interfaceFlags, Before: &stored{regfile.DWord, []byte{1, 0, 0, 0}}, During: stored{regfile.DWord, []byte{15, 0, 0, 0}}}}}
	for _, v := range []any{j, w} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newFakeAt("/")
		disk := newDisk(t, m)
		state := m.native(`C:\ProgramData\certkeep`)
		if err := disk.MkdirAll(state, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{asideFile, withheldFile} {
			if err := durable.WriteFile(disk, filepath.Join(state, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h := m.open(t, Options{})
		if j, err := h.loadJournal([]string{dir}); err == nil && j.State == asideMoving {
			for _, m := range j.Moves {
				if filepath.Dir(m.From) != dir || !isEngineFile(filepath.Base(m.From), testName) || !strings.HasPrefix(m.To, dir) || strings.Contains(m.To, "..") {
					t.Errorf("%+v", m)
				}
			}
		}
		if st, found, err := h.withheld(); err == nil && found {
			for _, v := range st.Values {
				if v.Name != interfaceFlags && v.Name != crlURLs {
					t.Errorf("%+v", v)
				}
			}
		}
	})
}

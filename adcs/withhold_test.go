package adcs

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/internal/durable"
)

// values are those that Withhold changes.
func (f *fake) withholdable() map[string]*regfile.Value {
	return map[string]*regfile.Value{interfaceFlags: f.get(interfaceFlags), crlURLs: f.get(crlURLs)}
}

func number32(t *testing.T, v *regfile.Value) uint32 {
	t.Helper()
	n, err := v.Number()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func list(t *testing.T, v *regfile.Value) []string {
	t.Helper()
	l, err := v.Strings()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// keysOf reads a registry file of the state directory.
func keysOf(t *testing.T, f *fake, name string) []regfile.Key {
	t.Helper()
	b, err := durable.ReadFile(f.fsys, filepath.Join(f.native(`C:\ProgramData\certkeep`), name), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := regfile.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestWithhold(t *testing.T) {
	f := newFake(t)
	before := f.withholdable()
	h := f.open(t, Options{})
	f.onSet = func() { // what is changed can be undone, whatever comes next
		if files := f.files(t, `C:\ProgramData\certkeep`); files[withheldFile] == "" || files[undoFile] == "" {
			t.Errorf("changed, and only %d files were written before", len(files))
		}
	}
	w, err := h.Withhold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := number32(t, f.get(interfaceFlags)); n != 0x641|0xe {
		t.Errorf("InterfaceFlags %#x", n)
	}
	want := []string{`0:C:\Windows\system32\CertSrv\CertEnroll\%3%8%9.crl`, "14:ldap:///CN=%7%8,CN=%2", "6:http://pki.example/%3%8%9.crl", "no flags"}
	if diff := cmp.Diff(want, list(t, f.get(crlURLs))); diff != "" {
		t.Error(diff)
	}
	if len(w.What) != 2 || len(w.Undo) != 3 || !strings.HasPrefix(w.Undo[0], "reg import ") || f.log[len(f.log)-1] != "flush" {
		t.Errorf("%+v, %q", w, f.log)
	}

	// A second time saves nothing else, and changes nothing.
	withheld := f.withholdable()
	files := f.files(t, `C:\ProgramData\certkeep`)
	f.log, f.onSet = nil, nil
	again, err := f.open(t, Options{}).Withhold(t.Context())
	if err != nil || !cmp.Equal(w, again) || !cmp.Equal(withheld, f.withholdable()) || !cmp.Equal(files, f.files(t, `C:\ProgramData\certkeep`)) || slices.Contains(f.log, "set "+crlURLs) {
		t.Errorf("again: %+v, %v, %q", again, err, f.log)
	}

	// A person can undo it with regedit alone, and then Release has nothing to do.
	keys := keysOf(t, f, undoFile)
	for _, k := range keys {
		for _, v := range k.Values {
			f.put(strings.TrimPrefix(k.Path, `HKEY_LOCAL_MACHINE\`), v)
		}
	}
	if diff := cmp.Diff(before, f.withholdable()); diff != "" {
		t.Errorf("undone by hand (-want +got):\n%s", diff)
	}
	if err := h.Release(t.Context()); err != nil || !cmp.Equal(before, f.withholdable()) {
		t.Errorf("released after that: %v", err)
	}
}

func TestRelease(t *testing.T) {
	f := newFake(t)
	before := f.withholdable()
	h := f.open(t, Options{})
	if err := h.Release(t.Context()); err != nil || len(f.log) > 0 {
		t.Errorf("nothing withheld: %v, %q", err, f.log)
	}
	if _, err := h.Withhold(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.open(t, Options{}).Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, f.withholdable()); diff != "" {
			t.Fatal(diff)
		}
	}
	if files := f.files(t, `C:\ProgramData\certkeep`); files[withheldFile] != "" || files[undoFile] != "" || len(files) != 2 {
		t.Errorf("left behind: %q", files)
	}

	// The next time it starts from what is there then.
	f.put(h.key(), regfile.NewNumber(interfaceFlags, 0x600))
	if _, err := h.Withhold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(t.Context()); err != nil || number32(t, f.get(interfaceFlags)) != 0x600 {
		t.Errorf("the next time: %v, %#x", err, number32(t, f.get(interfaceFlags)))
	}
}

func TestReleaseChanged(t *testing.T) {
	f := newFake(t)
	before := f.withholdable()
	h := f.open(t, Options{})
	w, err := h.Withhold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.put(h.key(), regfile.NewNumber(interfaceFlags, 0x40e))
	err = h.Release(t.Context())
	var changed *ChangedError
	if !errors.Is(err, ErrChanged) || !errors.As(err, &changed) || !slices.Equal(changed.Names, []string{interfaceFlags}) || !strings.Contains(hintOf(err), changed.Kept) {
		t.Fatalf("%v", err)
	}
	if number32(t, f.get(interfaceFlags)) != 0x40e || !cmp.Equal(before[crlURLs], f.get(crlURLs)) {
		t.Errorf("left: %v", f.withholdable())
	}
	if keys := keysOf(t, f, filepath.Base(changed.Kept)); len(keys) != 1 || len(keys[0].Values) != 2 {
		t.Errorf("kept %+v", keys)
	}
	if err := h.Release(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
	// The way back that Withhold named is still there, until the next Withhold.
	if w.Undo[0] != `reg import "`+changed.Kept+`"` {
		t.Errorf("%q, and kept is %s", w.Undo, changed.Kept)
	}
	importUndo(t, f)
	if !cmp.Equal(before, f.withholdable()) {
		t.Errorf("undone by hand: %v", f.withholdable())
	}
	f.put(h.key(), regfile.NewNumber(interfaceFlags, 0x600))
	if _, err := h.Withhold(t.Context()); err != nil {
		t.Fatal(err)
	}
	files := slices.Sorted(maps.Keys(f.files(t, `C:\ProgramData\certkeep`)))
	if want := []string{"publish-again-20261125T120000Z.reg", undoFile, "withheld-20261125T120000Z.json", withheldFile}; !slices.Equal(files, want) {
		t.Errorf("%q", files)
	}
}

// importUndo is reg import of what Withhold left.
func importUndo(t *testing.T, f *fake) {
	t.Helper()
	for _, k := range keysOf(t, f, undoFile) {
		for _, v := range k.Values {
			f.put(strings.TrimPrefix(k.Path, `HKEY_LOCAL_MACHINE\`), v)
		}
	}
}

// TestWithholdUndone: the operator followed the way back, and changed the
// configuration since. The next restore goes by what it finds.
func TestWithholdUndone(t *testing.T) {
	f := newFake(t)
	h := f.open(t, Options{})
	if _, err := h.Withhold(t.Context()); err != nil {
		t.Fatal(err)
	}
	importUndo(t, f)
	f.put(h.key(), regfile.NewMulti(crlURLs, []string{`1:D:\new.crl`}))
	f.put(h.key(), regfile.NewNumber(interfaceFlags, 0x600))
	before := f.withholdable()
	later := f.open(t, Options{Now: func() time.Time { return testTime.AddDate(1, 0, 0) }})
	if w, err := later.Withhold(t.Context()); err != nil || strings.Contains(strings.Join(w.What, "\n"), "set by somebody") {
		t.Errorf("%+v, %v", w, err)
	}
	if st, _, err := later.withheld(); err != nil || !st.Since.Equal(testTime.AddDate(1, 0, 0)) {
		t.Errorf("%+v, %v", st, err)
	}
	if f.files(t, `C:\ProgramData\certkeep`)["withheld-20271125T120000Z.json"] == "" {
		t.Errorf("the old one was not kept")
	}
	if err := later.Release(t.Context()); err != nil || !cmp.Equal(before, f.withholdable()) {
		t.Errorf("released: %v, %v", err, f.withholdable())
	}

	// With nothing to withhold there is nothing to undo.
	f.put(h.key(), regfile.NewNumber(interfaceFlags, 0xe))
	f.put(h.key(), regfile.NewMulti(crlURLs, nil))
	for range 2 {
		if _, err := later.Withhold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if files := f.files(t, `C:\ProgramData\certkeep`); files["withheld-20271125T120000Z-3.json"] != "" || files[withheldFile] == "" {
		t.Errorf("%q", slices.Sorted(maps.Keys(files)))
	}
}

// Somebody makes the authority publish again while it is withheld, and a second run
// of the restore withholds it once more.
func TestWithholdChanged(t *testing.T) {
	f := newFake(t)
	before := f.withholdable()
	h := f.open(t, Options{})
	if _, err := h.Withhold(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.put(h.key(), regfile.NewMulti(crlURLs, []string{`1:D:\new.crl`}))
	w, err := h.Withhold(t.Context())
	if err != nil || !strings.Contains(strings.Join(w.What, "\n"), crlURLs+" was set by somebody") {
		t.Errorf("%+v, %v", w, err)
	}
	if got := list(t, f.get(crlURLs)); !slices.Equal(got, []string{`0:D:\new.crl`}) {
		t.Errorf("%q", got)
	}
	if err := h.Release(t.Context()); err != nil || !cmp.Equal(before, f.withholdable()) {
		t.Errorf("released: %v, %v", err, f.withholdable())
	}
}

func TestWithholdKinds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *fake, key string)
		what   int
	}{
		"closed already": {func(f *fake, key string) {
			f.put(key, regfile.NewNumber(interfaceFlags, 0xe))
			f.put(key, regfile.NewMulti(crlURLs, []string{"6:http://x"}))
		}, 0},
		"nothing there": {func(f *fake, key string) {
			f.put(key, regfile.Value{Name: interfaceFlags, Delete: true})
			f.put(key, regfile.Value{Name: crlURLs, Delete: true})
		}, 1},
		"one flag of three": {func(f *fake, key string) { f.put(key, regfile.NewNumber(interfaceFlags, 0x4)) }, 2},
		"delta alone":       {func(f *fake, key string) { f.put(key, regfile.NewMulti(crlURLs, []string{`64:C:\d.crl`})) }, 2},
	} {
		f := newFake(t)
		h := f.open(t, Options{})
		c.change(f, h.key())
		before := f.withholdable()
		w, err := h.Withhold(t.Context())
		if err != nil || c.what != len(w.Undo)/3*len(w.What) && !(c.what == 0 && len(w.Undo) == 0) {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
		if v := f.get(interfaceFlags); number32(t, v)&0xe != 0xe {
			t.Errorf("%s: InterfaceFlags %v", name, v)
		}
		if v := f.get(crlURLs); v != nil {
			for _, url := range list(t, v) {
				if strings.HasPrefix(url, "64:") || strings.HasPrefix(url, "65:") || strings.HasPrefix(url, "79:") {
					t.Errorf("%s: %s", name, url)
				}
			}
		}
		if err := h.Release(t.Context()); err != nil || !cmp.Equal(before, f.withholdable()) {
			t.Errorf("%s: released: %v, %v", name, err, f.withholdable())
		}
	}
}

// TestWithholdInterrupted: a run that got no further than its files, or one value,
// is finished by the next, and what is released is the original.
func TestWithholdInterrupted(t *testing.T) {
	for _, at := range []string{interfaceFlags, crlURLs} {
		f := newFake(t)
		before := f.withholdable()
		h := f.open(t, Options{})
		f.failed["set "+at] = syscall.EIO
		if w, err := h.Withhold(t.Context()); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), at) || len(w.What) != 2 || len(w.Undo) != 3 {
			t.Errorf("%s: %+v, %v", at, w, err)
		}
		clear(f.failed)
		f.failed["flush"] = syscall.EIO
		if w, err := f.open(t, Options{}).Withhold(t.Context()); !errors.Is(err, syscall.EIO) || len(w.What) != 2 || len(w.Undo) != 3 {
			t.Errorf("%s: flush: %+v, %v", at, w, err)
		}
		clear(f.failed)
		if _, err := h.Withhold(t.Context()); err != nil || number32(t, f.get(interfaceFlags))&0xe != 0xe || strings.HasPrefix(list(t, f.get(crlURLs))[0], "65") {
			t.Errorf("%s: second run: %v, %v", at, err, f.withholdable())
		}
		f.failed["set "+at] = syscall.EIO
		if err := h.Release(t.Context()); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: release: %v", at, err)
		}
		clear(f.failed)
		if err := h.Release(t.Context()); err != nil || !cmp.Equal(before, f.withholdable()) {
			t.Errorf("%s: released: %v, %v", at, err, f.withholdable())
		}
	}
}

// A state file sets no other value than those two, and no other authority's.
func TestWithholdHostileState(t *testing.T) {
	good := withheld{Schema: 1, Authority: testName, Values: []withheldValue{{Name: interfaceFlags, During: stored{regfile.DWord, []byte{1, 0, 0, 0}}}}}
	for name, change := range map[string]func(w *withheld){
		"another value":     func(w *withheld) { w.Values[0].Name = "Security" },
		"another type":      func(w *withheld) { w.Values[0].During.Type = regfile.String },
		"its old type":      func(w *withheld) { w.Values[0].Before = &stored{regfile.Binary, nil} },
		"another authority": func(w *withheld) { w.Authority = "Other" },
		"another schema":    func(w *withheld) { w.Schema = 2 },
	} {
		f := newFake(t)
		h := f.open(t, Options{})
		b, err := json.Marshal(good)
		var w withheld
		if err == nil {
			err = json.Unmarshal(b, &w)
		}
		if err != nil {
			t.Fatal(err)
		}
		change(&w)
		if err := h.store(withheldFile, w); err != nil {
			t.Fatal(err)
		}
		if err := h.Release(t.Context()); !errors.Is(err, ErrState) || len(f.log) > 0 {
			t.Errorf("%s: released: %v, %q", name, err, f.log)
		}
		if _, err := h.Withhold(t.Context()); !errors.Is(err, ErrState) || len(f.log) > 0 {
			t.Errorf("%s: withheld: %v, %q", name, err, f.log)
		}
	}
	f := newFake(t)
	f.put(configurationKey+`\`+testName, regfile.NewString(interfaceFlags, regfile.String, "1"))
	if _, err := f.open(t, Options{}).Withhold(t.Context()); !errors.Is(err, regfile.ErrType) || len(f.log) > 0 {
		t.Errorf("flags that are text: %v", err)
	}
}

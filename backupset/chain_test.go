package backupset

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func entry(t *testing.T, m *Manifest) Entry {
	t.Helper()
	if !m.Synthesized {
		if _, err := m.Encode(); err != nil {
			t.Fatal(err)
		}
	}
	return Entry{ID: m.ID, Name: "n" + m.ID, Location: "/sets/" + m.ID, Manifest: m, Confirmed: !m.Synthesized}
}

// synthesized is what a Store makes of a folder that certutil wrote.
func synthesized(name string, first, last uint32, full bool) *Manifest {
	m := &Manifest{ID: "folder:" + name, Synthesized: true, Type: Incremental, Engine: "ese", FirstGeneration: first, LastGeneration: last,
		Start: when.Add(time.Duration(last) * time.Hour), End: when.Add(time.Duration(last) * time.Hour)}
	if full {
		m.Type, m.CA.SanitizedName = Full, "CA"
	}
	return m
}

func ids(c Chain) (s []string) {
	for _, e := range c {
		s = append(s, e.ID)
	}
	return s
}

func TestResolve(t *testing.T) {
	base := func() []Entry {
		return []Entry{
			entry(t, fullSet(idA, 1, 3)), entry(t, incrementalSet(idB, idA, 4, 6)), entry(t, incrementalSet(idC, idB, 6, 9)), // overlapping, without truncation
			entry(t, incrementalSet(idD, idC, 10, 10)),
		}
	}
	for id, want := range map[string][]string{idA: {idA}, idB: {idA, idB}, idD: {idA, idB, idC, idD}, "n" + idC: {idA, idB, idC}} {
		es := base()
		slices.Reverse(es)
		if c, err := Resolve(es, id, ResolveOptions{}); err != nil || !slices.Equal(ids(c), want) {
			t.Errorf("%s: %v, %v", id, ids(c), err)
		}
	}
	boom := errors.New("boom")
	for _, c := range []struct {
		name   string
		change func(es []Entry) []Entry
		id     string
		want   []error
		says   string
	}{
		{"unknown", nil, "20260314T091500.123Z-zzzzzzzzzz", []error{ErrNotFound}, "zzzz"},
		{"no id", nil, "", []error{ErrNotFound}, ""},
		{"parent missing", func(es []Entry) []Entry { return slices.Delete(es, 1, 2) }, idD, []error{ErrChain}, idB},
		{"full missing", func(es []Entry) []Entry { return es[1:] }, idD, []error{ErrChain}, idA},
		{"parent damaged", func(es []Entry) []Entry {
			es[1] = Entry{Name: "x", ID: idB, Err: errors.Join(ErrDamaged, boom)}
			return es
		}, idD, []error{ErrChain, ErrDamaged, boom}, idB},
		{"itself damaged", func(es []Entry) []Entry { es[0].Manifest, es[0].Err = nil, ErrNewer; return es }, idA, []error{ErrNewer}, idA},
		{"unconfirmed parent", func(es []Entry) []Entry { es[1].Confirmed = false; return es }, idD, []error{ErrChain, ErrUnconfirmed}, idB},
		{"damaged receipt", func(es []Entry) []Entry { es[1].Confirmed, es[1].Err = false, ErrDamaged; return es }, idD, []error{ErrChain, ErrUnconfirmed, ErrDamaged}, idB},
		{"gap", func(es []Entry) []Entry { es[2] = entry(t, incrementalSet(idC, idB, 8, 9)); return es }, idD, []error{ErrChain}, "7 to 7"},
		{"ends before its parent", func(es []Entry) []Entry { es[2] = entry(t, incrementalSet(idC, idB, 5, 5)); return es }, idC, []error{ErrChain}, "before it at 6"},
		{"other signature", func(es []Entry) []Entry { es[1].Manifest.Signature = "ff"; return es }, idD, []error{ErrChain}, "signature"},
		{"other authority", func(es []Entry) []Entry { es[0].Manifest.CA.CertificateSHA256 = digestOf("9"); return es }, idD, []error{ErrChain}, "authority"},
		{"circle", func(es []Entry) []Entry {
			es[1] = entry(t, incrementalSet(idB, idC, 4, 9))
			return es
		}, idD, []error{ErrChain}, "itself"},
		{"same id, other content", func(es []Entry) []Entry {
			m := fullSet(idA, 1, 3)
			m.CA.Host = "elsewhere"
			return append(es, entry(t, m))
		}, idB, []error{ErrChain, ErrAmbiguous}, "/sets/" + idA},
	} {
		t.Run(c.name, func(t *testing.T) {
			es := base()
			if c.change != nil {
				es = c.change(es)
			}
			chain, err := Resolve(es, c.id, ResolveOptions{})
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v, %v; want %v", ids(chain), err, want)
				}
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say %q", err, c.says)
			}
		})
	}
	es := base()
	es[1].Confirmed, es[3].Confirmed = false, false
	if c, err := Resolve(es, idD, ResolveOptions{AllowUnconfirmed: true}); err != nil || len(c) != 4 {
		t.Errorf("unconfirmed ones allowed: %v, %v", ids(c), err)
	}
	es = base()
	es[3].Confirmed = false
	if c, err := Resolve(es, idD, ResolveOptions{}); err != nil || c.Tip().ID != idD || c.Full().ID != idA {
		t.Errorf("the set itself may be unconfirmed: %v, %v", ids(c), err)
	}
	// A copy of a folder is the same set; the copy that has its receipt counts.
	es = base()
	twin := es[1]
	es[1].Confirmed = false
	if c, err := Resolve(append(es, twin), idD, ResolveOptions{}); err != nil || len(c) != 4 {
		t.Errorf("copied folder: %v, %v", ids(c), err)
	}
}

func TestResolveEmptyIncremental(t *testing.T) {
	empty := incrementalSet(idB, idA, 4, 4)
	empty.Files, empty.FirstGeneration, empty.LastGeneration = nil, 0, 0
	es := []Entry{entry(t, fullSet(idA, 1, 3)), entry(t, empty), entry(t, incrementalSet(idC, idB, 4, 5))}
	if c, err := Resolve(es, idC, ResolveOptions{}); err != nil || len(c) != 3 {
		t.Errorf("%v, %v", ids(c), err)
	}
	es[2] = entry(t, incrementalSet(idC, idB, 5, 5))
	if c, err := Resolve(es, idC, ResolveOptions{}); !errors.Is(err, ErrChain) {
		t.Errorf("gap behind an empty set: %v, %v", ids(c), err)
	}
}

// TestResolveRanges: folders that certutil wrote fit by their generations.
func TestResolveRanges(t *testing.T) {
	f1, i1, i2 := synthesized("f1", 1, 3, true), synthesized("i1", 3, 6, false), synthesized("i2", 7, 9, false)
	f2, old := synthesized("f2", 8, 20, true), synthesized("old", 2, 5, false)
	es := func(ms ...*Manifest) (out []Entry) {
		for _, m := range ms {
			out = append(out, entry(t, m))
		}
		return out
	}
	for _, c := range []struct {
		name string
		es   []Entry
		id   string
		want []string
		err  error
		says string
	}{
		{"direct", es(i1, f1), i1.ID, []string{f1.ID, i1.ID}, nil, ""},
		{"through another", es(i2, f2, old, i1, f1), i2.ID, []string{f1.ID, i1.ID, i2.ID}, nil, ""},
		{"gap", es(i2, f1, old), i2.ID, nil, ErrChain, "6 to 6"},
		{"no full", es(i1, i2, f2), i2.ID, nil, ErrChain, "no full set"},
		{"other engine", func() []Entry { s := es(i1, f1); m := *f1; m.Engine = "sqlite"; s[1].Manifest = &m; return s }(), i1.ID, nil, ErrChain, "no full set"},
		{"two authorities", func() []Entry { m := *f1; m.ID, m.CA.SanitizedName = "folder:g", "Other"; return es(i1, f1, &m) }(), i1.ID, nil, ErrAmbiguous, "folder:g"},
	} {
		t.Run(c.name, func(t *testing.T) {
			chain, err := Resolve(c.es, c.id, ResolveOptions{})
			if !errors.Is(err, c.err) || !slices.Equal(ids(chain), c.want) {
				t.Errorf("%v, %v; want %v, %v", ids(chain), err, c.want, c.err)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say %q", err, c.says)
			}
		})
	}
	// A set with a manifest never continues one without.
	m := incrementalSet(idB, idA, 4, 5)
	s := fullSet(idA, 1, 3)
	s.Synthesized = true
	if _, err := Resolve([]Entry{entry(t, m), {ID: idA, Manifest: s}}, idB, ResolveOptions{AllowUnconfirmed: true}); !errors.Is(err, ErrChain) {
		t.Errorf("parent without manifest: %v", err)
	}
}

func TestNewestAndParent(t *testing.T) {
	a, b, c := fullSet(idA, 1, 3), incrementalSet(idB, idA, 4, 6), incrementalSet(idC, idB, 7, 9)
	es := []Entry{entry(t, c), entry(t, a), {Name: "broken", Err: ErrDamaged}, entry(t, b)}
	ours := func(m *Manifest) bool { return m.CA.Name == a.CA.Name }
	for _, f := range []func() (Chain, error){
		func() (Chain, error) { return Newest(es, nil, ResolveOptions{}) },
		func() (Chain, error) { return Newest(es, ours, ResolveOptions{}) },
		func() (Chain, error) { return Parent(es, ours) },
	} {
		if got, err := f(); err != nil || !slices.Equal(ids(got), []string{idA, idB, idC}) {
			t.Errorf("%v, %v", ids(got), err)
		}
	}
	none := func(*Manifest) bool { return false }
	if _, err := Parent(es, none); !errors.Is(err, ErrNotFound) {
		t.Errorf("none matches: %v", err)
	}
	if _, err := Newest(nil, nil, ResolveOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no sets: %v", err)
	}
	// The newest set decides, also when an older one would do.
	es[0].Confirmed = false
	if got, err := Parent(es, ours); !errors.Is(err, ErrUnconfirmed) || !strings.Contains(err.Error(), idC) {
		t.Errorf("newest is unconfirmed: %v, %v", ids(got), err)
	}
	if got, err := Newest(es, ours, ResolveOptions{}); err != nil || len(got) != 3 {
		t.Errorf("newest, unconfirmed: %v, %v", ids(got), err)
	}
	es[0].Confirmed, es[3].Confirmed = true, false
	if got, err := Parent(es, ours); !errors.Is(err, ErrChain) || !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("parent's parent is unconfirmed: %v, %v", ids(got), err)
	}
	es[0].Err, es[0].Confirmed = ErrDamaged, false
	if _, err := Parent(es, ours); !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged receipt: %v", err)
	}
	if _, err := Parent([]Entry{entry(t, synthesized("x", 1, 2, true))}, nil); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("without manifest: %v", err)
	}
}

func TestSortAndState(t *testing.T) {
	es := []Entry{{Name: "z", Err: ErrDamaged}, entry(t, incrementalSet(idB, idA, 4, 6)), {Name: "a", Err: ErrDamaged}, entry(t, fullSet(idA, 1, 3))}
	Sort(es)
	var got []string
	for _, e := range es {
		got = append(got, e.Label()+" "+e.State())
	}
	if want := []string{idA + " confirmed", idB + " confirmed", "a damaged", "z damaged"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if s := (Entry{Manifest: &Manifest{}}).State(); s != "unconfirmed" {
		t.Error(s)
	}
}

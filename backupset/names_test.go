package backupset

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestValidateName(t *testing.T) {
	for _, good := range []string{"CA.edb", "Contoso Issuing CA 1.edb", "edb0001a.log", "certbkxp.dat", "Test !003cCA!003e(1)+.crl",
		"Söhne.db", "证书.db", ".hidden", "CONSOLE.txt", "com.db", "com10.db", "nul-1", strings.Repeat("x", 255)} {
		if err := ValidateName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", `a\b`, "/a", "a/", "c:", "c:a", "a:stream", "a*", "a?", `a"`, "a<", "a>", "a|",
		"a\x00", "a\n", "a\x7f", "a\u0085", "a\u202egpj", "a\u200b", "a\u2028", "a\u00a0", "a.", "a ", " a", "a. .", "\xff", "a\xc3",
		"NUL", "nul", "Nul.txt", "nul .txt", "com1", "COM9.db", "lpt0.x.y", "COM\u00b9", "CON", "prn.log", "AUX.", "CONIN$", "conout$.a",
		strings.Repeat("x", 256), strings.Repeat("ä", 128)} {
		if err := ValidateName(bad); err == nil {
			t.Errorf("%q is taken for a file name", bad)
		}
	}
}

// TestNames: whatever a server calls its files, the names made from it are
// valid and differ, and plain ones stay as they are.
func TestNames(t *testing.T) {
	var n Names
	for _, c := range [][2]string{
		{`\\HOST\C$\CertEnroll\CA.crl`, "CA.crl"},
		{`\\HOST\D$\Other\ca.CRL`, "ca-2.CRL"},
		{"/var/lib/CA.crl", "CA-3.crl"},
		{`C:\x\CA-2.crl`, "CA-2-2.crl"},
		{`\\HOST\C$\..`, "_"},
		{`\\HOST\C$\nul.crl`, "_nul.crl"},
		{"a:b?.crt", "a_b_.crt"},
		{"trailing. .", "trailing_"},
		{"", "_-2"},
	} {
		if got := n.Add(c[0]); got != c[1] {
			t.Errorf("%q becomes %q, want %q", c[0], got, c[1])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var n Names
		used := map[string]bool{}
		for _, s := range rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a.crl", "A.crl", "nul", "com1.x.", "..",
			strings.Repeat("ä", 200) + ".crl", strings.Repeat("x", 400), "." + strings.Repeat("y", 300), "\xff\xfe", "a\u202e"}))).Draw(t, "names") {
			got := n.Add(s)
			if err := ValidateName(got); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			if used[FoldName(got)] {
				t.Fatalf("%q: %q is there already", s, got)
			}
			used[FoldName(got)] = true
		}
	})
}

func TestID(t *testing.T) {
	at := time.Date(2026, 3, 14, 10, 15, 0, 123999999, time.FixedZone("east", 3600))
	id := NewID(at)
	if err := ValidateID(id); err != nil || !strings.HasPrefix(id, "20260314T091500.123Z-") {
		t.Errorf("%s: %v", id, err)
	}
	if err := ValidateName(id); err != nil {
		t.Errorf("as a file name: %v", err)
	}
	if again := NewID(at); again == id {
		t.Error("two ids are the same")
	}
	var ids []string
	for i := range 100 {
		ids = append(ids, NewID(at.Add(time.Duration(i)*37*time.Millisecond)))
	}
	if !slices.IsSorted(ids) {
		t.Error("ids do not sort by time")
	}
	for _, bad := range []string{"", "latest", idA + "x", idA[1:], "20260314T091500.123Z-AAAAAAAAAA", "20261314T091500.123Z-aaaaaaaaaa",
		"20260314T091500.123Z-aaaaaaaa18", "20260314T091500,123Z-aaaaaaaaaa", "../" + idA, strings.Repeat("x", 1<<20)} {
		if ValidateID(bad) == nil {
			t.Errorf("%.40q is taken for an id", bad)
		}
	}
}

func TestLogGeneration(t *testing.T) {
	for name, want := range map[string]uint32{"edb0001a.log": 0x1a, "EDB0001A.LOG": 0x1a, "logfffff.log": 0xfffff, "edbabcde.log": 0xabcde,
		"edb0010ffff.log": 0x10ffff, "edb00100000.log": 0x100000, "edb7fffffff.log": 0x7fffffff} {
		base, g, ok := LogGeneration(name)
		if !ok || g != want || base != strings.ToLower(name[:3]) {
			t.Errorf("%s: %s %x %v", name, base, g, ok)
		}
	}
	for _, bad := range []string{"edb.log", "edbres00001.jrs", "edbtmp.log", "edb0001g.log", "edb0001a.log.gz", "edb0001a", "12300001.log",
		"edb0001.log", "edb000001.log", "edb+001a.log", "edb00000.log", "edb80000000.log", "x/edb00001.log", `x\edb00001.log`, ".log", ""} {
		if _, _, ok := LogGeneration(bad); ok {
			t.Errorf("%q is taken for a log", bad)
		}
	}
}

func TestGenerations(t *testing.T) {
	for text, want := range map[string]Generations{
		"": nil, "00001": {1}, "00001-00003": {1, 2, 3}, "00001-00002 0001a": {1, 2, 0x1a}, "100000 ffffffff": {0x100000, 0xffffffff},
	} {
		b, err := want.MarshalText()
		if err != nil || string(b) != text {
			t.Errorf("%v: %q, %v; want %q", want, b, err, text)
		}
		var got Generations
		if err := got.UnmarshalText([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"1", "00001,00002", "00002-00001", "00001 00001", "00001-00003 00003", "0000A", "00000-ffffffff", "-00001", "00001-", "000000001"} {
		var g Generations
		if err := g.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: %d generations", bad, len(g))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		set := rapid.SliceOfDistinct(rapid.Uint32Range(0, 50), rapid.ID).Draw(t, "generations")
		slices.Sort(set)
		b, err := Generations(set).MarshalText()
		var got Generations
		if err == nil {
			err = got.UnmarshalText(b)
		}
		if err != nil || !slices.Equal(set, got) {
			t.Fatalf("%v becomes %q, %v: %v", set, b, got, err)
		}
	})
}

package regfile

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files")

const testKey = `HKEY_LOCAL_MACHINE\SOFTWARE\certkeep regfile test`

// samples has every type and every case in which text will not do.
func samples() []Key {
	long := make([]byte, 200)
	for i := range long {
		long[i] = byte(i)
	}
	return []Key{
		{Path: testKey, Values: []Value{
			NewString("", String, "the default value"),
			NewString("text", String, "Example Issuing CA"),
			NewString("empty text", String, ""),
			NewString("quotes", String, `say "hello\there"`),
			NewString(`name with "quotes" and \`, String, `C:\Windows\`),
			NewString("non-ASCII", String, "Zürich 認証局 😀"),
			NewString("名前", String, "x"),
			NewString("lines", String, "one\r\ntwo\nthree\ttab"),
			{Name: "no terminator", Type: String, Data: []byte{'a', 0, 'b', 0}},
			{Name: "more after it", Type: String, Data: []byte{'a', 0, 0, 0, 'b', 0, 0, 0}},
			{Name: "half a pair", Type: String, Data: []byte{0x3d, 0xd8, 0, 0}},
			NewString("expand", Expand, `%SystemRoot%\system32\CertLog`),
			NewMulti("multi", []string{`65:C:\Windows\system32\CertSrv\CertEnroll\%3%8%9.crl`, "79:ldap:///CN=%7%8"}),
			NewMulti("empty multi", nil),
			NewNumber("number", 0x6ee),
			NewNumber("largest", 0xffffffff),
			{Name: "wrong number", Type: DWord, Data: []byte{1, 2}},
			{Name: "big", Type: DWordBig, Data: []byte{0, 0, 0, 7}},
			{Name: "quad", Type: QWord, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
			{Name: "binary", Type: Binary, Data: long},
			{Name: "a name that is so long that its first line has hardly any room for bytes at all", Type: Binary, Data: long[:9]},
			{Name: "empty binary", Type: Binary, Data: []byte{}},
			{Name: "none", Type: None, Data: []byte{9}},
			{Name: "empty none", Type: None, Data: []byte{}},
			{Name: "link", Type: Link, Data: []byte{'x', 0}},
			{Name: "resources", Type: 8, Data: []byte{1, 2, 3}},
		}},
		{Path: testKey + `\no values`},
		{Path: testKey + `\a [bracket] in it`, Values: []Value{NewNumber("n", 1)}},
	}
}

func deletions() []Key {
	return []Key{
		{Path: testKey, Values: []Value{{Name: "number", Delete: true}, {Delete: true}}},
		{Path: testKey + `\no values`, Delete: true},
	}
}

func TestGolden(t *testing.T) {
	for name, keys := range map[string][]Key{"samples.reg": samples(), "deletions.reg": deletions()} {
		t.Run(name, func(t *testing.T) {
			got, err := Encode(keys)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs:\n%s", golden, mustText(t, got))
			}
			back, err := Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(keys, back); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
			for line := range strings.SplitSeq(mustText(t, got), "\r\n") {
				if strings.Contains(line, "=hex") && len([]rune(line)) > 100 || strings.HasPrefix(line, "  ") && len(line) > columns {
					t.Errorf("a line of %d characters: %s", len(line), line)
				}
			}
		})
	}
}

func mustText(t *testing.T, b []byte) string {
	t.Helper()
	s, err := textOf(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What regedit of Windows exports, comments, and what people do with an editor.
func TestDecode(t *testing.T) {
	in := "Windows Registry Editor Version 5.00\r\n\r\n; a comment\r\n[HKEY_LOCAL_MACHINE\\SYSTEM\\X]\r\n" +
		"@=\"d\"\r\n\"a\" = dword:0000000a ; ten\r\n\"b\"=hex(7):61,00,\\\r\n  00,00,00,00 ; two\r\n\"c\"=\"x\\\\y\\\"z\"\r\n\"d\"=\"one\r\ntwo \n\"\r\n\"gone\"=-\r\n\r\n[-HKEY_LOCAL_MACHINE\\SYSTEM\\Y]\n"
	want := []Key{
		{Path: `HKEY_LOCAL_MACHINE\SYSTEM\X`, Values: []Value{NewString("", String, "d"), NewNumber("a", 10), NewMulti("b", []string{"a"}),
			NewString("c", String, `x\y"z`), NewString("d", String, "one\r\ntwo \n"), {Name: "gone", Delete: true}}},
		{Path: `HKEY_LOCAL_MACHINE\SYSTEM\Y`, Delete: true},
	}
	for name, b := range map[string][]byte{
		"UTF-8":          []byte(in),
		"UTF-8 with BOM": append([]byte("\ufeff"), in...),
		"UTF-16":         append([]byte{0xff, 0xfe}, encode(in)...),
	} {
		got, err := Decode(b)
		if err != nil {
			t.Fatal(name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	const h = header + "\r\n"
	for name, in := range map[string]string{
		"nothing":            "",
		"version 4":          "REGEDIT4\r\n",
		"no key":             h + "\"a\"=\"b\"\r\n",
		"no bracket":         h + "[HKLM\\a\r\n",
		"empty key":          h + "[]\r\n",
		"no equals sign":     h + "[k]\r\n\"a\"\"b\"\r\n",
		"no quote":           h + "[k]\r\n\"a=1\r\n",
		"no name":            h + "[k]\r\na=\"1\"\r\n",
		"open string":        h + "[k]\r\n\"a\"=\"b\r\n",
		"after the string":   h + "[k]\r\n\"a\"=\"b\"c\r\n",
		"name of two lines":  h + "[k]\r\n\"a\r\nb\"=\"\"\r\n",
		"large number":       h + "[k]\r\n\"a\"=dword:123456789\r\n",
		"large byte":         h + "[k]\r\n\"a\"=hex:100\r\n",
		"odd type":           h + "[k]\r\n\"a\"=hex(x):00\r\n",
		"ends in a value":    h + "[k]\r\n\"a\"=hex:00,\\",
		"value of a deleted": h + "[-k]\r\n\"a\"=\"b\"\r\n",
		"not UTF-8":          h + "[\xff]\r\n",
		"odd UTF-16":         "\xff\xfea",
	} {
		if k, err := Decode([]byte(in)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	for name, k := range map[string]Key{
		"empty path":        {},
		"line break":        {Path: "a\nb"},
		"looks deleted":     {Path: "-a"},
		"value's name":      {Path: "a", Values: []Value{NewNumber("b\r", 1)}},
		"value's long name": {Path: "a", Values: []Value{NewNumber(strings.Repeat("x", maxName+1), 1)}},
	} {
		if b, err := Encode([]Key{k}); err == nil {
			t.Errorf("%s: written as %q", name, b)
		}
	}
}

func TestValues(t *testing.T) {
	if s, err := NewString("n", Expand, `%A%\x`).Text(); s != `%A%\x` || err != nil {
		t.Errorf("text %q, %v", s, err)
	}
	if s, err := (Value{Type: String, Data: []byte{'a', 0, 0, 0, 'b', 0, 'c'}}).Text(); s != "a" || err != nil {
		t.Errorf("text after its terminator: %q, %v", s, err)
	}
	if l, err := NewMulti("n", []string{"a", "bc"}).Strings(); cmp.Diff(l, []string{"a", "bc"}) != "" || err != nil {
		t.Errorf("strings %q, %v", l, err)
	}
	if l, err := (Value{Type: Multi, Data: []byte{'a', 0}}).Strings(); cmp.Diff(l, []string{"a"}) != "" || err != nil {
		t.Errorf("strings without a terminator: %q, %v", l, err)
	}
	if n, err := NewNumber("n", 7).Number(); n != 7 || err != nil {
		t.Errorf("number %d, %v", n, err)
	}
	wrong := Value{Name: "n", Type: Binary, Data: []byte{1, 2, 3, 4}}
	_, e1 := wrong.Text()
	_, e2 := wrong.Strings()
	_, e3 := wrong.Number()
	for i, err := range []error{e1, e2, e3} {
		if !errors.Is(err, ErrType) || !strings.Contains(err.Error(), "REG_BINARY") {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// keysOf draws what a registry can hold.
func keysOf(t *rapid.T) []Key {
	name := rapid.StringMatching(`[a-zA-Zäß認😀 "\\\[\];=@,.-]{0,12}`)
	value := rapid.Custom(func(t *rapid.T) Value {
		return Value{Name: name.Draw(t, "name"), Type: Type(rapid.Uint32Range(0, 13).Draw(t, "type")),
			Data: rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 120), rapid.Map(rapid.String(), func(s string) []byte { return append(encode(s), 0, 0) })).Draw(t, "data")}
	})
	key := rapid.Custom(func(t *rapid.T) Key {
		return Key{Path: `HKEY_LOCAL_MACHINE\x` + name.Draw(t, "path"), Values: rapid.SliceOfN(value, 0, 4).Draw(t, "values")}
	})
	return rapid.SliceOfN(key, 0, 4).Draw(t, "keys")
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := keysOf(t)
		b, err := Encode(keys)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatalf("%v\n%q", err, b)
		}
		if len(keys) != len(got) {
			t.Fatalf("%d keys, %d read", len(keys), len(got))
		}
		for i, k := range keys {
			if k.Path != got[i].Path || len(k.Values) != len(got[i].Values) {
				t.Fatalf("key %q of %d values, read %q of %d", k.Path, len(k.Values), got[i].Path, len(got[i].Values))
			}
			for j, v := range k.Values {
				if w := got[i].Values[j]; v.Name != w.Name || v.Type != w.Type || !bytes.Equal(v.Data, w.Data) {
					t.Fatalf("%+v, read %+v", v, w)
				}
			}
		}
	})
}

// FuzzDecode: whatever is read can be written, and is then read as the same.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"samples.reg", "deletions.reg"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(header + "\n[k]\n\"a\"=dword:1\n@=hex(2):61,0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(keys)
		if err != nil {
			t.Fatalf("%v\n%+v", err, keys)
		}
		got, err := Decode(again)
		if err != nil {
			t.Fatalf("%v\n%q", err, again)
		}
		if diff := cmp.Diff(keys, got); diff != "" {
			t.Error(diff)
		}
	})
}

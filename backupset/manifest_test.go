package backupset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/certadm"
)

func TestManifestRoundTrip(t *testing.T) {
	for _, m := range []*Manifest{fullSet(idA, 3, 5), incrementalSet(idB, idA, 6, 6)} {
		m.Start = m.Start.In(time.FixedZone("east", 3600))
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeManifest(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("decoded differs (-want +got):\n%s", diff)
		}
		again, err := got.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("encoded again, it differs: %v\n%s\n%s", err, b, again)
		}
	}
}

// TestShell: what the package comment says about checking with a shell is true.
func TestShell(t *testing.T) {
	b, err := fullSet(idA, 1, 2).Encode()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" || lines[len(lines)-2] != "}\n" {
		t.Fatalf("does not end in a closing line:\n%s", b)
	}
	sum := sha256.Sum256([]byte(strings.Join(lines[:len(lines)-3], "")))
	if want := `  "sha256": "` + hex.EncodeToString(sum[:]) + "\"\n"; lines[len(lines)-3] != want {
		t.Errorf("last member is %q, want %q", lines[len(lines)-3], want)
	}
	if !json.Valid(b) {
		t.Error("not JSON")
	}
	if strings.Contains(string(b), `\u003c`) {
		t.Error("names are escaped as for HTML")
	}
}

// TestEveryFlippedByte: whichever byte is changed, whether a bit or to another
// character that JSON might take, it is found; and so is every shortening.
func TestEveryFlippedByte(t *testing.T) {
	m := fullSet(idA, 1, 1)
	manifest, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := goodReceipt(m).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b      []byte
		decode func([]byte) error
	}{
		"manifest": {manifest, func(b []byte) error { _, err := DecodeManifest(b); return err }},
		"receipt":  {receipt, func(b []byte) error { _, err := DecodeReceipt(b); return err }},
	} {
		if err := c.decode(c.b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, was := range c.b {
			for _, now := range []byte{was ^ 1, was ^ 0x20, was ^ 0x80, ' ', '\t', '\n', '\r', 0, '0', 'A'} {
				if now == was {
					continue
				}
				b := bytes.Clone(c.b)
				b[i] = now
				if err := c.decode(b); !errors.Is(err, ErrDamaged) {
					t.Fatalf("%s: byte %d from %q to %q: %v", name, i, was, now, err)
				}
			}
			if err := c.decode(c.b[:i]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s: cut to %d bytes: %v", name, i, err)
			}
		}
		for _, more := range []string{"\n", " ", "{}", "\x00"} {
			if err := c.decode(append(bytes.Clone(c.b), more...)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: with %q at the end: %v", name, more, err)
			}
		}
		if err := c.decode(bytes.ReplaceAll(c.b, []byte("\n"), []byte("\r\n"))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: with other line ends: %v", name, err)
		}
	}
}

// reseal gives changed content its right digest, as a hostile author can.
func reseal(t testing.TB, b []byte, old, new string) []byte {
	t.Helper()
	if !bytes.Contains(b, []byte(old)) {
		t.Fatalf("there is no %q to replace in\n%s", old, b)
	}
	body := bytes.Replace(b[:len(b)-sealLen], []byte(old), []byte(new), 1)
	sum := sha256.Sum256(body)
	return append(body, sealHead+hex.EncodeToString(sum[:])+sealTail...)
}

// TestHostile: a digest that fits does not make content good.
func TestHostile(t *testing.T) {
	b, err := fullSet(idA, 3, 5).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, old, new string
		want           error
	}{
		{"newer schema", `"schema": 1`, `"schema": 2`, ErrNewer},
		{"newer schema, and strange", `"schema": 1,`, `"schema": 7, "files": {},`, ErrNewer},
		{"no schema", `"schema": 1,`, ``, ErrDamaged},
		{"schema 0", `"schema": 1`, `"schema": 0`, ErrDamaged},
		{"schema is text", `"schema": 1`, `"schema": "1"`, ErrDamaged},
		{"unknown member", `"schema": 1,`, `"schema": 1, "colour": {"a": [1]},`, nil},
		{"member twice", `"schema": 1,`, `"schema": 1, "id": "x",`, ErrDamaged},
		{"member twice in other letters", `"schema": 1,`, `"schema": 1, "ID": "x",`, ErrDamaged},
		{"sha256 twice", `"schema": 1,`, `"schema": 1, "sha256": "x",`, ErrDamaged},
		{"nested", `"schema": 1,`, `"schema": 1, "x": ` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + ",", ErrDamaged},
		{"two values", `"schema": 1,`, `"schema": 1} {`, ErrDamaged},
		{"list", `{`, `[{`, ErrDamaged},
		{"id", idA, "../../etc/passwd", ErrDamaged},
		{"name with traversal", `"CA.db"`, `"../CA.db"`, ErrDamaged},
		{"name of a device", `"CA.db"`, `"nul.db"`, ErrDamaged},
		{"negative size", `"size": 4096`, `"size": -1`, ErrDamaged},
		{"huge size", `"size": 4096`, `"size": 9223372036854775807`, ErrDamaged},
		{"larger than int64", `"size": 4096`, `"size": 1e30`, ErrDamaged},
		{"time", `"2026-03-14T09:15:00.123456789Z"`, `"0000-01-01T00:00:00Z"`, ErrDamaged},
		{"result", `0xC8000230`, `0x+8000230`, ErrDamaged},
		{"duration", `"microseconds": 1500`, `"microseconds": 9223372036854775807`, ErrDamaged},
		{"presence", `"in an HSM"`, `"probably"`, ErrDamaged},
		{"role", `"role": "database"`, `"role": "registry"`, ErrDamaged},
		{"synthesized", `"schema": 1,`, `"schema": 1, "synthesized": true,`, ErrDamaged},
		{"files is null", `"files": [`, `"files": null, "x": [`, ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := DecodeManifest(reseal(t, b, c.old, c.new))
			if !errors.Is(err, c.want) || err == nil && m == nil {
				t.Errorf("%v; want %v", err, c.want)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := DecodeManifest(make([]byte, MaxManifestSize+1)); !errors.Is(err, ErrDamaged) {
		t.Errorf("oversized manifest: %v", err)
	}
	if _, err := DecodeReceipt(make([]byte, MaxReceiptSize+1)); !errors.Is(err, ErrDamaged) {
		t.Errorf("oversized receipt: %v", err)
	}
}

// TestValidate breaks a valid manifest in one way each.
func TestValidate(t *testing.T) {
	full := func() *Manifest { return fullSet(idA, 3, 5) }
	incr := func() *Manifest { return incrementalSet(idB, idA, 6, 7) }
	for _, c := range []struct {
		name string
		m    *Manifest
		bad  func(m *Manifest)
		want string
	}{
		{"full with parent", full(), func(m *Manifest) { m.Parent = idB }, "parent"},
		{"incremental without parent", incr(), func(m *Manifest) { m.Parent = "" }, "parent"},
		{"its own parent", incr(), func(m *Manifest) { m.Parent = m.ID }, "own parent"},
		{"type", full(), func(m *Manifest) { m.Type = "differential" }, "differential"},
		{"engine", full(), func(m *Manifest) { m.Engine = "oracle" }, "oracle"},
		{"signature", full(), func(m *Manifest) { m.Signature = "0xAB" }, "signature"},
		{"no name", full(), func(m *Manifest) { m.CA.Name = "" }, "CA name"},
		{"long name", full(), func(m *Manifest) { m.CA.Name = strings.Repeat("x", 2000) }, "longer"},
		{"certificate", full(), func(m *Manifest) { m.CA.CertificateSHA256 = "abc" }, "certificate"},
		{"no start", full(), func(m *Manifest) { m.Start = time.Time{} }, "start"},
		{"no database", full(), func(m *Manifest) { m.Files = m.Files[1:] }, "without a database"},
		{"no map", full(), func(m *Manifest) { m.Files = append(m.Files[:4], m.Files[5:]...) }, LocationsName},
		{"map by another name", full(), func(m *Manifest) { m.Files[4].Name = "CERTBKXP.DAT" }, LocationsName},
		{"log called like the map", full(), func(m *Manifest) { m.Files[1].Name = LocationsName }, "called like"},
		{"database in incremental", incr(), func(m *Manifest) { m.Files = append(m.Files, full().Files[0]) }, "incremental set with"},
		{"map in incremental", incr(), func(m *Manifest) { m.Files = append(m.Files, full().Files[4]) }, "incremental set with"},
		{"no hash", full(), func(m *Manifest) { m.Files[0].SHA256 = "" }, "sha256"},
		{"hash in capitals", full(), func(m *Manifest) { m.Files[0].SHA256 = digestOf("A") }, "sha256"},
		{"same name in other letters", full(), func(m *Manifest) { m.Files[1].Name = "ca.DB" }, "twice"},
		{"missing generation", full(), func(m *Manifest) { m.Files = append(m.Files[:2], m.Files[3:]...) }, "generation 4 is missing"},
		{"other range", full(), func(m *Manifest) { m.LastGeneration = 6 }, "generations 3 to 6"},
		{"range without logs", incr(), func(m *Manifest) { m.Files = nil }, "no log"},
		{"range upside down", incr(), func(m *Manifest) { m.FirstGeneration = 9 }, "9 to 7"},
		{"same generation twice", full(), func(m *Manifest) { m.Files[1].Name = "edb00004.log" }, "twice"},
		{"log without generation", full(), func(m *Manifest) { m.Files[1].Name = "edb.log" }, "generation in its name"},
		{"earliest target", full(), func(m *Manifest) { m.EarliestTarget = 6 }, "earliest target"},
		{"earliest target of an incremental", incr(), func(m *Manifest) { m.EarliestTarget = 6 }, "earliest target"},
		{"dynamic file neither way", full(), func(m *Manifest) { m.DynamicFiles[1].Error = "" }, "neither"},
		{"dynamic file both ways", full(), func(m *Manifest) { m.DynamicFiles[1].File = "CA.crl" }, "neither"},
		{"dynamic file missing", full(), func(m *Manifest) { m.DynamicFiles[0].File = "other" }, "not in the set"},
		{"dynamic file unlisted", full(), func(m *Manifest) { m.DynamicFiles = nil }, "not one that the server listed"},
		{"no statement", full(), func(m *Manifest) { m.Completeness.Templates = "" }, "templates"},
		{"call without name", full(), func(m *Manifest) { m.Calls[0].Function = "" }, "call"},
		{"location without path", full(), func(m *Manifest) { m.Locations[0].Path = "" }, "location"},
		{"synthesized", full(), func(m *Manifest) { m.Synthesized = true }, "made up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.m.Encode(); err != nil {
				t.Fatalf("before: %v", err)
			}
			c.bad(c.m)
			if _, err := c.m.Encode(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want something with %q", err, c.want)
			}
		})
	}
	m := incr()
	m.Files, m.FirstGeneration, m.LastGeneration = nil, 0, 0
	if _, err := m.Encode(); err != nil {
		t.Errorf("an incremental set with nothing in it: %v", err)
	}
}

func TestReceipt(t *testing.T) {
	m := fullSet(idA, 1, 2)
	if _, err := m.Encode(); err != nil {
		t.Fatal(err)
	}
	r := goodReceipt(m)
	if err := r.Matches(m); !errors.Is(err, ErrDamaged) {
		t.Errorf("another manifest's receipt: %v", err)
	}
	r.ManifestSHA256 = m.SHA256
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeReceipt(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("decoded differs (-want +got):\n%s", diff)
	}
	if err := got.Matches(m); err != nil {
		t.Error(err)
	}
	if err := got.Matches(fullSet(idB, 1, 2)); !errors.Is(err, ErrDamaged) {
		t.Errorf("another set's receipt: %v", err)
	}
	for name, bad := range map[string]func(r *Receipt){
		"confirmed but failed": func(r *Receipt) { r.End.Result = certadm.EFail },
		"truncated unasked":    func(r *Receipt) { r.Truncation = Truncation{Outcome: Outcome{1, "x"}} },
		"id":                   func(r *Receipt) { r.SetID = "latest" },
		"not finished":         func(r *Receipt) { r.Finished = time.Time{} },
		"generations":          func(r *Receipt) { r.Truncation.Before = Generations{2, 1} },
	} {
		r := *goodReceipt(m)
		bad(&r)
		if _, err := r.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
	for old, new := range map[string]string{
		`"00001-00003 00010"`: `"00001-fffffff0"`,
		`"set": "` + idA:      `"set": "` + idA + "x",
		`"schema": 1`:         `"schema": "1"`,
		`"result": "0x`:       `"result": "1x`,
	} {
		if _, err := DecodeReceipt(reseal(t, b, old, new)); !errors.Is(err, ErrDamaged) {
			t.Errorf("with %s: %v", new, err)
		}
	}
	if _, err := DecodeReceipt(reseal(t, b, `"schema": 1`, `"schema": 9`)); !errors.Is(err, ErrNewer) {
		t.Errorf("newer: %v", err)
	}
}

func TestOutcomeOf(t *testing.T) {
	if o := OutcomeOf(nil); o != (Outcome{}) {
		t.Errorf("success: %+v", o)
	}
	o := OutcomeOf(&certadm.Error{Op: "CertSrvBackupEnd", Code: certadm.HrBackupInProgress, Err: errors.New(strings.Repeat("ä", 4000))})
	if o.Result != certadm.HrBackupInProgress || len(o.Error) > maxText || !strings.HasPrefix(o.Error, "CertSrvBackupEnd") {
		t.Errorf("failure: %v, %d bytes", o.Result, len(o.Error))
	}
}

func FuzzDecodeManifest(f *testing.F) {
	for _, m := range []*Manifest{fullSet(idA, 1, 3), incrementalSet(idB, idA, 4, 4)} {
		b, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:len(b)-sealLen])
	}
	f.Add([]byte("{\n  \"schema\": 2,\n"))
	f.Add([]byte("{\"schema\":1,\"files\":[{},{}],\"calls\":[{\"result\":\"\"}],"))
	f.Fuzz(func(t *testing.T, body []byte) {
		// The digest is put right, so that fuzzing gets past it.
		sum := sha256.Sum256(body)
		for _, b := range [][]byte{body, append(bytes.Clone(body), sealHead+hex.EncodeToString(sum[:])+sealTail...)} {
			m, err := DecodeManifest(b)
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
					t.Fatalf("error of another kind: %v", err)
				}
				continue
			}
			again, err := m.Encode()
			if err != nil {
				t.Fatalf("decoded, but cannot be encoded: %v", err)
			}
			m2, err := DecodeManifest(again)
			if err != nil {
				t.Fatalf("encoded, but cannot be decoded: %v", err)
			}
			if diff := cmp.Diff(m, m2); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func FuzzDecodeReceipt(f *testing.F) {
	b, err := goodReceipt(fullSet(idA, 1, 3)).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-sealLen])
	f.Add([]byte("{\"schema\":1,\"truncation\":{\"before\":\"00001-000ff 00100\"},"))
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		for _, b := range [][]byte{body, append(bytes.Clone(body), sealHead+hex.EncodeToString(sum[:])+sealTail...)} {
			r, err := DecodeReceipt(b)
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
					t.Fatalf("error of another kind: %v", err)
				}
				continue
			}
			again, err := r.Encode()
			if err != nil {
				t.Fatalf("decoded, but cannot be encoded: %v", err)
			}
			r2, err := DecodeReceipt(again)
			if err != nil {
				t.Fatalf("encoded, but cannot be decoded: %v", err)
			}
			if diff := cmp.Diff(r, r2); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

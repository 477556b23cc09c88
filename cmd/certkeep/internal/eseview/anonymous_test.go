package eseview_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/eseview"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

func anonymize(t *testing.T, depth string, args ...string) (*eseview.Anonymous, string) {
	t.Helper()
	files := newFiles(t)
	checks := eseview.Checks(files, group(t, files, args...))
	if len(checks) != 1 {
		t.Fatalf("%d checks", len(checks))
	}
	a, err := checks[0].Anonymize(t.Context(), files, eseview.CheckOptions{Depth: depth})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return a, string(b)
}

// TestNothingLeaks holds a report against every value of every row of the database,
// and everything that names something in headers, logs, checkpoint and restore map.
func TestNothingLeaks(t *testing.T) {
	for _, kind := range []string{"backup", "live", "damaged"} {
		t.Run(kind, func(t *testing.T) {
			var f *esetest.Folder
			if kind == "live" {
				f = live(t, false)
			} else {
				f = backupFolder(t, nil)
			}
			secrets := secretsOf(t, f)
			if len(secrets) < 20*requests/2 {
				t.Fatalf("only %d values to look for", len(secrets))
			}
			if kind == "damaged" { // errors quote what they are about
				damage(t, f)
			}
			a, text := anonymize(t, "rows", f.Dir)
			if len(a.Database.Tables) < 5 && kind != "damaged" || len(a.Logs) != len(f.Logs) || (a.Verdict == "damaged") != (kind == "damaged") {
				t.Fatalf("not the report of that folder: %d tables, %d logs, %s", len(a.Database.Tables), len(a.Logs), a.Verdict)
			}
			lower := strings.ToLower(text)
			for _, s := range secrets {
				if strings.Contains(lower, strings.ToLower(s)) {
					t.Errorf("%q is in the report", s)
				}
			}
		})
	}
}

// damage makes files whose errors have something to quote.
func damage(t *testing.T, f *esetest.Folder) {
	b := read(t, f.Database)
	const page = 4096
	b[20*page+100] ^= 0x81
	b[len(b)-page+70] ^= 0x81 // trailer
	write(t, f.Database, b)
	b = read(t, f.Logs[0])
	other := append([]byte(nil), read(t, f.Logs[1])...)
	esetest.SetLogSignature(other, ese.Signature{1, 2, 3})
	write(t, f.Logs[1], other)
	b[2*page+8] ^= 0x81
	write(t, f.Logs[0], b)
}

// secretsOf lists what may not be in a report. Values that are short are in it by
// chance, as a number; and the name of one attribute is that of a column as well.
func secretsOf(t *testing.T, f *esetest.Folder) []string {
	t.Helper()
	seen := map[string]bool{}
	var list []string
	add := func(s string) {
		if s = strings.TrimSpace(s); len(s) >= 6 && s != "CertificateTemplate" && !seen[s] {
			seen[s] = true
			list = append(list, s)
		}
	}
	add("Secret CA")
	add("hiddenhost")
	add("CertLog\\")
	add("system32")
	add("edb0000")
	add(f.Dir)
	db, err := eseview.OpenDatabase(newFiles(t), f.Database)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []ese.Signature{db.Header().Signature, db.Header().LogSignature} {
		add(fmt.Sprint(binary.LittleEndian.Uint32(s[:])))
		add(s.String())
		add(hex.EncodeToString(s[:4]))
		add(s.Created().Format("15:04:05"))
	}
	for _, table := range db.Tables() {
		if table.System() {
			continue
		}
		for row, err := range table.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			for c, values := range row.All() {
				for _, v := range values {
					add(secretOf(t, c, v))
				}
			}
		}
	}
	return list
}

func secretOf(t *testing.T, c *ese.Column, v ese.Value) string {
	switch c.Type {
	case ese.Text, ese.LongText:
		s, err := v.Text()
		if err != nil {
			t.Fatal(err)
		}
		return s
	case ese.LongBinary, ese.Binary:
		r, err := v.Reader()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.LimitReader(r, 16))
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(b)
	case ese.DateTime:
		x, err := v.FileTime()
		if err != nil {
			t.Fatal(err)
		}
		if !x.IsZero() {
			return x.Format("15:04:05")
		}
	}
	return ""
}

// TestNames: only names that every CA has are told.
func TestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.edb")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := esetest.Create(out, esetest.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	id := esetest.Column{Name: "RequestID", Type: ese.Long}
	for _, spec := range []esetest.TableSpec{
		{Name: "Requests", Columns: []esetest.Column{id, {Name: "$CommonName", Type: ese.LongText}, {Name: "AcmePayroll", Type: ese.LongText}, {Name: "PinCode", Type: ese.Long}},
			Indexes: []esetest.Index{{Name: "Requests.RequestID", Columns: []string{"RequestID"}, Primary: true}, {Name: "AcmeIndex", Columns: []string{"PinCode"}}, {Name: "Requests_$CommonName_Idx", Columns: []string{"RequestID"}}}},
		{Name: "AcmeVault", Columns: []esetest.Column{id, {Name: "AcmeCombination", Type: ese.LongText}}, Indexes: []esetest.Index{{Name: "Primary", Columns: []string{"RequestID"}, Primary: true}}},
		{Name: "MSysAcme", Columns: []esetest.Column{id, {Name: "AcmeSystem", Type: ese.Long}}, Indexes: []esetest.Index{{Name: "AcmePrimary", Columns: []string{"RequestID"}, Primary: true}}},
	} {
		tb, err := w.CreateTable(spec)
		if err != nil {
			t.Fatal(err)
		}
		row := tb.Row()
		row.Uint32(0, 1)
		if err := tb.Insert(row); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	a, text := anonymize(t, "rows", path)
	for _, hidden := range []string{"acme", "pincode", "vault", "combination", "payroll"} {
		if strings.Contains(strings.ToLower(text), hidden) {
			t.Errorf("%q is in the report: %s", hidden, text)
		}
	}
	for _, told := range []string{`"Requests"`, `"$CommonName"`, `"RequestID"`, `"Requests.RequestID"`, `"Requests_$CommonName_Idx"`, `"MSysObjects"`, `"ColtypOrPgnoFDP"`} {
		if !strings.Contains(text, told) {
			t.Errorf("%s is not in the report", told)
		}
	}
	again, _ := anonymize(t, "rows", path)
	for i, x := range a.Database.Tables {
		if x.Name != again.Database.Tables[i].Name {
			t.Errorf("%q is %q the second time", x.Name, again.Database.Tables[i].Name)
		}
		if strings.HasPrefix(x.Name, "table-") && (len(x.Columns) != 2 || !strings.HasPrefix(x.Columns[0].Name, "column-")) {
			t.Errorf("%s: %v", x.Name, x.Columns)
		}
	}
}

// TestReport: what is in it is right.
func TestReport(t *testing.T) {
	f := backupFolder(t, func(o *esetest.FolderOptions) {
		o.Revision, o.MinorRevision = 300, 620
		o.Header = func(b []byte) { b[900], b[901], b[1000] = 1, 2, 3 }
	})
	a, _ := anonymize(t, "rows", filepath.Dir(f.Dir))
	d := a.Database
	if a.Layout != eseview.Certutil || !d.Streaming || d.State != "dirty-shutdown" || d.PageSize != 4096 || d.Revision != 300 || d.MinorRevision != 620 {
		t.Errorf("%+v", d)
	}
	if want := []eseview.Extent{{Offset: 900, Length: 2}, {Offset: 1000, Length: 1}}; fmt.Sprint(d.HeaderExtra) != fmt.Sprint(want) {
		t.Errorf("behind the header: %v, want %v", d.HeaderExtra, want)
	}
	if x := d.Trailer; x == nil || !x.Matches || x.Generations != (eseview.Range{First: 3, Last: 5}) || x.Required.First == 0 || len(x.Extra) > 0 || x.Signature != d.Signature || x.Stream != d.Stream {
		t.Errorf("trailer %+v", x)
	}
	if a.Map == nil || !a.Map.Decoded || fmt.Sprint(a.Map.Tags) != fmt.Sprint([]certadm.FileType{certadm.FileDatabase, certadm.FileLogDir, certadm.FileCheckpointDir}) {
		t.Errorf("restore map %+v", a.Map)
	}
	for i, l := range a.Logs {
		follows := "yes"
		if i == 0 {
			follows = ""
		}
		if l.Generation != uint32(3+i) || l.Name != "closed" || l.Digits != 5 || !l.NameMatches || l.Stream != d.Stream || l.Follows != follows || l.FollowsSums != follows || !l.Checked {
			t.Errorf("log %+v", l)
		}
	}
	pages := uint32(0)
	for _, k := range d.PageKinds {
		pages += k.Pages
	}
	if uint64(pages) != a.Pages.Good {
		t.Errorf("%d pages of all kinds, %d are good", pages, a.Pages.Good)
	}
	for _, x := range d.Tables {
		if x.Name != "Certificates" {
			continue
		}
		if x.Rows == nil || *x.Rows != requests || x.Unread != 0 {
			t.Errorf("rows of %+v", x)
		}
		for _, c := range x.Columns {
			switch c.Name {
			case "NotAfter":
				if c.Dates["filetime"] == 0 || len(c.Dates) != 1 || uint64(c.Dates["filetime"]) != c.Values {
					t.Errorf("%s: %v", c.Name, c.Dates)
				}
			case "$CertificateHash2":
				if len(c.Shapes) == 0 || !strings.Contains(c.Shapes[len(c.Shapes)-1], "lower+spaces") {
					t.Errorf("%s: %v", c.Name, c.Shapes)
				}
			case "$CommonName":
				if c.Values == 0 || len(c.Shapes) > 0 {
					t.Errorf("%s: %+v", c.Name, c)
				}
			}
		}
	}
	for _, x := range []string{d.CreatedDay, a.Logs[0].Day, d.AttachDay} {
		if _, err := time.Parse(time.DateOnly, x); err != nil {
			t.Errorf("%q is no day", x)
		}
	}
}

// TestAnonymousForeign: which signatures are the same is told, and no more.
func TestAnonymousForeign(t *testing.T) {
	f := backupFolder(t, nil)
	b := read(t, f.Logs[1])
	esetest.SetLogSignature(b, ese.Signature{1, 2, 3})
	write(t, f.Logs[1], b)
	a, _ := anonymize(t, "pages", f.Dir)
	if a.Logs[0].Stream != a.Database.Stream || a.Logs[1].Stream == a.Database.Stream || a.Logs[1].Stream == 0 || a.Logs[1].Follows != "no" {
		t.Errorf("streams %d, %d of a database of %d", a.Logs[0].Stream, a.Logs[1].Stream, a.Database.Stream)
	}
	if a.Database.Tables[4].Rows != nil {
		t.Error("rows were read although pages were asked for")
	}
	found := false
	for _, x := range a.Findings {
		found = found || x.Code == "foreign-log" && x.File == "log" && x.Error == "JET_errBadLogSignature -530"
	}
	if !found {
		t.Errorf("findings %+v", a.Findings)
	}
}

// TestAnonymousHeader: a database without a good header has a report, too.
func TestAnonymousHeader(t *testing.T) {
	f := backupFolder(t, nil)
	b := read(t, f.Database)
	b[100] ^= 1
	b[4096+100] ^= 1
	write(t, f.Database, b)
	a, _ := anonymize(t, "rows", f.Dir)
	if a.Database.Error != "checksum" || a.Verdict != "damaged" || a.Database.Size != int64(len(b)) {
		t.Errorf("%+v", a.Database)
	}
	if !bytes.Equal(read(t, f.Database), b) {
		t.Error("the database was changed")
	}
}

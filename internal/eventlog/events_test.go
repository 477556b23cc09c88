package eventlog

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/internal/winetest"
)

func TestMain(m *testing.M) { os.Exit(winetest.Main(m)) }

// TestTable: ids are in order, once each, and such as EventCreate.exe has texts for.
func TestTable(t *testing.T) {
	last := ID(0)
	for _, k := range Table {
		if k.ID <= last || k.ID < 1 || k.ID > 1000 {
			t.Errorf("event %d after %d", k.ID, last)
		}
		if k.Level < Information || k.Level > Error || k.Text == "" || inert(k.Text, 100) != k.Text {
			t.Errorf("%+v", k)
		}
		last = k.ID
	}
	// A restore may fail before anything was touched, and be unfinished for several
	// reasons.
	for _, id := range []ID{RestoreDone, RestoreGap, RestoreFailed} {
		k, _ := KindOf(id)
		if claim := regexp.MustCompile(`printed|gap|withheld|due`).FindString(k.Text); claim != "" {
			t.Errorf("event %d claims %q, which is not so each time: %q", id, claim, k.Text)
		}
	}
}

// TestDocument: docs/windows.md has the same table.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/windows.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	row := regexp.MustCompile(`(?m)^\| (\d{3}) \| (\w+) \| ([^|]*) \|`)
	for _, m := range row.FindAllStringSubmatch(string(b), -1) {
		got = append(got, strings.Join(m[1:], ", "))
	}
	for _, k := range Table {
		want = append(want, fmt.Sprintf("%d, %v, %s", k.ID, k.Level, k.Text))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("docs/windows.md has\n%s\nthe code\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		event Event
		want  string
	}{
		{Event{ID: BackupConfirmed}, "backup taken and confirmed\nexit code: 0"},
		{
			Event{BackupFailed, "disk full", "s1", "Issuing CA", `D:\backup\x`, 1, "make room"},
			"backup failed: there is no new set: disk full\nset: s1\nauthority: Issuing CA\nfolder: D:\\backup\\x\nexit code: 1\nhint: make room",
		},
		{Event{ID: BackupFailed, What: "a\nb\tc\x00d\x1b[2J", Exit: 1}, "backup failed: there is no new set: a b c?d?[2J\nexit code: 1"},
		{Event{ID: BackupFailed, What: "%1 of 100%, %%2, %n", Exit: 1}, "backup failed: there is no new set: % 1 of 100%, % % 2, %n\nexit code: 1"},
	} {
		got, err := c.event.Text()
		if got = strings.ReplaceAll(got, "\r\n", "\n"); err != nil || got != c.want {
			t.Errorf("%q, %v; want %q", got, err, c.want)
		}
	}
	if text, err := (Event{ID: 99}).Text(); err == nil {
		t.Errorf("an event that does not exist: %q", text)
	}
}

// TestTextBounded: whatever the parts are, Windows takes the text, and it has the
// lines that it should have.
func TestTextBounded(t *testing.T) {
	insert := regexp.MustCompile(`%[0-9%!]`)
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{"", "x", "%1", "\x00", "😀", "\xff", "\u2028", "\r\n", "%"}).Draw(t, "unit"), rapid.IntRange(0, 20_000).Draw(t, "n")) +
				rapid.String().Draw(t, "tail")
		})
		e := Event{rapid.SampledFrom(Table).Draw(t, "kind").ID, part.Draw(t, "what"), part.Draw(t, "set"), part.Draw(t, "authority"), part.Draw(t, "folder"), 1, part.Draw(t, "hint")}
		text, err := e.Text()
		if err != nil {
			t.Fatal(err)
		}
		if n := len(utf16.Encode([]rune(text))); n > MaxText {
			t.Fatalf("%d characters", n)
		}
		if strings.ContainsRune(text, 0) || insert.MatchString(text) || strings.Count(text, "\r\n") != strings.Count(text, "\n") || strings.Count(text, "\n") > 5 {
			t.Fatalf("%q", text)
		}
	})
}

func TestOpenElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: this is Windows")
	}
	if l, err := Open(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, %v", l, err)
	}
	if r, err := ESENT225(t.Context(), time.Now()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, %v", r, err)
	}
}

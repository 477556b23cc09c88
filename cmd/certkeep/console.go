package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/figures"
)

const programName = "certkeep"

// console is where a verb reads and prints. stdout is data, stderr is talk.
type console struct {
	stdin  io.Reader
	stdout io.Writer
	stderr *talkWriter

	path  []string // the words of the verb, "ca", "init"
	json  bool
	quiet bool

	terminal bool          // stderr is one, so bars may be drawn
	every    time.Duration // between progress lines where there is none
	style    style

	printed bool // a JSON object went to stdout
	running bool // the flags were right, and a verb runs
}

func newConsole(stdin io.Reader, stdout, stderr io.Writer) *console {
	c := &console{
		stdin: stdin, stdout: stdout, stderr: &talkWriter{w: stderr},
		every:    10 * time.Second,
		terminal: isTerminal(stderr) && os.Getenv("TERM") != "dumb",
	}
	c.style = style(isTerminal(stdout) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
	return c
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// talkWriter is stderr: talk, traces and bars come from several goroutines. Each
// Write stays whole, and while bars are drawn it goes above them.
type talkWriter struct {
	mu    sync.Mutex
	w     io.Writer
	above io.Writer // the bars, which print what they are given above themselves
}

func (t *talkWriter) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.above != nil {
		return t.above.Write(p)
	}
	return t.w.Write(p)
}

// redirect sends what follows through w; nil takes that back.
func (t *talkWriter) redirect(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.above = w
}

// print writes a verb's result, one JSON object, to stdout. A failure after it is
// reported on stderr alone: the object has the findings.
func (c *console) print(v any) error {
	err := c.line(v)
	c.printed = err == nil
	return err
}

// line writes one object of a stream, and a newline. A failure after it is one
// more line.
func (c *console) line(v any) error {
	b, err := encodeObject(v)
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(b)
	return err
}

// encodeObject marshals v, which must become a JSON object, and puts the schema
// number in front unless v brings one.
func encodeObject(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	b := buf.Bytes()
	if len(b) < 2 || b[0] != '{' {
		return nil, fmt.Errorf("%T is no JSON object", v)
	}
	var has struct {
		Schema *int `json:"schema"`
	}
	if err := json.Unmarshal(b, &has); err != nil {
		return nil, err
	}
	if has.Schema != nil {
		return b, nil
	}
	head := `{"schema":1`
	if b[1] != '}' {
		head += ","
	}
	return append([]byte(head), b[1:]...), nil
}

// result prints v with --json, and calls human otherwise.
func (c *console) result(v any, human func(w io.Writer) error) error {
	if c.json {
		return c.print(v)
	}
	return human(c.stdout)
}

// say prints a line of talk on stderr; --quiet and --json leave it out.
func (c *console) say(format string, args ...any) {
	if !c.quiet && !c.json {
		fmt.Fprintln(c.stderr, inert(fmt.Sprintf(format, args...)))
	}
}

// warn prints a line that the user should see even with --quiet.
func (c *console) warn(format string, args ...any) {
	fmt.Fprintf(c.stderr, "%s: warning: %s\n", programName, oneLine(fmt.Sprintf(format, args...)))
}

// table prints rows of columns, the first row being a heading when there is one.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		cells := make([]string, len(r))
		for i, s := range r {
			cells[i] = oneLine(s)
		}
		if _, err := fmt.Fprintln(tw, strings.TrimRight(strings.Join(cells, "\t"), "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// fields prints "name  value" lines, leaving out empty values.
func fields(w io.Writer, pairs ...string) error {
	width := 0
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, len([]rune(pairs[i])))
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, pairs[i], oneLine(pairs[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// style adds weight and colour on a terminal, and nothing anywhere else.
type style bool

func (s style) wrap(code, text string) string {
	if !s {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
func (s style) bold(t string) string  { return s.wrap("1", t) }
func (s style) dim(t string) string   { return s.wrap("2", t) }
func (s style) green(t string) string { return s.wrap("32", t) }
func (s style) red(t string) string   { return s.wrap("31;1", t) }

func count[N figures.Number](n N) string                    { return figures.Count(n) }
func plural[N figures.Number](n N, one, many string) string { return figures.Plural(n, one, many) }
func size(n int64) string                                   { return figures.Size(n) }
func took(d time.Duration) string                           { return figures.Duration(d) }

// stamp writes a time for people: UTC, to the second.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// scriptCommands are the commands that the scripts have besides testscript's.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits":     cmdExits,
	"json":      cmdJSON,
	"value":     cmdValue,
	"helps":     cmdHelps,
	"serve":     cmdServe,
	"enrol":     cmdEnrol,
	"terminate": cmdTerminate,
	"flip":      cmdFlip,
}

// exits N COMMAND…: runs the command, which must end with exit code N.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N COMMAND [ARGUMENT…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// value FILE PATH NAME: sets NAME to what stands at PATH in the JSON of FILE.
func cmdValue(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	if neg || len(args) != 3 {
		ts.Fatalf("usage: value FILE PATH NAME")
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	v, ok := dig(v, strings.Split(args[1], "."))
	if !ok {
		ts.Fatalf("%s is absent", args[1])
	}
	ts.Setenv(args[2], fmt.Sprint(v))
}

// helps: the help of every verb has an example, exit codes and, if the verb
// changes something, --dry-run.
func cmdHelps(ts *testscript.TestScript, _ bool, _ []string) {
	unchanging := strings.Fields("version completion help demo doctor list show status ping locations dynamic-files verify drill certs diff ese")
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		if cmd.Hidden || cmd.HasSubCommands() || cmd.Name() == "help" {
			return
		}
		words := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		var out, errs bytes.Buffer
		if exit := Run(context.Background(), words, nil, &out, &errs); exit != 0 || errs.Len() > 0 {
			ts.Fatalf("%v: exit code %d: %s", words, exit, &errs)
		}
		page := out.String()
		for _, want := range []string{"\nUSAGE\n  certkeep ", "\nEXAMPLE\n  certkeep ", "\nEXIT STATUS\n  0    done\n", "--json", "--quiet"} {
			if !strings.Contains(page, want) {
				ts.Fatalf("%v lacks %q:\n%s", words, want, page)
			}
		}
		if changes := !slices.Contains(unchanging, cmd.Name()); changes != strings.Contains(page, "--dry-run") {
			ts.Fatalf("%v: changing is %v, --dry-run otherwise:\n%s", words, changes, page)
		}
	}
	visit(newRoot(newConsole(nil, io.Discard, io.Discard)))
}

// json FILE PATH [VALUE]: every line of FILE (or stdout) is a JSON object with
// "schema": 1, and in the last one PATH (a.b.0.c) is there and, when a VALUE is
// given, has it. A VALUE of "len=N" asks for the length. With "!" PATH must be
// absent, or different.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: [!] json FILE PATH [VALUE]")
	}
	var last any
	for i, line := range strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n") {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("line %d is no JSON object: %v: %s", i+1, err, line)
		}
		if object["schema"] != 1.0 {
			ts.Fatalf(`line %d lacks "schema": 1: %s`, i+1, line)
		}
		last = object
	}
	v, ok := dig(last, strings.Split(args[1], "."))
	if len(args) == 2 {
		if ok == neg {
			ts.Fatalf("%s: present is %v", args[1], ok)
		}
		return
	}
	if !ok {
		ts.Fatalf("%s is absent", args[1])
	}
	got := fmt.Sprint(v)
	if f, isNumber := v.(float64); isNumber {
		got = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if strings.HasPrefix(args[2], "len=") {
		list, _ := v.([]any)
		got = fmt.Sprintf("len=%d", len(list))
	}
	if (got == args[2]) == neg {
		ts.Fatalf("%s is %s; asked for %s", args[1], got, args[2])
	}
}

func dig(v any, path []string) (any, bool) {
	for _, p := range path {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[p]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

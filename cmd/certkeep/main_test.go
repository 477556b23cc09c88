package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		programName: func() { os.Exit(mainStatus()) },
	})
}

// TestScript runs the command line as users do: testdata/script holds a script a
// subject.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"CERTKEEP_USER", "CERTKEEP_PASSWORD_FILE", "CERTKEEP_REPOSITORY", "CERTKEEP_IDENTITY_FILE"} {
				e.Setenv(name, "")
			}
			return nil
		},
	})
}

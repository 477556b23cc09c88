package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/demo"
)

// served is the authority that a script serves in the background.
type served struct {
	cmd *exec.Cmd
	out *bufio.Reader
	est string
	ca  *x509.Certificate
}

type servedKey struct{}

// serve DIR [FLAGS]: serves the authority, waits until it is ready, and sets EST,
// HTTP, and ADCS with WIRE for the wire protocol: the SERVER, and its HOST:PORT.
// Its first line goes to the file "ready", the certificate to ca.pem, and what it
// says to serve.stderr.
func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	flags := append([]string{"ca", "serve", dir, "--json", "--est", "127.0.0.1:0", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, args[1:]...)
	cmd := exec.Command(programName, flags...)
	cmd.Stderr = ts.Stderr()
	cmd.Env = environ(ts)
	talk, err := os.Create(ts.MkAbs("serve.stderr"))
	ts.Check(err)
	defer talk.Close() // the process has its own
	cmd.Stderr = talk
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s := &served{cmd: cmd, out: bufio.NewReader(out)}
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := s.out.ReadBytes('\n')
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("ready"), line, 0o600))
	var ready caServeResult
	ts.Check(json.Unmarshal(line, &ready))
	ts.Setenv("EST", ready.EST)
	ts.Setenv("HTTP", ready.HTTP)
	ts.Setenv("ADCS", ready.Address)
	ts.Setenv("WIRE", strings.TrimPrefix(ready.Address, "adcs://"))
	ts.Setenv("PORT", ready.Address[strings.LastIndexByte(ready.Address, ':')+1:])
	s.est = ready.EST
	server, err := certsrv.New(dir, certsrv.Options{})
	ts.Check(err)
	s.ca = server.CACertificate()
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Raw}), 0o600))
	ts.Value(servedKey{}).(*servedBox).s = s
}

// environ is the script's environment as far as a server cares.
func environ(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, name := range []string{"KRB5_CONFIG", "HOME", "PATH"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// servedBox is where a script's served authority is kept.
type servedBox struct{ s *served }

// enrol USER PASSWORD: enrols by EST, or with "!" must be refused.
func cmdEnrol(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(servedKey{}).(*servedBox).s
	record, err := demo.NewRecord(filepath.Join(ts.MkAbs("."), "record-"+rand.Text()))
	ts.Check(err)
	defer record.Close()
	c := demo.Client{Name: args[0], Password: args[1], URL: s.est, CA: s.ca, Record: record}
	defer c.Close()
	_, err = c.Enrol(context.Background(), "enrolled.example")
	if (err != nil) != neg {
		ts.Fatalf("enrolment: %v", err)
	}
	ts.Logf("enrolment: %v", err)
}

// terminate: sends SIGTERM to what serve started; it must exit with 0. What it
// still prints goes to the file "stopped".
func cmdTerminate(ts *testscript.TestScript, _ bool, _ []string) {
	s := ts.Value(servedKey{}).(*servedBox).s
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	rest, err := io.ReadAll(s.out)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("stopped"), rest, 0o600))
	ts.Check(s.cmd.Wait())
}

// flip PATTERN: changes one byte in the middle of the first file that matches.
func cmdFlip(ts *testscript.TestScript, _ bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("no file is named like %s", args[0])
	}
	b, err := os.ReadFile(names[0])
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(names[0], b, 0o600))
}

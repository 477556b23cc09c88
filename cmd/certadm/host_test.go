package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/certadm"
)

// host is a process that has loaded the library, and makes the calls it is told
// to. See testdata/host.c.
type host struct {
	cmd *exec.Cmd

	mu   sync.Mutex // one call at a time
	in   io.WriteCloser
	out  *bufio.Reader
	talk string // a file
	gone error
}

func startHost(t testing.TB, cmd *exec.Cmd) *host {
	t.Helper()
	h := &host{cmd: cmd, talk: filepath.Join(t.TempDir(), "talk")}
	// A file and no pipe, of which something that Wine starts might keep the end.
	talk, err := os.Create(h.talk)
	if err != nil {
		t.Fatal(err)
	}
	defer talk.Close()
	if h.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.out = bufio.NewReaderSize(out, 1<<16)
	cmd.Stderr = talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return h
}

var errGone = errors.New("the process has ended")

// call makes a call, and returns its second result, and the bytes that follow if
// that says how many there are.
func (h *host) call(data bool, words ...string) (code certadm.HRESULT, n uint64, b []byte, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone != nil {
		return 0, 0, nil, h.gone
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", words[0], err)
			h.gone = err
		}
	}()
	if _, err := io.WriteString(h.in, strings.Join(words, " ")+"\n"); err != nil {
		return 0, 0, nil, err
	}
	line, err := h.out.ReadString('\n')
	if err != nil {
		return 0, 0, nil, err
	}
	hr, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	c, err1 := strconv.ParseUint(hr, 16, 32)
	n, err2 := strconv.ParseUint(number, 16, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, nil, err
	}
	if data && n > 0 {
		b = make([]byte, n)
		_, err = io.ReadFull(h.out, b)
	}
	return certadm.HRESULT(c), n, b, err
}

// leave ends the process as it ends by itself, or kill does it at once.
func (h *host) leave() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone == errGone {
		return nil
	}
	h.gone = errGone
	h.in.Close()
	io.Copy(io.Discard, h.out)
	if err := h.cmd.Wait(); err != nil {
		talk, _ := os.ReadFile(h.talk)
		return fmt.Errorf("%w\n%s", err, talk)
	}
	return nil
}

func (h *host) kill() {
	h.cmd.Process.Kill()
	h.leave() // its error is that it was killed
}

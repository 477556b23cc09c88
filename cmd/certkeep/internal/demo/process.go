package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// process is the authority's process, seen from the parent.
type process struct {
	*pipe
	Answer // where it serves

	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr *tail
}

// launch starts the command and waits until the authority is ready.
func launch(cmd *exec.Cmd) (_ *process, err error) {
	p := &process{cmd: cmd, stderr: &tail{}}
	cmd.Stderr = p.stderr
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.pipe = newPipe(p.in, out)
	if p.Answer, err = p.answer(); err != nil {
		p.kill()
		return nil, p.explain(err)
	}
	return p, nil
}

// kill ends the process as a power failure would: it has no time for anything.
func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may be gone already
	p.cmd.Wait()         //nolint:errcheck // killed is what it says
}

// stop ends the process cleanly: it closes its log and says goodbye.
func (p *process) stop() error {
	return p.explain(errors.Join(p.in.Close(), p.cmd.Wait()))
}

// explain adds what the process said last.
func (p *process) explain(err error) error {
	if err == nil {
		return nil
	}
	if said := p.stderr.String(); said != "" {
		return fmt.Errorf("%w (it said: %s)", err, said)
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 4096
	t.b = append(t.b, p...)
	if n := len(t.b) - most; n > 0 {
		t.b = append([]byte(nil), t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(bytes.ToValidUTF8(t.b, []byte("?"))))
}

// start launches the child for an authority's directory.
func (s *story) start(ctx context.Context, dir string) error {
	cmd, err := s.o.Command(ctx, dir)
	if err != nil {
		return err
	}
	s.child, err = launch(cmd)
	return err
}

// end makes sure that no process and no client is left.
func (s *story) end() {
	if s.child != nil {
		s.dying.Store(true)
		s.child.kill()
		s.child = nil
	}
	s.working.Wait()
	for _, c := range s.clients {
		c.Close()
	}
	for _, r := range s.records {
		r.Close() //nolint:errcheck // read back, not trusted
	}
}

// explain prefers the reason why a client stopped to what that led to, and an
// interruption to everything.
func (s *story) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return s.failure
	}
	return err
}

package demo

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// The demo's authority runs in a child process, which obeys JSON lines on its
// standard input and answers each with a JSON line on its standard output. The
// pipe is private to the demo; an administrator uses the command line.

// Order is what the parent asks for.
type Order struct {
	Do     string `json:"do"` // "revoke", "crl"
	Serial string `json:"serial,omitempty"`
}

// Answer is what the child replies; the first one comes unasked, when it is
// ready.
type Answer struct {
	Error  string          `json:"error,omitempty"`
	EST    string          `json:"est,omitempty"`
	HTTP   string          `json:"http,omitempty"`
	Wire   string          `json:"wire,omitempty"` // the SERVER
	Result json.RawMessage `json:"result,omitempty"`
}

// maxLine bounds a line of the pipe.
const maxLine = 4 << 20

// pipe is the parent's end.
type pipe struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Scanner
}

func newPipe(in io.Writer, out io.Reader) *pipe {
	s := bufio.NewScanner(out)
	s.Buffer(make([]byte, 64<<10), maxLine)
	return &pipe{in: in, out: s}
}

// errChildGone is what a broken pipe means.
var errChildGone = errors.New("the demo's authority has stopped")

// ask sends an order and decodes the result into result, unless it is nil.
func (p *pipe) ask(o Order, result any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := json.NewEncoder(p.in).Encode(o); err != nil {
		return fmt.Errorf("%w: %v", errChildGone, err)
	}
	a, err := p.answer()
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(a.Result, result)
}

// answer reads the next one.
func (p *pipe) answer() (Answer, error) {
	if !p.out.Scan() {
		return Answer{}, errors.Join(errChildGone, p.out.Err())
	}
	var a Answer
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
		return Answer{}, err
	}
	if a.Error != "" {
		return Answer{}, errors.New(a.Error)
	}
	return a, nil
}

// obey is the child's end: it carries out orders until the pipe is closed, which
// the death of the parent does as well.
func obey(in io.Reader, out io.Writer, carryOut func(Order) (any, error)) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 64<<10), maxLine)
	enc := json.NewEncoder(out)
	for s.Scan() {
		var o Order
		var a Answer
		if err := json.Unmarshal(s.Bytes(), &o); err != nil {
			return err
		}
		if result, err := carryOut(o); err != nil {
			a.Error = err.Error()
		} else if a.Result, err = json.Marshal(result); err != nil {
			return err
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
	return s.Err()
}

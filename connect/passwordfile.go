package connect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/certkeep/certkeep/internal/secretfile"
)

// maxPassword bounds the first line of a password file.
const maxPassword = 4096

// ReadPasswordFile returns the first line of a file, without what ends it. On Unix
// a file that others can read or write is refused with
// *[secretfile.InsecureError]: a password that everyone on the machine can see
// is none.
func ReadPasswordFile(name string) ([]byte, error) {
	f, err := secretfile.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := FirstLine(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// FirstLine reads a password: the first line, which may not be empty.
func FirstLine(r io.Reader) ([]byte, error) {
	b, err := bufio.NewReaderSize(io.LimitReader(r, maxPassword+2), maxPassword+2).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	b = bytes.TrimRight(b, "\r\n")
	switch {
	case len(b) == 0:
		return nil, errors.New("the first line is empty")
	case len(b) > maxPassword:
		return nil, fmt.Errorf("the first line is longer than %d bytes", maxPassword)
	case bytes.IndexByte(b, 0) >= 0:
		return nil, errors.New("the first line holds a NUL byte")
	}
	return b, nil
}

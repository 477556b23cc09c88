package connect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/certkeep/certkeep/certsrv/account"
)

// maxPassword bounds the first line of a password file.
const maxPassword = 4096

// ReadPasswordFile returns the first line of a file, without what ends it. On Unix
// a file that others can read or write is refused with
// *[account.InsecureFileError]: a password that everyone on the machine can see
// is none.
func ReadPasswordFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, fmt.Errorf("%s is a directory", name)
	}
	// Pipes, as in <(pass show ca), have no meaningful mode; Windows has none at all.
	if runtime.GOOS != "windows" && fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0 {
		return nil, &account.InsecureFileError{Path: name, Mode: fi.Mode().Perm()}
	}
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

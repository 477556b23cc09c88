package adcs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The values of CAType, per authority, for authorities that have no templates
// (certsrv.h, ENUM_STANDALONE_ROOTCA and ENUM_STANDALONE_SUBCA).
const (
	caType         = "CAType"
	standaloneRoot = 3
	standaloneSub  = 4
)

// standalone reports whether the registry says that the authority has no templates.
func (h *Host) standalone() bool {
	v, err := h.sys.value(h.key(), caType)
	if err != nil {
		return false
	}
	n, err := v.Number()
	return err == nil && (n == standaloneRoot || n == standaloneSub)
}

// Bounds of certutil's answer: templates are some dozens, a line each.
const (
	certutilTimeout = time.Minute
	maxTemplates    = 1 << 20
)

// CertutilTemplates lists the published templates as certutil -CATemplates prints
// them; it is made for [Options]. The list is in the directory, which certutil asks.
func CertutilTemplates(ctx context.Context) ([]byte, error) {
	dir, err := systemDirectory()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, certutilTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "certutil.exe"), "-CATemplates")
	var out bounded
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	text := bytes.ReplaceAll(out.Bytes(), []byte("\r\n"), []byte("\n"))
	if err != nil {
		last := strings.TrimSpace(string(text))
		last = last[strings.LastIndexByte(last, '\n')+1:]
		return nil, fmt.Errorf("certutil -CATemplates: %w: %.200s", err, last)
	}
	return text, nil
}

// bounded is a buffer that takes no more than maxTemplates bytes.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxTemplates {
		return 0, errors.New("certutil says too much")
	}
	return b.Buffer.Write(p)
}

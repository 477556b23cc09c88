package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/durable"
)

// maxCRL bounds a CRL, in bytes: one of a million entries has about 40 MiB.
const maxCRL = 256 << 20

// fetchTimeout bounds the fetching of a CRL that was asked for; one that is only
// looked for in case it is there gets less.
const (
	fetchTimeout = 60 * time.Second
	lookTimeout  = 5 * time.Second
)

// publishedCRLs gathers the CRLs to compare a restored database with. Those that
// were asked for must be there; the others may be missing.
func (o *restoreOptions) publishedCRLs(ctx context.Context, c *console, conn *connect.Connection) ([]backup.CRLFile, error) {
	var crls []backup.CRLFile
	for _, name := range o.crls {
		raw, err := readCRL(ctx, name, fetchTimeout)
		if err != nil {
			return nil, fmt.Errorf("CRL: %w", err)
		}
		crls = append(crls, backup.CRLFile{Name: name, Raw: raw})
	}
	dir, err := publishedDir(conn)
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.crl"))
	if err != nil {
		return nil, err
	}
	if s := conn.Server(); len(o.crls) == 0 && s != nil {
		found = append(found, s.Config().CRLURLs...)
	}
	for _, name := range found {
		raw, err := readCRL(ctx, name, lookTimeout)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			c.say("CRL: %v", err)
			continue
		}
		crls = append(crls, backup.CRLFile{Name: name, Raw: raw, Found: true})
	}
	return crls, nil
}

// publishedDir is where an authority of this machine publishes.
func publishedDir(conn *connect.Connection) (string, error) {
	if h := conn.Host(); h != nil {
		return h.PublishedDir()
	}
	return filepath.Join(conn.Server().Dir(), "published"), nil
}

// escapeGlob makes a directory's name mean itself in a pattern.
func escapeGlob(dir string) string {
	if os.PathSeparator == '\\' {
		return dir // there is no escaping on Windows, and * and ? cannot stand in names
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// readCRL reads a file or an http URL.
func readCRL(ctx context.Context, name string, timeout time.Duration) ([]byte, error) {
	u, err := url.Parse(name)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return durable.ReadFile(durable.OS, name, maxCRL)
	}
	return fetch(ctx, name, timeout)
}

func fetch(ctx context.Context, address string, timeout time.Duration) (raw []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", address, resp.Status)
	}
	raw, err = io.ReadAll(io.LimitReader(resp.Body, maxCRL+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if len(raw) > maxCRL {
		return nil, fmt.Errorf("%s: larger than %s", address, size(maxCRL))
	}
	return raw, nil
}

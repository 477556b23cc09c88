package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/certkeep/certkeep/adcs"
	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certdll"
	"github.com/certkeep/certkeep/internal/eventlog"
)

// openLibrary opens Certadm.dll: for this machine's authority, which is then looked
// at beside the library, too, or for another machine's.
func openLibrary(_ context.Context, a Address, o Options) (*Connection, error) {
	c := &Connection{Address: a, besides: backup.TakeOptions{CAPolicy: backupset.NotAttempted, Templates: backupset.NotAttempted}}
	lib := certdll.Options{Logger: o.Logger}
	name := strings.TrimSuffix(a.String(), ":")
	if a.Scheme == Local {
		host, err := adcs.Open(adcs.Options{Map: o.Map, Templates: adcs.CertutilTemplates, Online: func(ctx context.Context) (bool, error) { return c.svc.IsServerOnline(ctx) }})
		switch {
		case err == nil:
			c.host, lib.Identity = host, host.Identity
			c.besides.OpenDynamic, c.besides.Collect, c.besides.Logs = c.openHere, host.Collect, hostLogs{host}
		case errors.Is(err, adcs.ErrNotWindows):
			return nil, fmt.Errorf("%s: %w", name, certdll.ErrNotWindows)
		case !errors.Is(err, adcs.ErrNoAuthority) || o.Stopped:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	} else {
		c.besides.OpenDynamic = c.openThere
		lib.NoPrivileges = true // the other machine judges who calls, by what he may do there
	}
	client, err := certdll.Open(a.Host, lib)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.svc = client
	return c, nil
}

// Host is this Windows machine's authority beside its library; nil for any other.
func (c *Connection) Host() *adcs.Host { return c.host }

// openHere opens a file that the running authority of this machine named.
func (c *Connection) openHere(_ context.Context, name string) (io.ReadCloser, error) {
	path, err := c.host.Resolve(name)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// openThere opens a file on the machine whose authority named it, and on no other:
// Windows would log on wherever a name leads.
func (c *Connection) openThere(_ context.Context, name string) (io.ReadCloser, error) {
	rest, ok := strings.CutPrefix(name, `\\`)
	server, _, found := strings.Cut(rest, `\`)
	if !ok || !found || !sameMachine(server, c.Address.Host) {
		return nil, fmt.Errorf("%s is not on %s", name, c.Address.Host)
	}
	return os.Open(name)
}

// sameMachine compares a NetBIOS or DNS name with another of either kind.
func sameMachine(a, b string) bool {
	first := func(s string) string { s, _, _ = strings.Cut(s, "."); return s }
	if strings.Contains(a, ".") && strings.Contains(b, ".") {
		return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
	}
	return a != "" && strings.EqualFold(first(a), first(b))
}

// hostLogs looks at the logs of this machine's authority.
type hostLogs struct{ host *adcs.Host }

func (l hostLogs) Generations(ctx context.Context) ([]uint32, error) {
	list, err := l.host.Locations(ctx)
	if err != nil {
		return nil, err
	}
	dir, _ := list.Find(certadm.FileLogDir)
	path, err := l.host.LocalPath(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var gens []uint32
	for _, e := range entries {
		if g, ok := certadm.ParseLogGeneration(filepath.Base(e.Name())); ok && e.Type().IsRegular() {
			gens = append(gens, g)
		}
	}
	return gens, nil
}

// Events are ESENT's events 225: no log files can be truncated.
func (hostLogs) Events(ctx context.Context, since time.Time) ([]string, error) {
	records, err := eventlog.ESENT225(ctx, since)
	var out []string
	for _, r := range records {
		out = append(out, fmt.Sprintf("%s event %d at %s: %s", r.Source, r.ID, r.Time.UTC().Format(time.RFC3339), strings.Join(r.Strings, " ")))
	}
	return out, err
}

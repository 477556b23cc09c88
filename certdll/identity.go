package certdll

import (
	"context"
	"path"
	"strings"

	"github.com/certkeep/certkeep/certadm"
)

// Identity is the answer of [Options.Identity], or what the database's location
// tells, for Certadm.dll has no call for it: the database is named after the
// authority's sanitized name, in a UNC name of its server, and its extension tells
// the engine. There is no certificate in it.
//
// Locations that were listed before are not asked for again. Otherwise an open
// backup session is asked, and without one a session is made for it, which needs
// the backup privilege, see [certadm.Locations].
func (c *Client) Identity(ctx context.Context) (certadm.Identity, error) {
	if c.identify != nil {
		id, err := c.identify(ctx)
		return id, fail(fnIdentity, "", err)
	}
	c.mu.Lock()
	known, b, closed := c.known, c.backup, c.closed
	c.mu.Unlock()
	if closed {
		return certadm.Identity{}, closedClient(fnIdentity)
	}
	if known != nil {
		return *known, nil
	}
	var l certadm.FileList
	var err error
	if b != nil {
		l, err = b.DatabaseLocations(ctx)
	} else {
		l, err = certadm.Locations(ctx, c)
	}
	if err != nil {
		return certadm.Identity{}, fail(fnIdentity, "", err)
	}
	return c.identityOf(l), nil
}

// learn keeps what locations tell of the authority, if they tell anything.
func (c *Client) learn(l certadm.FileList) {
	id := c.identityOf(l)
	if id.Name == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = &id
}

func (c *Client) identityOf(l certadm.FileList) certadm.Identity {
	id := certadm.Identity{Host: c.server}
	db, ok := l.Find(certadm.FileDatabase)
	if !ok {
		return id
	}
	if rest, ok := strings.CutPrefix(db, `\\`); ok {
		if host, _, ok := strings.Cut(rest, `\`); ok && host != "" {
			id.Host = host
		}
	}
	base := certadm.BaseName(db)
	ext := path.Ext(base)
	id.SanitizedName = strings.TrimSuffix(base, ext)
	id.Name = id.SanitizedName
	if name, err := certadm.UnsanitizeName(id.SanitizedName); err == nil {
		id.Name = name
	}
	id.Engine = certadm.EngineOf(l)
	return id
}

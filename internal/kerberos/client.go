package kerberos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// ClientConfig says who the client is and where the KDCs are. At most one of
// Cache, Keytab and Password is set; with none of them the cache is
// [DefaultCache].
type ClientConfig struct {
	// Principal is USER@REALM, or USER for krb5.conf's default realm. With a
	// ticket cache it may be empty; if it is not, the cache must be that
	// principal's. With a keytab it may be empty if that has just one.
	Principal string

	Cache    string // path of a ticket cache, "FILE:" in front or not
	Keytab   string // path of a keytab
	Password []byte // copied; the caller should wipe its own

	// Krb5Conf is the path of krb5.conf. Empty is what KRB5_CONFIG says, else
	// /etc/krb5.conf, which may be absent: then KDCs are looked up in DNS.
	Krb5Conf string

	// KDCs, HOST:PORT, are those of the principal's realm instead of what
	// krb5.conf and DNS say.
	KDCs []string

	// Dial connects to KDCs; nil is a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Client has credentials, and the tickets that were had with them. It is safe
// for use by several goroutines. It starts none, and tickets that it gets are
// kept in memory only.
type Client struct {
	conf *conf
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	now  func() time.Time

	self     principal
	keytab   *Keytab
	password []byte

	mu     sync.Mutex // held during exchanges too, so that none is made twice
	cached []*credential
}

// NewClient reads the credentials. It talks to nobody yet.
func NewClient(c ClientConfig) (*Client, error) {
	cl := &Client{dial: c.Dial, now: c.Now}
	if cl.now == nil {
		cl.now = time.Now
	}
	given := 0
	for _, has := range []bool{c.Cache != "", c.Keytab != "", c.Password != nil} {
		if has {
			given++
		}
	}
	if given > 1 {
		return nil, errors.New("kerberos: more than one of cache, keytab and password is given")
	}
	var err error
	if cl.conf, err = loadConfig(c.Krb5Conf); err != nil {
		return nil, err
	}
	switch {
	case c.Keytab != "":
		err = cl.useKeytab(c.Principal, c.Keytab)
	case c.Password != nil:
		cl.password = append([]byte(nil), c.Password...)
		err = cl.setPrincipal(c.Principal)
	default:
		err = cl.useCache(c.Principal, c.Cache)
	}
	if err != nil {
		return nil, err
	}
	if len(c.KDCs) > 0 {
		cl.conf.kdcs[cl.self.realm] = c.KDCs
	}
	return cl, nil
}

func (c *Client) setPrincipal(name string) (err error) {
	if c.self, err = parsePrincipal(name, c.conf.defaultRealm); err != nil {
		e := &Error{Op: "principal", Err: err}
		var h *hintError
		if errors.As(err, &h) {
			e.hint = h.hint
		}
		return e
	}
	return nil
}

func (c *Client) useKeytab(name, path string) (err error) {
	if c.keytab, err = LoadKeytab(path); err != nil {
		e := &Error{Op: "credentials", Err: err}
		var h *hintError
		if errors.As(err, &h) {
			e.hint = h.hint
		}
		return e
	}
	if name != "" {
		if err := c.setPrincipal(name); err != nil {
			return err
		}
		for i := range c.keytab.entries {
			if e := &c.keytab.entries[i]; e.realm == c.self.realm && equalNames(e.name, c.self.name) {
				return nil
			}
		}
		return refuse("keytab "+path, "klist -k shows what it has", "has no key of %s", c.self)
	}
	if names := c.keytab.Principals(); len(names) != 1 {
		return refuse("keytab "+path, "name the one to use", "has keys of %s", strings.Join(names, ", "))
	}
	e := &c.keytab.entries[0]
	c.self = principal{e.name, e.realm}
	return nil
}

func (c *Client) useCache(name, path string) (err error) {
	if path == "" {
		path, err = DefaultCache()
	} else {
		path, err = cachePath(path)
	}
	if err != nil {
		return err
	}
	var owner principal
	if owner, c.cached, err = loadCache(path); err != nil {
		return err
	}
	c.self = owner
	if name != "" {
		if err := c.setPrincipal(name); err != nil {
			return err
		}
		if c.self.String() != owner.String() {
			return refuse("ticket cache", "kinit "+c.self.String(), "%s has tickets of %s, not of %s", path, owner, c.self)
		}
	}
	return nil
}

// Principal returns who the client is, as USER@REALM.
func (c *Client) Principal() string { return c.self.String() }

// Close wipes keys and password. Contexts that are established live on.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.password)
	for _, t := range c.cached {
		t.key.wipe()
	}
	c.cached, c.password, c.keytab = nil, nil, nil
	return nil
}

// lookup returns a ticket for a server that is good for a while yet, and the
// one that has expired if there is none. Host names are compared in either
// case, as they are in DNS. realm is empty for any.
func (c *Client) lookup(name []string, realm string) (good, expired *credential) {
	now := c.now()
	for _, t := range c.cached {
		if !strings.EqualFold(join(t.server.name), join(name)) || (realm != "" && t.server.realm != realm) {
			continue
		}
		if t.client.realm != c.self.realm || !equalNames(t.client.name, c.self.name) {
			continue
		}
		switch {
		case !t.end.After(now):
			expired = t
		case t.key != nil && (good == nil || t.end.After(good.end)):
			good = t
		}
	}
	return good, expired
}

func (c *Client) remember(t *credential) { c.cached = append(c.cached, t) }

// serviceTicket returns a ticket for the first of the services that there is
// one for.
func (c *Client) serviceTicket(ctx context.Context, spns []string) (*credential, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []principal
	var stale *credential
	for _, spn := range spns {
		p, err := parsePrincipal(spn, c.self.realm)
		if err != nil {
			return nil, &Error{Op: "service name", Err: err}
		}
		if !strings.Contains(spn, "@") {
			p.realm = "" // to be found out
		}
		good, expired := c.lookup(p.name, p.realm)
		if good != nil {
			return good, nil
		}
		if expired != nil {
			stale = expired
		}
		names = append(names, p)
	}
	if len(names) == 0 {
		return nil, &Error{Op: "ticket", Err: errors.New("no service is named")}
	}
	var first error
	for _, p := range names {
		t, err := c.getTicket(ctx, p)
		if err == nil {
			c.remember(t)
			return t, nil
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != codeServiceUnknown {
			if stale != nil && c.password == nil && c.keytab == nil && errors.Is(err, errNoTGT) {
				return nil, refuse("ticket for "+join(p.name), "kinit "+c.self.String(), "ticket for %s expired at %s", stale.server, stale.end.Format(time.RFC3339))
			}
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

var errNoTGT = errors.New("no ticket-granting ticket")

// tgt returns the ticket-granting ticket of the client's own realm.
func (c *Client) tgt(ctx context.Context) (*credential, error) {
	name := []string{"krbtgt", c.self.realm}
	good, expired := c.lookup(name, c.self.realm)
	if good != nil {
		return good, nil
	}
	if c.password != nil || c.keytab != nil {
		t, err := c.login(ctx)
		if err == nil {
			c.remember(t)
		}
		return t, err
	}
	hint := "kinit " + c.self.String()
	if expired != nil {
		return nil, refuse("ticket cache", hint, "%w that is valid: it expired at %s", errNoTGT, expired.end.Format(time.RFC3339))
	}
	for _, t := range c.cached {
		if t.key == nil && equalNames(t.server.name, name) {
			return nil, refuse("ticket cache", hint, "ticket-granting ticket: %w (type %d)", errEtype, t.etype)
		}
	}
	return nil, refuse("ticket cache", hint, "%w of %s", errNoTGT, c.self)
}

// maxReferrals bounds the realms on the way to a service's.
const maxReferrals = 6

// getTicket asks the KDCs for a ticket, from realm to realm as they refer
// (RFC 6806 section 8).
func (c *Client) getTicket(ctx context.Context, server principal) (*credential, error) {
	t, err := c.tgt(ctx)
	if err != nil {
		return nil, err
	}
	if server.realm == "" && len(server.name) > 1 {
		server.realm = c.conf.realmOf(server.name[1])
	}
	if server.realm != "" && server.realm != c.self.realm {
		if t, err = c.follow(ctx, t, []string{"krbtgt", server.realm}); err != nil {
			return nil, err
		}
	}
	return c.follow(ctx, t, server.name)
}

// follow asks for a ticket, and again wherever it is referred to.
func (c *Client) follow(ctx context.Context, tgt *credential, name []string) (*credential, error) {
	for range maxReferrals {
		t, err := c.tgsExchange(ctx, tgt, name)
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(join(t.server.name), join(name)) {
			return t, nil
		}
		// tgsExchange has checked that this is a ticket-granting ticket
		tgt = t
	}
	return nil, &Error{Op: "ticket for " + join(name), Err: fmt.Errorf("referred on more than %d times", maxReferrals)}
}

package kerberos

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// maxCache bounds a ticket cache's file.
const maxCache = 4 << 20

// credential is a ticket and what is needed to use it.
type credential struct {
	client, server principal
	key            *key // nil when its encryption type is not supported
	etype          int32
	start, end     time.Time
	raw            []byte // the ticket's encoding
}

// DefaultCache is the path of the ticket cache that kinit fills: what
// KRB5CCNAME says, else /tmp/krb5cc_UID. Only caches that are files can be read.
func DefaultCache() (string, error) {
	if v := os.Getenv("KRB5CCNAME"); v != "" {
		return cachePath(v)
	}
	if runtime.GOOS == "windows" {
		return "", refuse("ticket cache", "set KRB5CCNAME to the file of a ticket cache, or use a keytab or a password", "KRB5CCNAME is not set")
	}
	return "/tmp/krb5cc_" + strconv.Itoa(os.Getuid()), nil
}

// cachePath takes the type off a cache's name.
func cachePath(name string) (string, error) {
	if p, ok := strings.CutPrefix(name, "FILE:"); ok {
		return p, nil
	}
	if kind, _, ok := strings.Cut(name, ":"); ok && len(kind) > 1 { // one letter is a drive
		return "", refuse("ticket cache", "export KRB5CCNAME=FILE:/path/to/cache, then run kinit again", "a cache of type %s cannot be read, only files can", kind)
	}
	return name, nil
}

// loadCache reads a ticket cache's file.
func loadCache(path string) (principal, []*credential, error) {
	b, err := readFile(path, maxCache)
	if errors.Is(err, os.ErrNotExist) {
		return principal{}, nil, refuse("ticket cache", "get a ticket first: kinit USER@REALM", "%s does not exist", path)
	}
	if err != nil {
		return principal{}, nil, &Error{Op: "ticket cache", Err: err}
	}
	defer clear(b)
	p, creds, err := parseCache(b)
	if err != nil {
		return p, nil, &Error{Op: "ticket cache", Err: fmt.Errorf("%s: %w", path, err), hint: "make a new one: kinit USER@REALM"}
	}
	return p, creds, nil
}

// parseCache decodes a ticket cache of version 3 or 4, all big-endian (the
// "Credential cache file format" of MIT Kerberos). It copies what it keeps.
func parseCache(b []byte) (principal, []*credential, error) {
	r := cacheReader{s: b}
	magic, version := r.u8(), r.u8()
	if r.bad || magic != 5 || version < 3 || version > 4 {
		return principal{}, nil, errors.New("is no ticket cache of version 3 or 4")
	}
	if version == 4 {
		r.skip(uint64(r.u16())) // header: the clock's offset
	}
	owner := r.principal()
	var creds []*credential
	for !r.bad && !r.s.Empty() {
		c := &credential{client: r.principal(), server: r.principal()}
		c.etype = int32(int16(r.u16()))
		if version == 3 {
			r.u16() // once more
		}
		value := r.data()
		r.u32() // time of authentication
		c.start, c.end = r.time(), r.time()
		r.u32()       // renewable until
		r.u8()        // encrypted in a session key
		r.u32()       // flags
		for range 2 { // addresses, authorization data
			for n := r.u32(); n > 0 && !r.bad; n-- {
				r.u16()
				r.data()
			}
		}
		c.raw = append([]byte(nil), r.data()...)
		r.data() // second ticket
		if r.bad {
			break
		}
		if strings.HasPrefix(c.server.realm, "X-CACHECONF") {
			continue // a setting, no ticket
		}
		if etypes[c.etype] != nil {
			k, err := newKey(c.etype, value)
			if err != nil {
				return owner, nil, err
			}
			c.key = k
		}
		creds = append(creds, c)
	}
	if r.bad {
		return owner, nil, errors.New("ends in the middle of an entry")
	}
	if len(owner.name) == 0 {
		return owner, nil, errors.New("has no principal")
	}
	return owner, creds, nil
}

// cacheReader reads a cache's fields. After the first that is not all there,
// bad is set and the rest is zero.
type cacheReader struct {
	s   cryptobyte.String
	bad bool
}

func (r *cacheReader) u8() (v uint8)   { r.bad = !r.s.ReadUint8(&v) || r.bad; return }
func (r *cacheReader) u16() (v uint16) { r.bad = !r.s.ReadUint16(&v) || r.bad; return }
func (r *cacheReader) u32() (v uint32) { r.bad = !r.s.ReadUint32(&v) || r.bad; return }
func (r *cacheReader) time() time.Time {
	v := r.u32()
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(int64(v), 0)
}

func (r *cacheReader) skip(n uint64) []byte {
	var v []byte
	if r.bad || n > uint64(len(r.s)) || !r.s.ReadBytes(&v, int(n)) {
		r.bad = true
		return nil
	}
	return v
}

func (r *cacheReader) data() []byte { return r.skip(uint64(r.u32())) }

func (r *cacheReader) principal() (p principal) {
	r.u32() // name type
	n := r.u32()
	p.realm = string(r.data())
	for ; n > 0 && !r.bad; n-- {
		p.name = append(p.name, string(r.data()))
	}
	return p
}

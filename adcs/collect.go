package adcs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/smallstep/pkcs7"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/durable"
)

// ConfigurationFile is the companion that holds the registry's configuration.
const ConfigurationFile = "CertSvc-Configuration.reg"

// Collect takes what lies beside the database on this machine, and the procedure
// does not cover; it is made for [backup.TakeOptions]. The error is that of ctx
// alone: what could not be had is in Skipped.
//
//   - The key CertSvc\Configuration, as a file for reg import. Microsoft's own
//     services keep no secret there: the password of the SMTP exit module is with
//     the LSA, keys are with their provider, and key recovery agents are named by
//     hashes. Security is a descriptor of who may do what, and modules of other
//     makers may write what they please: keep the file as the database is kept.
//     The subkey of a pending restore is left out; importing it would leave one.
//     What Withhold has set is not in it, but what was there before.
//   - CAPolicy.inf of the Windows directory.
//   - The authority's certificates, by the names that AD CS gives them, and all of
//     them with their issuers in one PKCS#7 file: that is what a server across the
//     network gives as well, and what certutil, Windows and openssl take at once.
//   - The list of published templates, if the authority has templates and [Options]
//     a function for it.
//
// The private key is never taken; the answer says whether a provider has it that
// would not give it away. CRLs are dynamic files, and not collected again.
func (h *Host) Collect(ctx context.Context) (backup.Collected, error) {
	c := collector{Host: h}
	for _, part := range []func(context.Context){c.configuration, c.policy, c.certificates, c.privateKey, c.templates} {
		if err := ctx.Err(); err != nil {
			return c.out, err
		}
		part(ctx)
	}
	return c.out, ctx.Err()
}

type collector struct {
	*Host
	out backup.Collected
}

func (c *collector) skip(what string, err error) {
	c.out.Skipped = append(c.out.Skipped, fmt.Sprintf("%s: %v", what, err))
}

func (c *collector) add(name, source string, data []byte) {
	c.out.Companions = append(c.out.Companions, backup.Companion{Name: name, Source: source, Data: data})
}

func (c *collector) configuration(ctx context.Context) {
	e := export{sys: c.sys}
	e.key(ctx, configurationKey, 0)
	source := `HKLM\` + configurationKey
	names, err := c.asBefore(e.keys)
	if err != nil {
		e.fail(c.key(), err)
	} else if len(names) > 0 {
		source += " (" + strings.Join(names, ", ") + " from before they were withheld for a restore)"
	}
	for _, err := range e.failed {
		c.skip(ConfigurationFile, err)
	}
	if len(e.keys) == 0 || ctx.Err() != nil {
		return
	}
	b, err := regfile.Encode(e.keys)
	if err != nil {
		c.skip(ConfigurationFile, err)
		return
	}
	// A part is better than nothing, but it is not the configuration.
	if len(e.failed) == 0 {
		c.out.Configuration = backupset.Present
	}
	c.add(ConfigurationFile, source, b)
}

// Bounds of the exported configuration. A real one has some twenty keys and tens
// of kilobytes.
const (
	maxKeys      = 4096
	maxDepth     = 32
	maxConfigure = 8 << 20 // bytes of values
)

// pendingRestore is the subkey that a restore leaves for the next start of the
// service.
const pendingRestore = "RestoreInProgress"

// export reads a key with all below it.
type export struct {
	sys    system
	keys   []regfile.Key
	size   int
	failed []error
}

func (e *export) fail(key string, err error) {
	e.failed = append(e.failed, fmt.Errorf(`HKLM\%s: %w`, key, err))
}

func (e *export) key(ctx context.Context, key string, depth int) {
	switch {
	case ctx.Err() != nil:
		return
	case depth > maxDepth || len(e.keys) >= maxKeys:
		e.fail(key, errors.New("too many keys"))
		return
	}
	k := regfile.Key{Path: `HKEY_LOCAL_MACHINE\` + key}
	if err := regfile.CheckPath(k.Path); err != nil {
		e.fail(key, err)
		return
	}
	values, err := e.sys.values(key)
	if err != nil {
		e.fail(key, err)
		return
	}
	for _, v := range values {
		if err := regfile.CheckName(v.Name); err != nil {
			e.fail(key, err)
			continue
		}
		if e.size += len(v.Data); e.size > maxConfigure {
			e.fail(key, errors.New("too large"))
			return
		}
		k.Values = append(k.Values, v)
	}
	e.keys = append(e.keys, k)
	below, err := e.sys.subkeys(key)
	if err != nil {
		e.fail(key, err)
		return
	}
	for _, name := range below {
		if depth == 0 && strings.EqualFold(name, pendingRestore) {
			continue
		}
		e.key(ctx, key+`\`+name, depth+1)
	}
}

// maxPolicy bounds CAPolicy.inf, a page or two of text.
const maxPolicy = 1 << 20

func (c *collector) policy(context.Context) {
	const name = "CAPolicy.inf"
	path, err := c.sys.expand(`%SystemRoot%\` + name)
	if err != nil {
		c.skip(name, err)
		return
	}
	b, err := durable.ReadFile(c.fsys, c.sys.native(path), maxPolicy)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.out.CAPolicy = backupset.Absent
	case err != nil:
		c.skip(name, err)
	default:
		c.out.CAPolicy = backupset.Present
		c.add(name, path, b)
	}
}

func (c *collector) certificates(context.Context) {
	const what = "CA certificates"
	hashes, err := c.hashes()
	if err != nil {
		c.skip(what, err)
		return
	}
	found, err := c.find(hashes)
	if err != nil {
		c.skip(what, err)
		return
	}
	var all [][]byte
	addOnce := func(cert []byte) {
		for _, a := range all {
			if bytes.Equal(a, cert) {
				return
			}
		}
		all = append(all, cert)
	}
	for i := len(hashes) - 1; i >= 0; i-- { // newest first, as a chain begins
		if hashes[i] == "" {
			continue
		}
		cert, ok := found[hashes[i]]
		if !ok {
			c.skip(what, missingCertificate("the one with the SHA-1 hash "+hashes[i]))
			continue
		}
		addOnce(cert)
		issuers, err := c.chain(cert)
		if err != nil {
			c.skip("chain of the CA certificate "+hashes[i], err)
		}
		for _, issuer := range issuers {
			addOnce(issuer)
		}
	}
	for i, x := range hashes {
		if cert, ok := found[x]; ok {
			c.add(indexed(c.name, i)+".crt", "CACertHash "+x, cert)
		}
	}
	if len(all) == 0 {
		return
	}
	p7b, err := pkcs7.DegenerateCertificate(bytes.Join(all, nil))
	if err != nil {
		c.skip("chain", err)
		return
	}
	c.add(c.name+".p7b", "certificate stores", p7b)
}

// indexed is the name of what belongs to a certificate: the first one has no
// number.
func indexed(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s(%d)", name, i)
}

func (c *collector) privateKey(context.Context) {
	provider, err := c.Provider()
	if err != nil {
		c.skip("provider of the private key", err)
		return
	}
	c.out.PrivateKey = keyPresence(provider)
}

func (c *collector) templates(ctx context.Context) {
	const name = "templates.txt"
	if c.standalone() {
		c.out.Templates = backupset.Absent
		return
	}
	if c.o.Templates == nil {
		return // not attempted, which is what an empty answer says
	}
	b, err := c.o.Templates(ctx)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			c.skip(name, err)
		}
	case len(bytes.TrimSpace(b)) == 0:
		c.out.Templates = backupset.Absent
	default:
		c.out.Templates = backupset.Present
		c.add(name, "published templates", b)
	}
}

package backup

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// Companion is a file that is stored with a set though the procedure does not
// know of it.
type Companion struct {
	Name   string // any; the set's name for it is made from this
	Source string // where it is from, for the manifest
	Data   []byte
}

// Collected is what a collector of companions found.
type Collected struct {
	Companions []Companion

	// Skipped names what is there and could not be had, with the reason.
	Skipped []string

	// These go into the completeness statement, unless they are empty.
	Configuration, PrivateKey, CAPolicy, Templates backupset.Presence
}

// maxCACertificates bounds how many certificates an authority may claim to have.
const maxCACertificates = 256

// Inspect collects what a server across the network can be asked for: the CA's
// certificates, the chain of the newest, the CRLs, and the list of its
// certificate templates. A server that does not know a property has none of it;
// other failures are told of in Skipped. The error is that of ctx alone.
//
// Names are those that AD CS gives: NAME.crt, NAME.crl, NAME+.crl for a delta
// CRL, NAME(1).crt and so on after a renewal.
func Inspect(ctx context.Context, in certadm.Inspector, sanitizedName string) (Collected, error) {
	c := collector{in: in, name: sanitizedName}
	if c.name == "" {
		c.name = "CA"
	}
	n, ok := c.count(ctx)
	if !ok {
		return c.out, ctx.Err()
	}
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		c.add(ctx, certadm.PropCASigCert, i, c.indexed("", i)+".crt")
		c.add(ctx, certadm.PropBaseCRL, i, c.indexed("", i)+".crl")
		c.add(ctx, certadm.PropDeltaCRL, i, c.indexed("+", i)+".crl")
	}
	if n > 0 {
		c.add(ctx, certadm.PropCASigCertChain, n-1, c.name+".p7b")
	}
	c.templates(ctx)
	return c.out, ctx.Err()
}

type collector struct {
	in   certadm.Inspector
	name string
	out  Collected
}

// indexed is the name of what belongs to a certificate: the first one has no
// number.
func (c *collector) indexed(sign string, i int) string {
	if i == 0 {
		return c.name + sign
	}
	return fmt.Sprintf("%s(%d)%s", c.name, i, sign)
}

// count is how many certificates the authority has; 1 if it does not say. A server
// that finds a parameter invalid in this of all questions finds it in all of them:
// it is another authority, or wants to be named.
func (c *collector) count(ctx context.Context) (n int, ok bool) {
	p, err := c.in.CAProperty(ctx, certadm.PropCASigCertCount, 0, certadm.PropertyLong)
	switch {
	case errors.Is(err, certadm.EInvalidArg):
		c.out.Skipped = append(c.out.Skipped, "CA certificates, CRLs and templates: the server answers for an authority by its name only (adcs://HOST/CA NAME): "+err.Error())
		return 0, false
	case err != nil:
		c.skip(ctx, certadm.PropCASigCertCount.String(), err)
		return 1, true
	case p.Long < 1 || p.Long > maxCACertificates:
		c.out.Skipped = append(c.out.Skipped, fmt.Sprintf("CA certificates: the server claims to have %d", p.Long))
		return 1, true
	}
	return int(p.Long), true
}

func (c *collector) add(ctx context.Context, id certadm.CAPropertyID, index int, name string) {
	p, err := c.in.CAProperty(ctx, id, index, certadm.PropertyBinary)
	switch {
	case err != nil:
		c.skip(ctx, fmt.Sprintf("%s %d", id, index), err)
	case len(p.Binary) > 0:
		c.out.Companions = append(c.out.Companions, Companion{Name: name, Source: fmt.Sprintf("%s %d", id, index), Data: derOf(p.Binary)})
	}
}

// derOf takes a PEM armour off, as everywhere in a set.
func derOf(b []byte) []byte {
	if block, rest := pem.Decode(b); block != nil && len(rest) == 0 {
		return block.Bytes
	}
	return b
}

// templates saves the list as lines of "NAME OID".
func (c *collector) templates(ctx context.Context) {
	p, err := c.in.CAProperty(ctx, certadm.PropTemplates, 0, certadm.PropertyString)
	if err != nil {
		if c.skip(ctx, certadm.PropTemplates.String(), err) {
			return
		}
		c.out.Templates = backupset.Absent
		return
	}
	if strings.TrimSpace(p.Text) == "" {
		c.out.Templates = backupset.Absent
		return
	}
	var b strings.Builder // of lines in pairs: name, object identifier
	for pair := range slices.Chunk(strings.Split(strings.TrimRight(p.Text, "\n"), "\n"), 2) {
		fmt.Fprintln(&b, strings.TrimSpace(strings.Join(pair, " ")))
	}
	c.out.Templates = backupset.Present
	c.out.Companions = append(c.out.Companions, Companion{Name: "templates.txt", Source: certadm.PropTemplates.String(), Data: []byte(b.String())})
}

// propertyEmpty is CERTSRV_E_PROPERTY_EMPTY (MS-WCCE 2.2.3).
const propertyEmpty certadm.HRESULT = 0x80094004

// skip notes a failure, and reports whether it is one: not to have something, or
// not to know of it, is none.
func (c *collector) skip(ctx context.Context, what string, err error) bool {
	for _, absent := range []certadm.HRESULT{certadm.EInvalidArg, certadm.ErrorFileNotFound, certadm.ENotImpl, propertyEmpty} {
		if errors.Is(err, absent) {
			return false
		}
	}
	if ctx.Err() == nil {
		c.out.Skipped = append(c.out.Skipped, what+": "+err.Error())
	}
	return true
}

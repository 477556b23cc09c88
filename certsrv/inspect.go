package certsrv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/smallstep/pkcs7"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
)

// The methods of ICertAdminD that certadm.Inspector has, for errors.
const (
	opPing     = "Ping"
	opRoles    = "GetMyRoles"
	opGetCRL   = "GetCRL"
	opProperty = "GetCAProperty"
)

// ask begins a call of the Inspector: connection, service, right, flags.
func (c *client) ask(ctx context.Context, op string, m account.Method) (r *run, leave func(), err error) {
	if err := c.open(ctx, op); err != nil {
		return nil, nil, err
	}
	r, leave, err = c.s.enter()
	if err != nil {
		return nil, nil, notActive(op)
	}
	if err := c.admit(op, m); err != nil {
		leave()
		return nil, nil, err
	}
	return r, leave, nil
}

func (c *client) Ping(ctx context.Context) error {
	_, leave, err := c.ask(ctx, opPing, account.Ping)
	if err != nil {
		return err
	}
	leave()
	return nil
}

func (c *client) MyRoles(ctx context.Context) (certadm.Roles, error) {
	_, leave, err := c.ask(ctx, opRoles, account.GetMyRoles)
	if err != nil {
		return 0, err
	}
	leave()
	return certadm.Roles(c.p.InEffect()), nil
}

func (c *client) CRL(ctx context.Context) ([]byte, error) {
	r, leave, err := c.ask(ctx, opGetCRL, account.GetCRL)
	if err != nil {
		return nil, err
	}
	defer leave()
	return r.baseCRL(opGetCRL)
}

func (r *run) baseCRL(op string) ([]byte, error) {
	c := r.crl.Load()
	if c == nil || c.Raw == nil {
		return nil, newError(op, certadm.ErrorFileNotFound, errors.New("no CRL has been published yet"), "")
	}
	return bytes.Clone(c.Raw), nil
}

func (c *client) CAProperty(ctx context.Context, id certadm.CAPropertyID, index int, t certadm.PropertyType) (certadm.CAProperty, error) {
	r, leave, err := c.ask(ctx, opProperty, account.GetCAProperty)
	if err != nil {
		return certadm.CAProperty{}, err
	}
	defer leave()
	refuse := func(format string, args ...any) (certadm.CAProperty, error) {
		return certadm.CAProperty{}, newError(opProperty, certadm.EInvalidArg, fmt.Errorf(format, args...), "")
	}
	get, known := caProperties[id]
	switch {
	case !known:
		return refuse("this authority has no %v", id)
	case t != id.Type():
		return refuse("%v is a %v, not a %v", id, id.Type(), t)
	case index != 0 && (index != certadm.PropertyNewest || !id.Indexed()):
		return refuse("%v has no value %d", id, index)
	}
	v, err := get(r)
	if err != nil {
		return certadm.CAProperty{}, err
	}
	v.Type = t
	return v, nil
}

func longProperty(n int32) func(*run) (certadm.CAProperty, error) {
	return func(*run) (certadm.CAProperty, error) { return certadm.CAProperty{Long: n}, nil }
}

func textProperty(get func(*Config) string) func(*run) (certadm.CAProperty, error) {
	return func(r *run) (certadm.CAProperty, error) { return certadm.CAProperty{Text: get(r.s.config())}, nil }
}

// highestProperty is what CR_PROP_CAPROPIDMAX says.
const highestProperty = certadm.PropCertAIAURLs

// caProperties are the properties that there are. This authority has one key and
// one certificate, so that each index but 0 and the newest is unknown; it has no
// modules, no templates, no delta CRLs and archives no keys.
var caProperties = map[certadm.CAPropertyID]func(*run) (certadm.CAProperty, error){
	certadm.PropCAName:           textProperty(func(c *Config) string { return c.Name }),
	certadm.PropSanitizedCAName:  textProperty(func(c *Config) string { return c.SanitizedName }),
	certadm.PropDNSName:          textProperty(func(c *Config) string { return c.Host }),
	certadm.PropTemplates:        textProperty(func(*Config) string { return "" }),
	certadm.PropCertCDPURLs:      textProperty(func(c *Config) string { return lines(c.CRLURLs) }),
	certadm.PropCertAIAURLs:      textProperty(func(c *Config) string { return lines(c.IssuerURLs) }),
	certadm.PropExitCount:        longProperty(0),
	certadm.PropCASigCertCount:   longProperty(1),
	certadm.PropCAXchgCertCount:  longProperty(0),
	certadm.PropKRACertUsedCount: longProperty(0),
	certadm.PropKRACertCount:     longProperty(0),
	certadm.PropCACertState:      longProperty(certadm.CADispositionValid),
	certadm.PropCRLState:         longProperty(certadm.CADispositionValid),
	certadm.PropRoleSeparation:   longProperty(0),
	certadm.PropCACertVersion:    longProperty(0),
	certadm.PropCAPropIDMax:      longProperty(int32(highestProperty)),
	certadm.PropCAType:           caType,
	certadm.PropCACertStatusCode: certificateStatus,
	certadm.PropCASigCert:        certificate,
	certadm.PropCASigCertChain:   chain,
	certadm.PropBaseCRL:          crlProperty,
	certadm.PropDeltaCRL:         noDeltaCRL,
	certadm.PropDeltaCRLStatus:   noDeltaCRL,
}

// lines is a list as GetCAProperty has it: a line feed after each.
func lines(l []string) string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s + "\n")
	}
	return b.String()
}

func caType(r *run) (certadm.CAProperty, error) {
	cert := r.s.CACertificate()
	if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return certadm.CAProperty{Long: certadm.CATypeStandaloneRoot}, nil
	}
	return certadm.CAProperty{Long: certadm.CATypeStandaloneSubordinate}, nil
}

// certExpired is CERT_E_EXPIRED (winerror.h).
const certExpired = certadm.HRESULT(0x800B0101)

func certificateStatus(r *run) (certadm.CAProperty, error) {
	cert, now := r.s.CACertificate(), r.s.clock.Now()
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		expired := uint32(certExpired)
		return certadm.CAProperty{Long: int32(expired)}, nil
	}
	return certadm.CAProperty{}, nil
}

func certificate(r *run) (certadm.CAProperty, error) {
	return certadm.CAProperty{Binary: bytes.Clone(r.s.CACertificate().Raw)}, nil
}

// chain is a PKCS #7 message of certificates alone. The authority knows no
// issuer above it.
func chain(r *run) (certadm.CAProperty, error) {
	der, err := pkcs7.DegenerateCertificate(r.s.CACertificate().Raw)
	if err != nil {
		return certadm.CAProperty{}, newError(opProperty, certadm.EFail, fmt.Errorf("certificate chain: %w", err), "")
	}
	return certadm.CAProperty{Binary: der}, nil
}

func crlProperty(r *run) (certadm.CAProperty, error) {
	der, err := r.baseCRL(opProperty)
	return certadm.CAProperty{Binary: der}, err
}

func noDeltaCRL(*run) (certadm.CAProperty, error) {
	return certadm.CAProperty{}, newError(opProperty, certadm.ErrorFileNotFound, errors.New("this authority publishes no delta CRLs"), "")
}

package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/adcs"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certdll"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/hint"
)

// LibraryOptions are the options of Library.
type LibraryOptions struct {
	Server string // as the user wrote it
	Local  bool   // this machine's authority

	// Open loads Certadm.dll.
	Open func(ctx context.Context) (*connect.Connection, error)

	// Privileges enables what a backup needs, and returns what undoes it; nil is
	// certdll's.
	Privileges func(names ...string) (func() error, error)

	Observe func(Check) // hears of each check; may be nil
}

// Library examines an authority behind Certadm.dll. The error is that of ctx.
func Library(ctx context.Context, o LibraryOptions) (*Report, error) {
	if o.Privileges == nil {
		o.Privileges = certdll.EnablePrivileges
	}
	x := &library{o: o, examination: newExamination(o.Server, o.Observe, checkLibrary, checkService, checkPrivilege, checkAuthority, checkCertificate, checkKey)}
	conn, err := o.Open(ctx)
	if err != nil {
		x.fail(checkLibrary, err, hint.Of(err))
		return x.finish("Certadm.dll cannot be used"), ctx.Err()
	}
	x.good(checkLibrary, "Certadm.dll is there, with the functions of a backup")
	x.ask(ctx, conn.Service(), conn.Host())
	if err := conn.Close(); err != nil && x.rep.OK {
		x.fail("close", err, hint.Of(err))
	}
	return x.finish("not reached"), ctx.Err()
}

type library struct {
	*examination
	o LibraryOptions
}

func (x *library) ask(ctx context.Context, svc certadm.Service, h *adcs.Host) {
	online, err := svc.IsServerOnline(ctx)
	switch {
	case err != nil:
		x.fail(checkService, err, or(hint.Of(err), "start Certificate Services: net start certsvc"))
		return
	case !online:
		x.fail(checkService, &certadm.Error{Op: certadm.FnIsServerOnline, Code: certadm.ErrorServiceNotActive, Err: errors.New("the service is suspended")}, "resume Certificate Services")
		return
	}
	x.good(checkService, "Certificate Services are running")
	if !x.o.Local {
		x.unknown(checkPrivilege, "it counts on the other machine, and shows when a backup begins", "")
		x.unknown(checkAuthority, "it is on another machine, whose registry is not read", "")
		x.unknown(checkCertificate, "likewise", "")
		x.unknown(checkKey, "likewise", "")
		return
	}
	undo, err := x.o.Privileges(certdll.SeBackupPrivilege)
	if err == nil {
		err = undo()
	}
	if err != nil {
		x.fail(checkPrivilege, err, hint.Of(err))
		return
	}
	x.good(checkPrivilege, certdll.SeBackupPrivilege+" can be enabled")
	x.host(h)
}

// host looks at what is beside the library.
func (x *library) host(h *adcs.Host) {
	if h == nil {
		x.warn(checkAuthority, "the registry of this machine has no authority: a set will lack configuration, CAPolicy.inf and certificates", "")
		return
	}
	x.rep.Authority = h.SanitizedName()
	x.good(checkAuthority, fmt.Sprintf("%q is the active authority", h.SanitizedName()))
	raw, err := h.Certificate()
	var cert *x509.Certificate
	if err == nil {
		cert, err = x509.ParseCertificate(raw)
	}
	switch {
	case err != nil:
		x.warn(checkCertificate, err.Error(), or(hint.Of(err), "a set without it can be restored by name only"))
	case time.Until(cert.NotAfter) < soon:
		x.warn(checkCertificate, "it ends on "+cert.NotAfter.UTC().Format(time.DateOnly), "renew the CA certificate")
	default:
		x.good(checkCertificate, "valid until "+cert.NotAfter.UTC().Format(time.DateOnly))
	}
	provider, err := h.Provider()
	switch {
	case err != nil:
		x.warn(checkKey, err.Error(), "")
	case provider == "":
		x.unknown(checkKey, "the registry does not name its provider", "")
	default:
		x.good(checkKey, fmt.Sprintf("with %q; no backup holds it: certkeep key export, once, to a safe place", provider))
	}
}

package certadmtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// patience bounds one part. It is there to end a service that hangs, and decides
// nothing else.
const patience = 5 * time.Minute

// probe is what a part works with. Failures are recorded, not reported: whether
// one fails the test is for [judge], and whether the suite finds a broken service
// is for its own tests.
type probe struct {
	t      *testing.T // for newEnv only
	newEnv func(t *testing.T) Env
	known  *abilities
	ctx    context.Context
	env    Env

	mu       sync.Mutex
	failures []string
	lacking  string
	cleanup  []func()
}

// stop is panicked with to leave a part early.
type stop struct{}

// recover ends a part: by stop, or by a panic of the service, which fails it.
func (p *probe) recover() {
	switch v := recover(); v.(type) {
	case nil, stop:
	default:
		p.record(fmt.Sprintf("panic: %v\n%s", v, debug.Stack()))
	}
}

func (p *probe) finish() {
	for _, fn := range slices.Backward(p.cleanup) {
		func() {
			defer p.recover()
			fn()
		}()
	}
}

func (p *probe) record(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = append(p.failures, s)
}

// Errorf records a failure and goes on.
func (p *probe) Errorf(format string, args ...any) {
	p.record(where() + fmt.Sprintf(format, args...))
}

// Fatalf records a failure and leaves the part.
func (p *probe) Fatalf(format string, args ...any) {
	p.record(where() + fmt.Sprintf(format, args...))
	panic(stop{})
}

// where is the line of the item that a failure was found in: the outermost
// frame before runPart that is not the probe's own.
func where() string {
	pcs := make([]uintptr, 24)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	at := ""
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "certadmtest.runPart") || !more {
			return at
		}
		if name := filepath.Base(f.File); strings.HasPrefix(name, "items_") {
			at = fmt.Sprintf("%s:%d: ", name, f.Line)
		}
	}
}

// unsupported leaves the part because the Env lacks an ability.
func (p *probe) unsupported(ability string) {
	p.mu.Lock()
	p.lacking = ability
	p.mu.Unlock()
	panic(stop{})
}

// must leaves the part if err is not nil.
func (p *probe) must(err error, what string) {
	switch {
	case err == nil:
	case unsupported(err):
		p.unsupported(what + ": " + err.Error())
	default:
		p.Fatalf("%s: %v", what, err)
	}
}

// ok records a failed call of the service.
func (p *probe) ok(err error, what string) {
	if err != nil {
		p.Errorf("%s: %v", what, err)
	}
}

// start makes the part's authority.
func (p *probe) start() {
	p.env = p.newEnv(p.t)
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.ctx = ctx
	p.cleanup = append(p.cleanup, cancel)
}

// ability returns the Env as an optional interface.
func ability[A any](p *probe) A {
	name := strings.TrimPrefix(fmt.Sprintf("%T", (*A)(nil)), "*certadmtest.")
	if p.env == nil && !p.known.lacking[name] {
		p.start()
	}
	a, ok := p.env.(A)
	if !ok {
		if p.known.lacking == nil {
			p.known.lacking = make(map[string]bool)
		}
		p.known.lacking[name] = true
		p.unsupported("the Env is no " + name)
	}
	return a
}

// The callers that the items use. The backup operator is the account that most
// of them act for.
var (
	operator     = Caller{Name: "operator", Rights: Operator | Read}
	reader       = Caller{Name: "reader", Rights: Read}
	adminCaller  = Caller{Name: "admin", Rights: Administrator | Read}
	restorer     = Caller{Name: "restorer", Rights: Operator | Read | Restore}
	localAdmin   = Caller{Name: "localadmin", Rights: Operator | Read | Restore | LocalAdmin}
	noPrivileges = Caller{Name: "nobody", Rights: Operator | Read}
)

// connect returns a client, closed at the part's end.
func (p *probe) connect(c Caller) certadm.Service {
	if p.env == nil {
		p.start()
	}
	svc, err := p.env.Connect(p.ctx, c)
	p.must(err, "connecting as "+c.Name)
	if svc == nil {
		p.Fatalf("connecting as %s: no Service and no error", c.Name)
	}
	p.cleanup = append(p.cleanup, func() { svc.Close() })
	return svc
}

// prepare starts a backup session that has to succeed. The part's end ends it.
func (p *probe) prepare(svc certadm.Service, t certadm.BackupType) certadm.Backup {
	b, err := svc.BackupPrepare(p.ctx, t)
	if err != nil || b == nil {
		p.Fatalf("BackupPrepare(%d): %v, %v", t, b, err)
	}
	p.cleanup = append(p.cleanup, func() { b.End(context.WithoutCancel(p.ctx)) })
	return b
}

// prepareRestore starts a restore session that has to succeed.
func (p *probe) prepareRestore(svc certadm.Service) certadm.Restore {
	r, err := svc.RestorePrepare(p.ctx, certadm.RestoreFull)
	if err != nil && certadm.CodeOf(err) == certadm.ENotImpl {
		p.unsupported("RestorePrepare: " + err.Error())
	}
	if err != nil || r == nil {
		p.Fatalf("RestorePrepare: %v, %v", r, err)
	}
	p.cleanup = append(p.cleanup, func() { r.End(context.WithoutCancel(p.ctx)) })
	return r
}

// issue has n certificates issued.
func (p *probe) issue(n int) []string {
	if p.env == nil {
		p.start()
	}
	serials, err := p.env.Issue(p.ctx, n)
	p.must(err, "issuing")
	if len(serials) != n {
		p.Fatalf("issued %d certificates, want %d", len(serials), n)
	}
	return serials
}

// serials returns what is in the database now, sorted.
func (p *probe) serials() []string {
	s, err := p.env.Serials(p.ctx)
	p.must(err, "listing the serial numbers")
	return slices.Sorted(slices.Values(s))
}

// wantSerials compares the database with what it should hold.
func (p *probe) wantSerials(want []string, what string) {
	got := p.serials()
	want = slices.Sorted(slices.Values(want))
	if slices.Equal(got, want) {
		return
	}
	missing, extra := subtract(want, got), subtract(got, want)
	p.Errorf("%s: the database has %d certificates, want %d; missing %v; not expected %v", what, len(got), len(want), missing, extra)
}

// subtract returns what a has and b has not.
func subtract(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// mustStop stops the service; mustStart starts it.
func (p *probe) mustStop()  { p.must(p.env.Stop(p.ctx), "stopping the service") }
func (p *probe) mustStart() { p.must(p.env.Start(p.ctx), "starting the service") }

// online fails unless the service answers that it runs.
func (p *probe) online(svc certadm.Service) {
	if on, err := svc.IsServerOnline(p.ctx); !on || err != nil {
		p.Errorf("IsServerOnline = %v, %v, want true", on, err)
	}
}

// offline fails unless the question whether the service is online is an error.
func (p *probe) offline(svc certadm.Service, when string) {
	on, err := svc.IsServerOnline(p.ctx)
	if err == nil {
		p.Errorf("IsServerOnline %s = %v without an error", when, on)
		return
	}
	p.failed(err, "IsServerOnline "+when)
	if on {
		p.Errorf("IsServerOnline %s = true, %v", when, err)
	}
}

// failed fails unless err is a failure of the procedure: an *Error with a code.
// It returns that code.
func (p *probe) failed(err error, what string) certadm.HRESULT {
	var e *certadm.Error
	switch {
	case err == nil:
		p.Errorf("%s succeeds", what)
	case !errors.As(err, &e):
		p.Errorf("%s: %v (%T) is not an *Error", what, err, err)
	case e.Code == certadm.SOK:
		p.Errorf("%s: %v is a failure without a code", what, err)
	case e.Op == "":
		p.Errorf("%s: %v does not name the function", what, err)
	}
	return certadm.CodeOf(err)
}

// code fails unless err is a failure with one of these codes.
func (p *probe) code(err error, what string, want ...certadm.HRESULT) {
	if got := p.failed(err, what); err != nil && !slices.Contains(want, got) {
		p.Errorf("%s: %v, want code %v", what, err, want)
	}
}

// sequence fails unless err is the answer to a call out of sequence. MS-CSRA
// names E_UNEXPECTED for all of them but one, ESE the other code.
func (p *probe) sequence(err error, what string) {
	p.code(err, what, certadm.EUnexpected, certadm.HrInvalidBackupSequence)
}

// denied fails unless err says that the caller may not.
func (p *probe) denied(err error, what string) {
	const privilegeNotHeld certadm.HRESULT = 0x80070522
	p.code(err, what, certadm.EAccessDenied, certadm.HrAccessDenied, certadm.HrPermissionDenied, privilegeNotHeld)
}

// invalid fails unless err says that an argument is not valid.
func (p *probe) invalid(err error, what string) {
	p.code(err, what, certadm.EInvalidArg, certadm.HrInvalidParam, certadm.HrInvalidParameter)
}

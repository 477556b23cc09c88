package adcs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/hint"
)

// Between two looks at a service that is on its way: a tenth of its own wait hint
// within these bounds, as Microsoft's pages "Starting a Service" and "Stopping a
// Service" have it. There is no event to wait for instead: what
// NotifyServiceStatusChange has to say goes to a thread in an alertable wait, which
// Go's threads are never in.
const (
	minPoll = 100 * time.Millisecond
	maxPoll = 2 * time.Second
)

// stoppedFile remembers the services that were stopped because they depend on
// this one.
const stoppedFile = "stopped-services.json"

func (h *Host) pause(ctx context.Context, st serviceStatus) error {
	return h.sys.wait(ctx, min(max(st.hint/10, minPoll), maxPoll))
}

// StopService implements [backup.Controller]. Services that depend on this one are
// stopped first, and started again by StartService. It waits as long as ctx lets
// it: closing a large database takes its time.
func (h *Host) StopService(ctx context.Context) error { return h.stop(ctx, serviceName, 0) }

// maxDependents bounds how deep services depend on each other.
const maxDependents = 8

func (h *Host) stop(ctx context.Context, name string, depth int) error {
	asked := false
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
		st, err := h.query(name)
		if err != nil {
			return err
		}
		if st.state == stopped {
			return nil
		}
		if st.state == running && !asked || st.state == paused && !asked {
			err := h.sys.stop(name)
			switch win32(err) {
			case errorServiceNotActive:
				continue
			case errorServiceDependents:
				if err := h.stopDependents(ctx, name, depth); err != nil {
					return err
				}
				continue
			case errorServiceCannotAccept: // it is on its way to another state
			default:
				if err != nil {
					return serviceError("StopService", name, err)
				}
				asked = true
			}
		}
		if err := h.pause(ctx, st); err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
	}
}

func (h *Host) stopDependents(ctx context.Context, name string, depth int) error {
	if depth >= maxDependents {
		return fmt.Errorf("stopping %s: too many services depend on each other", name)
	}
	list, err := h.sys.dependents(name)
	if err != nil {
		return serviceError("StopService", name, err)
	}
	if len(list) == 0 {
		// It said that there are some: they stopped in between.
		return h.pause(ctx, serviceStatus{})
	}
	var known []string
	if _, err := h.load(stoppedFile, &known); err != nil {
		return err
	}
	for _, d := range list {
		if !slices.Contains(known, d) {
			known = append(known, d)
		}
	}
	if err := h.store(stoppedFile, known); err != nil {
		return err
	}
	for _, d := range list {
		if err := h.stop(ctx, d, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// query is the service's state; a service that is not there is [ErrNoAuthority].
func (h *Host) query(name string) (serviceStatus, error) {
	st, err := h.sys.query(name)
	if win32(err) == errorServiceDoesNotExist && name == serviceName {
		return st, hint.With(fmt.Errorf("%w: service %s: %w", ErrNoAuthority, name, err), noAuthorityHint)
	}
	if err != nil {
		return st, serviceError("QueryServiceStatus", name, err)
	}
	return st, nil
}

func serviceError(op, name string, err error) error {
	hint := ""
	switch win32(err) {
	case errorServiceDisabled:
		hint = "the service is disabled: sc config " + name + " start= auto"
	case errorAccessDenied:
		hint = "run this as an administrator"
	}
	return &certadm.Error{Op: op, Path: name, Code: certadm.CodeOf(err), Err: err, Hint: hint}
}

// StartService implements [backup.Controller]. It returns when the service manager
// calls the service running and, if [Options] has the function for it, when the
// service answers. A service that stops again gives its own exit code: the error
// is then a [certadm.Error] with it. It waits as long as ctx lets it: recovery
// takes as long as there are logs.
//
// What fails after that, or shows that nobody can tell whether the service answers,
// is no error: [Host.Remarks] has it.
func (h *Host) StartService(ctx context.Context) error {
	h.remarks = nil
	if err := h.start(ctx, serviceName); err != nil {
		return err
	}
	if err := h.online(ctx); err != nil {
		return err
	}
	if err := h.closeAside(); err != nil {
		h.remark("%s runs, and the journal of what was set aside could not be closed: %v", serviceName, err)
	}
	h.startDependents(ctx)
	return nil
}

func (h *Host) remark(format string, args ...any) {
	h.remarks = append(h.remarks, fmt.Sprintf(format, args...))
}

// Remarks are what the last StartService found amiss though the service runs, a
// sentence each.
func (h *Host) Remarks() []string { return slices.Clone(h.remarks) }

func (h *Host) start(ctx context.Context, name string) error {
	started := false
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("starting %s: %w", name, err)
		}
		st, err := h.query(name)
		if err != nil {
			return err
		}
		switch st.state {
		case running:
			return nil
		case paused:
			return &certadm.Error{Op: "StartService", Path: name, Code: certadm.ErrorServiceNotActive, Err: errors.New("the service is paused"),
				Hint: "resume it: sc continue " + name}
		case startPending, continuePending:
			started = true
		case stopped:
			if started {
				return exitError(name, st)
			}
			if err := h.sys.start(name); err != nil && win32(err) != errorServiceRunning {
				return serviceError("StartService", name, err)
			}
			started = true
			continue
		}
		if err := h.pause(ctx, st); err != nil {
			return fmt.Errorf("starting %s: %w", name, err)
		}
	}
}

// unready are the answers of a service that is not there yet: its process has not
// registered its interface, or recovery is still running.
var unready = []certadm.HRESULT{
	certadm.RPCServerUnavailable, certadm.RPCServerTooBusy, certadm.RPCUnknownInterface, certadm.RPCCallFailed,
	certadm.FromWin32(errorCallNotExecuted), certadm.FromWin32(errorEndpointNotRegistered),
	certadm.ErrorServiceNotActive, certadm.HrCouldNotConnect, certadm.HrCommunicationError, coServerExecFailure,
}

// online waits until the service answers. A service that runs and will not be asked,
// by this account or at all, may be online all the same.
func (h *Host) online(ctx context.Context) error {
	if h.o.Online == nil {
		return nil
	}
	for {
		ok, err := h.o.Online(ctx)
		if ok && err == nil {
			return nil
		}
		st, qerr := h.query(serviceName)
		if qerr != nil {
			return qerr
		}
		if st.state == stopped {
			return exitError(serviceName, st)
		}
		if err != nil && ctx.Err() == nil && st.state == running && !slices.Contains(unready, certadm.CodeOf(err)) {
			h.remark("%s runs, and whether it answers could not be found out: %v", serviceName, err)
			return nil
		}
		if werr := h.pause(ctx, st); werr != nil {
			if err == nil {
				err = errors.New("the service is suspended")
			}
			return fmt.Errorf("%s runs and does not answer: %w (%w)", serviceName, werr, err)
		}
	}
}

// exitError is the error of a service that stopped by itself.
func exitError(name string, st serviceStatus) error {
	e := &certadm.Error{Op: "StartService", Path: name}
	switch {
	case st.exit == errorServiceSpecific:
		e.Code = specificCode(st.specific)
		e.Err = fmt.Errorf("the service stopped again, with its own exit code %d (0x%08X)", st.specific, st.specific)
	case st.exit != 0:
		e.Code = certadm.FromWin32(st.exit)
		e.Err = fmt.Errorf("the service stopped again, with exit code %d", st.exit)
	default:
		e.Code, e.Err = certadm.EFail, errors.New("the service stopped again, and calls that no error")
	}
	e.Hint = "the event log has more: Application, sources CertificationAuthority and ESENT"
	if n, ok := e.Code.ESE(); ok {
		switch n {
		case -550, -551, -543, -528, -582, -501, -1206:
			e.Hint = "database and logs do not fit together; nothing was deleted: restore again from the set, or look at what was set aside. " + e.Hint
		}
	}
	return e
}

// specificCode is the HRESULT of a service-specific exit code. Certificate Services
// gives an HRESULT as it stands, such as 0x80090016, or negated: 939523546 is
// -0xC8000226, ESE's -550.
func specificCode(n uint32) certadm.HRESULT {
	if n&0x80000000 != 0 {
		return certadm.HRESULT(n)
	}
	if negated := certadm.HRESULT(-n); n != 0 {
		if _, ok := negated.ESE(); ok {
			return negated
		}
	}
	if n > 0xffff {
		return certadm.EFail // the number is in the text
	}
	return certadm.FromWin32(n)
}

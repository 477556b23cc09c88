package adcs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/certadm"
)

func TestStopService(t *testing.T) {
	f := newFake(t)
	// It may take a look or two before it says that it stops.
	f.services["certsvc"].onStop = append([]serviceStatus{{state: running}, {state: running}}, f.services["certsvc"].onStop...)
	h := f.open(t, Options{})
	for range 2 { // the second finds it stopped
		if err := h.StopService(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if f.services["certsvc"].state != stopped || f.waits < 2 {
		t.Errorf("state %d after %d looks", f.services["certsvc"].state, f.waits)
	}
	if diff := cmp.Diff([]string{"stop CertSvc"}, f.log); diff != "" {
		t.Error(diff)
	}
}

func TestStopServiceStates(t *testing.T) {
	for name, c := range map[string]struct {
		state serviceState
		path  []serviceStatus
		asked int
	}{
		"stopping already": {stopPending, []serviceStatus{{state: stopPending}, {state: stopped}}, 0},
		"starting":         {startPending, []serviceStatus{{state: startPending}, {state: running}}, 1},
		"paused":           {paused, nil, 1},
		"pausing":          {pausePending, []serviceStatus{{state: paused}}, 1},
		"resuming":         {continuePending, []serviceStatus{{state: running}}, 1},
	} {
		f := newFake(t)
		s := f.services["certsvc"]
		s.serviceStatus, s.path = serviceStatus{state: c.state}, c.path
		if err := f.open(t, Options{}).StopService(t.Context()); err != nil || s.state != stopped || len(f.log) != c.asked {
			t.Errorf("%s: %v, state %d, %q", name, err, s.state, f.log)
		}
	}
}

func TestDependents(t *testing.T) {
	f := newFake(t)
	f.services["certsvc"].dependents = []string{"web", "ocsp", "idle"}
	f.services["web"] = &fakeService{serviceStatus: serviceStatus{state: running}, dependents: []string{"proxy"}}
	f.services["proxy"] = &fakeService{serviceStatus: serviceStatus{state: running}}
	f.services["ocsp"] = &fakeService{serviceStatus: serviceStatus{state: running}}
	f.services["idle"] = &fakeService{serviceStatus: serviceStatus{state: stopped}}
	for _, name := range []string{"web", "proxy", "ocsp"} {
		f.services[name].onStop = []serviceStatus{{state: stopPending}, {state: stopped}}
		f.services[name].onStart = []serviceStatus{{state: startPending}, {state: running}}
	}
	h := f.open(t, Options{})
	if err := h.StopService(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Another process starts them again.
	f.log = nil
	h = f.open(t, Options{})
	if err := h.StartService(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, s := range f.services {
		if want := map[bool]serviceState{true: stopped, false: running}[name == "idle"]; s.state != want {
			t.Errorf("%s: state %d, want %d", name, s.state, want)
		}
	}
	if f.log[0] != "start CertSvc" || slices.Index(f.log, "start web") > slices.Index(f.log, "start proxy") {
		t.Errorf("in the order %q", f.log)
	}
	f.log = nil
	if err := h.StartService(t.Context()); err != nil || len(f.log) != 0 {
		t.Errorf("again: %v, %q", err, f.log)
	}

	if err := h.store(stoppedFile, []string{`..\x`}); err != nil {
		t.Fatal(err)
	}
	if err := h.StartService(t.Context()); err != nil || len(h.Remarks()) != 1 || !strings.Contains(h.Remarks()[0], ErrState.Error()) || len(f.log) != 0 {
		t.Errorf("a name that is a path: %v, %q, %q", err, h.Remarks(), f.log)
	}
	if list := h.StoppedDependents(); len(list) != 0 {
		t.Errorf("a name that is a path: %q", list)
	}

	// Services that depend on each other in a circle.
	f = newFake(t)
	f.services["certsvc"].dependents = []string{"a"}
	f.services["a"] = &fakeService{serviceStatus: serviceStatus{state: running}, dependents: []string{"a"}}
	if err := f.open(t, Options{}).StopService(t.Context()); err == nil || !strings.Contains(err.Error(), "depend on each other") {
		t.Errorf("a circle: %v", err)
	}
}

func TestServiceRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   uint32
		hint   string
		stop   bool
		status serviceState
	}{
		{"stop without the right", errorAccessDenied, "administrator", true, running},
		{"start without the right", errorAccessDenied, "administrator", false, stopped},
		{"disabled", errorServiceDisabled, "sc config CertSvc start= auto", false, stopped},
		{"something else", 1053, "", false, stopped},
	} {
		f := newFake(t)
		f.services["certsvc"].serviceStatus = serviceStatus{state: c.status}
		f.services["certsvc"].refuse = certadm.FromWin32(c.code)
		h := f.open(t, Options{})
		call := h.StartService
		if c.stop {
			call = h.StopService
		}
		err := call(t.Context())
		if !errors.Is(err, certadm.FromWin32(c.code)) || !strings.Contains(err.Error(), "CertSvc") || !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%s: %v, hint %q", c.name, err, hintOf(err))
		}
	}
	f := newFake(t)
	delete(f.services, "certsvc")
	h := f.open(t, Options{})
	if err := h.StopService(t.Context()); !errors.Is(err, ErrNoAuthority) {
		t.Errorf("stop without a service: %v", err)
	}
	if err := h.StartService(t.Context()); !errors.Is(err, ErrNoAuthority) {
		t.Errorf("start without a service: %v", err)
	}
}

func TestServiceContext(t *testing.T) {
	f := newFake(t)
	f.services["certsvc"].onStop = []serviceStatus{{state: stopPending}}
	f.services["certsvc"].onStart = []serviceStatus{{state: startPending}}
	h := f.open(t, Options{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cancel := stop
	f.onWait = func(n int) {
		if n == 50 {
			cancel()
		}
	}
	if err := h.StopService(ctx); !errors.Is(err, context.Canceled) || f.waits != 50 {
		t.Errorf("a service that does not stop: %v after %d looks", err, f.waits)
	}
	f.services["certsvc"].serviceStatus = serviceStatus{state: stopped}
	ctx, stop2 := context.WithCancel(t.Context())
	defer stop2()
	cancel = stop2
	f.waits = 0
	if err := h.StartService(ctx); !errors.Is(err, context.Canceled) || f.waits != 50 {
		t.Errorf("a service that does not start: %v after %d looks", err, f.waits)
	}
	f.log = nil
	if err := h.StopService(ctx); !errors.Is(err, context.Canceled) || len(f.log) > 0 {
		t.Errorf("ended before: %v, %q", err, f.log)
	}
}

func TestStartServiceExit(t *testing.T) {
	for _, c := range []struct {
		name           string
		exit, specific uint32
		code           certadm.HRESULT
		text, hint     string
	}{
		{"dirty shutdown", errorServiceSpecific, 939523546, certadm.ESE(-550), "939523546 (0x37FFFDDA)", "do not fit together"},
		{"missing logs", errorServiceSpecific, 1<<32 - (0xC8000000 | 528), certadm.ESE(-528), "JET_errMissingLogFile", "do not fit together"},
		{"no key", errorServiceSpecific, 0x80090016, 0x80090016, "0x80090016", "event log"},
		{"ESE as it stands", errorServiceSpecific, 0xC8000226, certadm.ESE(-550), "JET_errDatabaseDirtyShutdown", "do not fit together"},
		{"a Win32 number", errorServiceSpecific, 2, certadm.ErrorFileNotFound, "exit code 2", "event log"},
		{"an odd number", errorServiceSpecific, 0x12345678, certadm.EFail, "0x12345678", "event log"},
		{"not specific", 1067, 0, certadm.FromWin32(1067), "exit code 1067", "event log"},
		{"none", 0, 0, certadm.EFail, "calls that no error", "event log"},
	} {
		f := newFake(t).stopped()
		f.services["certsvc"].onStart = []serviceStatus{{state: startPending}, {state: stopped, exit: c.exit, specific: c.specific}}
		err := f.open(t, Options{}).StartService(t.Context())
		if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.text) || !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%s: %v, hint %q", c.name, err, hintOf(err))
		}
		if slices.Contains(f.log[1:], "start CertSvc") {
			t.Errorf("%s: started twice", c.name)
		}
	}
}

// An exit code of an earlier run is not one of this.
func TestStartServiceAfterFailure(t *testing.T) {
	f := newFake(t)
	f.services["certsvc"].serviceStatus = serviceStatus{state: stopped, exit: errorServiceSpecific, specific: 939523546}
	if err := f.open(t, Options{}).StartService(t.Context()); err != nil {
		t.Error(err)
	}
	f = newFake(t)
	f.services["certsvc"].serviceStatus = serviceStatus{state: paused}
	if err := f.open(t, Options{}).StartService(t.Context()); !errors.Is(err, certadm.ErrorServiceNotActive) || !strings.Contains(hintOf(err), "sc continue") {
		t.Errorf("paused: %v", err)
	}
	f = newFake(t)
	s := f.services["certsvc"]
	s.serviceStatus, s.path = serviceStatus{state: stopPending}, []serviceStatus{{state: stopped, exit: 5}}
	if err := f.open(t, Options{}).StartService(t.Context()); err != nil || s.state != running {
		t.Errorf("while it stops: %v", err)
	}
}

func TestOnline(t *testing.T) {
	f := newFake(t).stopped()
	answers := []bool{false, false, true}
	asked := 0
	o := Options{Online: func(context.Context) (bool, error) {
		asked++
		if asked == 1 {
			return false, certadm.RPCServerUnavailable
		}
		return answers[min(asked, len(answers))-1], nil
	}}
	if err := f.open(t, o).StartService(t.Context()); err != nil || asked != 3 {
		t.Errorf("%v after %d questions", err, asked)
	}

	// It runs, and then recovery fails.
	f = newFake(t).stopped()
	f.services["certsvc"].onStart = []serviceStatus{{state: running}, {state: running}, {state: stopped, exit: errorServiceSpecific, specific: 939523546}}
	o.Online = func(context.Context) (bool, error) { return false, certadm.RPCServerUnavailable }
	if err := f.open(t, o).StartService(t.Context()); !errors.Is(err, certadm.ESE(-550)) {
		t.Errorf("stopped while it was asked: %v", err)
	}

	f = newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.onWait = func(int) { cancel() }
	if err := f.open(t, o).StartService(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, certadm.RPCServerUnavailable) {
		t.Errorf("never online: %v", err)
	}
}

// TestOnlineUnasked: what runs and will not be asked is no failed start.
func TestOnlineUnasked(t *testing.T) {
	for _, code := range []certadm.HRESULT{certadm.EAccessDenied, certadm.EFail, certadm.RPCNoSuchMethod, certadm.ErrorLogonFailure, certadm.RegdbClassNotReg} {
		f := newFake(t).stopped()
		f.services["certsvc"].onStart = []serviceStatus{{state: running}, {state: startPending}, {state: running}}
		asked := 0
		h := f.open(t, Options{Online: func(context.Context) (bool, error) {
			asked++
			if asked > 1 {
				return false, code
			}
			return false, certadm.RPCServerUnavailable
		}})
		if err := h.StartService(t.Context()); err != nil || asked != 3 || len(h.Remarks()) != 1 || !strings.Contains(h.Remarks()[0], code.Error()) {
			t.Errorf("%v: %v after %d questions, %q", code, err, asked, h.Remarks())
		}
		// Nothing is amiss the next time.
		h.o.Online = func(context.Context) (bool, error) { return true, nil }
		if err := h.StartService(t.Context()); err != nil || len(h.Remarks()) != 0 {
			t.Errorf("%v: the next start: %v, %q", code, err, h.Remarks())
		}
	}
	for _, code := range []certadm.HRESULT{
		0x800706ba, 0x800706bb, 0x800706b5, 0x800706be, 0x800706bf, 0x800706d9, // RPC
		0x80070426, 0xc7ff0007, 0xc7ff000d, 0x80080005,
	} {
		f := newFake(t)
		asked := 0
		h := f.open(t, Options{Online: func(context.Context) (bool, error) {
			if asked++; asked > 3 {
				return true, nil
			}
			return false, code
		}})
		if err := h.StartService(t.Context()); err != nil || asked != 4 || len(h.Remarks()) != 0 {
			t.Errorf("%v: %v after %d questions, %q", code, err, asked, h.Remarks())
		}
	}
}

// TestRemarks: the service runs, and not all beside it is well.
func TestRemarks(t *testing.T) {
	f := newFake(t)
	f.services["certsvc"].dependents = []string{"web", "ocsp"}
	for _, name := range []string{"web", "ocsp"} {
		f.services[name] = &fakeService{serviceStatus: serviceStatus{state: running}, onStop: []serviceStatus{{state: stopped}}, onStart: []serviceStatus{{state: running}}}
	}
	h := f.open(t, Options{})
	if err := h.StopService(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.Target(nil).StoppedDependents(); !slices.Equal(got, []string{"web", "ocsp"}) {
		t.Errorf("stopped: %q", got)
	}
	f.services["web"].refuse = certadm.FromWin32(errorServiceDisabled)
	if err := h.StartService(t.Context()); err != nil || f.services["ocsp"].state != running {
		t.Errorf("a service that is disabled: %v, ocsp in state %d", err, f.services["ocsp"].state)
	}
	if r := h.Target(nil).Remarks(); len(r) != 1 || !strings.Contains(r[0], "web") {
		t.Errorf("remarks %q", r)
	}
	// Another process asks.
	h = f.open(t, Options{})
	if got := h.StoppedDependents(); !slices.Equal(got, []string{"web"}) {
		t.Errorf("left: %q", got)
	}
	f.services["web"].refuse = nil
	if err := h.StartService(t.Context()); err != nil || len(h.Remarks()) != 0 || len(h.StoppedDependents()) != 0 || f.services["web"].state != running {
		t.Errorf("the next start: %v, %q, %q", err, h.Remarks(), h.StoppedDependents())
	}

	// Somebody starts it by hand.
	if err := h.StopService(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.services["web"].serviceStatus = serviceStatus{state: running}
	if got := h.StoppedDependents(); !slices.Equal(got, []string{"ocsp"}) {
		t.Errorf("one runs again: %q", got)
	}
}

// The journal of what was set aside is no reason to call a start failed.
func TestRemarksAside(t *testing.T) {
	f, _, d := cutOff(t, 3, interruptedFiles)
	h := f.open(t, Options{})
	if err := h.StartService(t.Context()); err != nil || len(h.Remarks()) != 1 || !strings.Contains(h.Remarks()[0], d.Dir) {
		t.Errorf("in the middle: %v, %q", err, h.Remarks())
	}
	if err := h.StartService(t.Context()); err != nil || len(h.Remarks()) != 0 {
		t.Errorf("again: %v, %q", err, h.Remarks())
	}
	if err := h.store(asideFile, "x"); err != nil {
		t.Fatal(err)
	}
	if err := h.StartService(t.Context()); err != nil || len(h.Remarks()) != 1 || !strings.Contains(h.Remarks()[0], asideFile) {
		t.Errorf("a journal that is none: %v, %q", err, h.Remarks())
	}
}

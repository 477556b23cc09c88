package adcs

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

// windowsServices asks for the rights that each call needs and no more: who may
// stop the service need not be an administrator.
type windowsServices struct{}

// with opens a service and calls f.
func (windowsServices) with(name string, access uint32, f func(windows.Handle) error) (err error) {
	m, err := windows.OpenSCManager(nil, nil, windows.SC_MANAGER_CONNECT)
	if err != nil {
		return number(err)
	}
	defer func() { err = errors.Join(err, windows.CloseServiceHandle(m)) }()
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	s, err := windows.OpenService(m, p, access)
	if err != nil {
		return number(err)
	}
	defer func() { err = errors.Join(err, windows.CloseServiceHandle(s)) }()
	return number(f(s))
}

func (w windowsServices) query(name string) (st serviceStatus, err error) {
	var t windows.SERVICE_STATUS_PROCESS
	err = w.with(name, windows.SERVICE_QUERY_STATUS, func(s windows.Handle) error {
		var needed uint32
		return windows.QueryServiceStatusEx(s, windows.SC_STATUS_PROCESS_INFO, (*byte)(unsafe.Pointer(&t)), uint32(unsafe.Sizeof(t)), &needed)
	})
	return serviceStatus{serviceState(t.CurrentState), t.Win32ExitCode, t.ServiceSpecificExitCode, time.Duration(t.WaitHint) * time.Millisecond}, err
}

func (w windowsServices) start(name string) error {
	return w.with(name, windows.SERVICE_START, func(s windows.Handle) error { return windows.StartService(s, 0, nil) })
}

func (w windowsServices) stop(name string) error {
	return w.with(name, windows.SERVICE_STOP, func(s windows.Handle) error {
		var t windows.SERVICE_STATUS
		return windows.ControlService(s, windows.SERVICE_CONTROL_STOP, &t)
	})
}

func (w windowsServices) dependents(name string) (list []string, err error) {
	err = w.with(name, windows.SERVICE_ENUMERATE_DEPENDENTS, func(s windows.Handle) (err error) {
		list, err = (&mgr.Service{Name: name, Handle: s}).ListDependentServices(svc.Active)
		return err
	})
	return list, err
}

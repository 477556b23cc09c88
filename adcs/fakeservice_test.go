package adcs

import (
	"strings"

	"github.com/certkeep/certkeep/certadm"
)

func (f *fake) service(name string) (*fakeService, error) {
	s, ok := f.services[strings.ToLower(name)]
	if !ok {
		return nil, certadm.FromWin32(errorServiceDoesNotExist)
	}
	return s, nil
}

func (f *fake) query(name string) (serviceStatus, error) {
	s, err := f.service(name)
	if err != nil {
		return serviceStatus{}, err
	}
	return s.serviceStatus, nil
}

func (f *fake) start(name string) error {
	s, err := f.service(name)
	if err != nil {
		return err
	}
	f.log = append(f.log, "start "+name)
	switch {
	case s.refuse != nil:
		return s.refuse
	case s.state != stopped:
		return certadm.FromWin32(errorServiceRunning)
	}
	s.serviceStatus, s.path = s.onStart[0], s.onStart[1:]
	return nil
}

func (f *fake) stop(name string) error {
	s, err := f.service(name)
	if err != nil {
		return err
	}
	f.log = append(f.log, "stop "+name)
	switch {
	case s.refuse != nil:
		return s.refuse
	case s.state == stopped:
		return certadm.FromWin32(errorServiceNotActive)
	case s.state != running && s.state != paused:
		return certadm.FromWin32(errorServiceCannotAccept)
	}
	if list, _ := f.dependents(name); len(list) > 0 {
		return certadm.FromWin32(errorServiceDependents)
	}
	s.serviceStatus, s.path = s.onStop[0], s.onStop[1:]
	return nil
}

func (f *fake) dependents(name string) ([]string, error) {
	s, err := f.service(name)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, d := range s.dependents {
		if f.services[d].state != stopped {
			list = append(list, d)
		}
	}
	return list, nil
}

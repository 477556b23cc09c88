package adcs

import (
	"context"
	"slices"
	"strings"
)

// startDependents starts what StopService stopped besides the service. One that does
// not start again stays noted, and the others are started all the same.
func (h *Host) startDependents(ctx context.Context) {
	list, err := h.noted()
	if err != nil {
		h.remark("%s runs, and which services were stopped for it could not be read: %v", serviceName, err)
		return
	}
	if len(list) == 0 {
		return
	}
	var left []string
	for _, name := range list { // what depends on one of them was noted after it
		if err := h.start(ctx, name); err != nil {
			h.remark("%s runs; %s was stopped for it, and does not start again: %v", serviceName, name, err)
			left = append(left, name)
		}
	}
	if len(left) > 0 {
		err = h.store(stoppedFile, left)
	} else {
		_, err = h.retire(stoppedFile)
	}
	if err != nil {
		h.remark("%s runs, and which services were stopped for it could not be noted: %v", serviceName, err)
	}
}

// StoppedDependents are the services that StopService stopped because they depend on
// Certificate Services, and that do not run again, in the order in which they are to
// be started.
func (h *Host) StoppedDependents() []string {
	list, err := h.noted()
	if err != nil {
		return nil // StartService says so
	}
	return slices.DeleteFunc(list, func(name string) bool {
		st, err := h.sys.query(name)
		return err == nil && st.state == running
	})
}

// noted reads the names of the services that were stopped.
func (h *Host) noted() ([]string, error) {
	var list []string
	if _, err := h.load(stoppedFile, &list); err != nil {
		return nil, err
	}
	for _, name := range list {
		if err := checkElement(name); err != nil || strings.EqualFold(name, serviceName) {
			return nil, stateError(stoppedFile, "service %.60q", name)
		}
	}
	return list, nil
}
